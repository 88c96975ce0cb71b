"""Whose a site is."""

import pytest

from oxd_server.rp.setup_client import SetupClient
from oxd_server.store import Site


@pytest.mark.parametrize(
    ("op_host", "path", "client_id", "protects"),
    [
        ("https://op.example", None, "c", True),
        ("https://op.example", None, "d", False),
        ("https://other.example", None, "c", False),
        ("https://op.example", "/tenant", "c", False),
    ],
)
def test_a_client_id_means_something_at_its_own_op_only(
    op_host: str, path: str | None, client_id: str, protects: bool
) -> None:
    """A site is a setup client's by OP and client_id together."""
    site = Site(oxd_id="site", op_host=op_host, op_discovery_path=path, setup_client_id=client_id)
    assert SetupClient("setup", "c", "https://op.example").protects(site) is protects

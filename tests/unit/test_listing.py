"""Stored sites in answers that have to fit into a frame."""

import pytest

from oxd_protocol.errors import CommandError
from oxd_protocol.messages import Response, check_fits
from oxd_server.handlers.listing import list_of, node_of


def test_names_that_fit_are_whole() -> None:
    """Nothing is cut that fits, nor anything where there is no frame."""
    sites = [("id-1", "one"), ("id-2", "two")]
    assert list_of(sites, framed=True).node == [
        {"oxd_id": "id-1", "client_name": "one"},
        {"oxd_id": "id-2", "client_name": "two"},
    ]
    assert list_of([("id", "x" * 20_000)], framed=False).node == [{"oxd_id": "id", "client_name": "x" * 20_000}]
    assert node_of({"client_name": "x" * 20_000}, framed=False).node == {"client_name": "x" * 20_000}


@pytest.mark.parametrize(("count", "length"), [(3, 200), (50, 100), (80, 50), (100, 20), (130, 0)])
def test_long_names_give_way(count: int, length: int) -> None:
    """The names are as long as all of the sites have room for."""
    sites = [(f"{number:036}", "n" * 5000) for number in range(count)]
    result = list_of(sites, framed=True)
    check_fits(Response("ok", result))
    assert [site["oxd_id"] for site in result.node] == [oxd_id for oxd_id, _ in sites]
    assert {len(site["client_name"]) for site in result.node} == {length}


def test_more_sites_than_a_frame_has_room_for() -> None:
    """The answer is told to be too long, and who can list them all."""
    sites = [(f"{number:036}", "n") for number in range(200)]
    with pytest.raises(CommandError, match=r"200 sites .* `oxd-server sites list`") as caught:
        list_of(sites, framed=True)
    assert caught.value.code == "response_too_long"
    assert len(list_of(sites, framed=False).node) == 200


def test_one_site_with_a_long_name() -> None:
    """What the OP said of the site goes first, then the end of its name; everything else is there."""
    node = {"oxd_id": "id", "client_name": "n" * 5000, "registered_metadata": "m" * 5000, "scope": ["openid"]}
    assert node_of(node, framed=True).node == {**node, "registered_metadata": None}
    longer = {**node, "client_name": "n" * 50_000}
    assert node_of(longer, framed=True).node == {**node, "registered_metadata": None, "client_name": "n" * 200}
    assert node_of({**node, "client_name": None, "registered_metadata": None}, framed=True).node["client_name"] is None

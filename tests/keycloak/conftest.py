"""One Keycloak for the tests of this folder, those of UMA apart: it takes a while to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.keycloak.keycloak import Keycloak, running_keycloak


@pytest.fixture(scope="session")
def keycloak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keycloak]:
    """A Keycloak that runs for all tests of logins."""
    files = tmp_path_factory.mktemp("keycloak")
    with running_keycloak(files, "dpop", "token-exchange", "admin-fine-grained-authz") as started:
        started.allow_scopes("login", "openid", "profile", "email")
        yield started

"""Registering a site that asks for `uma_protection`: the redirect URI that Gluu's claims gathering needs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace

from oxd_server.config import Config
from tests.integration.uma_as import DISCOVERY, Fault, fail, html
from tests.integration.uma_services import House, uma_house

CALLBACK = "https://photos.example.com/cb"


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with uma_house() as opened:
        base = opened.authorization_server.base
        opened.authorization_server.openid_metadata = {"registration_endpoint": f"{base}/clients"}
        yield opened


async def _register(house: House, *scope: str) -> list[str]:
    """Register a site and return the redirect URIs that the server was told of."""
    registered = await house.call(
        "register_site",
        op_host=house.authorization_server.base,
        authorization_redirect_uri=CALLBACK,
        scope=["openid", *scope],
    )
    assert "error" not in registered, registered
    uris: list[str] = json.loads(house.authorization_server.clients[-1])["redirect_uris"]
    return uris


async def test_claims_gathering_endpoint_is_registered(house: House) -> None:
    """A client that may protect resources may be sent back to the server's claims gathering endpoint."""
    endpoint = f"{house.authorization_server.base}/claims?theme=dark"
    assert await _register(house, "uma_protection") == [CALLBACK, endpoint]


async def test_other_sites_have_nothing_to_do_with_uma(house: House) -> None:
    """For a site without that scope the UMA metadata is not even asked for."""
    assert await _register(house) == [CALLBACK]
    assert DISCOVERY not in house.requests()


async def test_it_can_be_switched_off(house: House) -> None:
    """The setting that switches it off is honoured."""
    setting: dict[str, Any] = {"uma2_auto_register_claims_gathering_endpoint_as_redirect_uri_of_client": False}
    house.services = replace(house.services, config=Config(**setting))
    assert await _register(house, "uma_protection") == [CALLBACK]


@pytest.mark.parametrize("fault", [fail, html])
async def test_a_server_without_uma_still_registers(house: House, fault: Fault) -> None:
    """A server whose UMA metadata cannot be had registers the client all the same."""
    house.authorization_server.fault(DISCOVERY, fault)
    assert await _register(house, "uma_protection") == [CALLBACK]

"""Sites for the tests of stores, by their numbers."""

from collections.abc import Callable
from typing import Any

import msgspec

from oxd_server.client_metadata import ClientMetadata
from oxd_server.store import Site

__all__ = ["renamed", "site"]


def renamed(name: str) -> Callable[[Site], Site]:
    return lambda old: msgspec.structs.replace(old, client=ClientMetadata(client_name=name))


def site(number: int, **values: Any) -> Site:
    return Site(oxd_id=f"site-{number:04}", op_host="https://op.example.org", **values)

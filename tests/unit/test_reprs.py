"""No struct of the packages shows a secret when it is printed: all of them, found by walking the packages."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import httpx2
import msgspec
import pytest

import oxd_protocol
import oxd_server
from oxd_server.log import is_secret_name

ALSO_SECRET = {
    "state", "nonce", "code", "body", "content", "head", "headers", "sent", "received", "envelope",
    "data", "form", "claims", "used_token",
    "key", "params", "proof", "registered_metadata", "user_id",
}  # fmt: skip
NOT_SECRET = {
    "Command": {"params", "returns_secrets"},  # the type of the params, and whether
    "Config": {"protect_commands_with_access_token", "https_commands_without_token", "max_sites_without_token"},
    "ClientMetadata": {"access_token_as_jwt", "rpt_as_jwt"},  # whether
    "KeyUri": {"token"},  # its label
    "ScopeExpression": {"data"},  # the names of scopes
    "_Exchange": {"sent"},  # whether
}
"""By the struct's name: fields that are named like secrets and hold none."""
URL = httpx2.URL("https://op.example/")


CHECKED = {"url": URL, "dialect": "4"}
"""What constructors check, and so cannot be marked."""


def structs() -> Iterator[type[Any]]:
    """Every struct of the packages but the sandbox, whose users are public."""
    for package in (oxd_protocol, oxd_server):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.startswith(("oxd_server.sandbox", "oxd_server.__main__")):
                for one in vars(importlib.import_module(module.name)).values():
                    if isinstance(one, type) and one.__module__ == module.name and fields_of(one):
                        yield one


def fields_of(struct: type[Any]) -> list[str]:
    """The fields that its constructor takes."""
    if issubclass(struct, msgspec.Struct):
        return [field.name for field in msgspec.structs.fields(struct)]
    return []


STRUCTS = sorted(structs(), key=lambda struct: f"{struct.__module__}.{struct.__name__}")


def holds_secret(struct: type[Any], name: str) -> bool:
    """Whether what goes by this name is not to be shown."""
    secret = is_secret_name(name) or name in ALSO_SECRET
    return secret and name not in NOT_SECRET.get(struct.__name__, set())


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: f"{struct.__module__}.{struct.__name__}")
def test_a_struct_hides_its_secrets(struct: type[Any]) -> None:
    """With a marked value in every field, no repr, rich's included, shows one of those that hold secrets."""
    one = struct(**{name: CHECKED.get(name, f"<{name}:marked>") for name in fields_of(struct)})
    rich = [str(item) for item in one.__rich_repr__()] if hasattr(one, "__rich_repr__") else []
    for shown in (repr(one), str(one), f"{one!r:.10000}", *rich):
        leaked = [name for name in fields_of(struct) if holds_secret(struct, name) and f"<{name}:marked>" in shown]
        assert leaked == []


def test_the_walk_finds_what_it_is_for() -> None:
    """The structs that hold the most are among those that are walked, with fields that count as secret."""
    found = {struct.__name__: struct for struct in STRUCTS}
    for name in ("Site", "SiteSession", "RegisterSiteParams", "GetTokensByCodeResult", "LoginState", "Config",
                 "ClientCredentials", "Answer", "HttpRequest", "TokenAnswer"):  # fmt: skip
        assert any(holds_secret(found[name], field) for field in fields_of(found[name])), name

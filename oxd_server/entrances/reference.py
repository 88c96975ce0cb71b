"""What people and programs are told of the commands, taken from the catalogue so that it cannot drift. Pure."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final

import msgspec

from oxd_protocol import connect, device, logout, provider, site, tokens, uma
from oxd_protocol.catalog import COMMANDS
from oxd_protocol.params import AnyCommand, Command

__all__ = [
    "EXAMPLES",
    "GROUPS",
    "HTTP_ALIASES",
    "SCHEMA_PREFIX",
    "Parameter",
    "example_params",
    "http_path",
    "matches",
    "parameters",
    "params_schemas",
    "schemas",
    "search_text",
    "typed_schemas",
]

HTTP_ALIASES: Final[Mapping[str, str]] = {
    "/logout": "get_logout_uri",
    "/update-site-registration": "update_site",
}
"""Paths besides those that the commands' names make."""

SCHEMA_PREFIX: Final = "#/components/schemas/"

EXAMPLES: Final[Mapping[str, Any]] = {
    "oxd_id": "bcad760f-91ba-46e1-a020-05e4281d91b6",
    "op_host": "https://op.example.org",
    "authorization_redirect_uri": "https://app.example.org/callback",
    "post_logout_redirect_uri": "https://app.example.org/",
    "scope": ["openid", "profile"],
    "client_id": "s6BhdRkqt3",
    "client_secret": "gX1fBat3bV",
    "client_name": "My application",
    "access_token": "88bba7f5-961c-4b71-8053-9ab35f1ad395",
    "refresh_token": "33d7988e-6ffb-4fe5-8c2a-0e158691d446",
    "id_token": "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2ln",
    "code": "0b9f1518-15aa-47b2-9477-d4c607447e18",
    "state": "6q1ec90hn6ui4ipigv91hrbodj",
    "resources": [{"path": "/photo", "conditions": [{"httpMethods": ["GET"], "scopes": ["https://photo/view"]}]}],
    "path": "/photo",
    "http_method": "GET",
    "rpt": "656b0f54-bf05-4ec8-aa95-b81b7c9bfb7a",
    "ticket": "016f84e8-f9b9-11e0-bd6f-0021cc6004de",
    "resource": "alice@op.example.org",
    "oxd_host_url": "https://oxd.example.org:8443",
    "request_object_id": "5cJ0hNQWYrS3oBz0kq1vXg",
    "iss": "https://op.example.org",
    "sid": "08a5019c-17e1-4977-8f42-65a12843ea02",
    "logout_token": "eyJhbGciOiJSUzI1NiIsInR5cCI6ImxvZ291dCtqd3QifQ.eyJzdWIiOiJhbGljZSJ9.c2ln",
    "token": "33d7988e-6ffb-4fe5-8c2a-0e158691d446",
    "token_type_hint": "refresh_token",
    "timeout": 1,
    "device_code": "GmRhmhcxhwAzkoEqiMEg_DnyEysNkuNhszIySk9eS",
    "subject_token": "88bba7f5-961c-4b71-8053-9ab35f1ad395",
    "audience": ["backend"],
    "url": "https://api.example.org/photos",
    "claims_redirect_uri": "https://app.example.org/claims",
}
"""A value to show for each parameter that examples have."""

_SHOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "setup_client": ("op_host", "authorization_redirect_uri", "scope"),
    "get_client_token": ("client_secret", "scope"),
    "register_site": ("op_host", "authorization_redirect_uri", "scope", "client_name"),
    "update_site": ("post_logout_redirect_uri",),
    "get_authorization_url": ("scope",),
    "uma_rs_check_access": ("rpt",),
    "get_rp": ("oxd_id",),
    "get_jwks": ("op_host",),
    "get_discovery": ("op_host",),
    "get_issuer": ("op_host",),
    "get_request_object_uri": ("oxd_host_url",),
    "validate": ("access_token",),
    "session_status": ("sid",),
    "wait_for_logout": ("sid", "timeout"),
    "get_frontchannel_logout_page": ("iss", "sid"),
    "revoke_token": ("token_type_hint",),
    "get_dpop_proof": ("access_token",),
    "start_device_login": ("scope",),
    "get_site_token": ("scope",),
    "exchange_token": ("audience",),
}
"""Optional parameters that the example of a command shows besides the required ones."""


class Parameter(msgspec.Struct, frozen=True):
    """One parameter of a command; ``kind`` is a word or two for a person."""

    name: str
    kind: str
    required: bool
    description: str


def _group(module: ModuleType) -> tuple[AnyCommand, ...]:
    """Return the commands that the module declares, but those that are no longer supported."""
    declared = [value for value in vars(module).values() if isinstance(value, Command)]
    return tuple(each for each in COMMANDS if each in declared and not each.unsupported)


GROUPS: Final[tuple[tuple[str, tuple[AnyCommand, ...]], ...]] = (
    ("Sites", _group(site)),
    ("OpenID Connect", _group(connect)),
    ("Login on another device", _group(device)),
    ("Logout that begins elsewhere", _group(logout)),
    ("Tokens", _group(tokens)),
    ("UMA 2.0", _group(uma)),
    ("What providers publish", _group(provider)),
    ("No longer supported", tuple(command for command in COMMANDS if command.unsupported)),
)
"""Every command once, under a heading."""


def http_path(command: AnyCommand) -> str:
    """Return the command's path on the HTTPS front."""
    return f"/{command.name.replace('_', '-')}"


def schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of every params and result struct, by the struct's name."""
    return params_schemas() | _schemas_of(*(command.result for command in COMMANDS))


def params_schemas() -> dict[str, dict[str, Any]]:
    """Return those of the params alone."""
    found = _schemas_of(*(command.params for command in COMMANDS))
    for command in (each for each in COMMANDS if each.instead):
        found[command.params.__name__] |= _either_or(found[command.params.__name__]["required"], command.instead)
    return found


def _either_or(required: list[str], instead: Mapping[str, str]) -> dict[str, Any]:
    """Return what is required where other parameters may stand in the place of some."""
    usual = {"required": list(instead)}
    others = [{"required": [name]} for name in dict.fromkeys(instead.values())]
    return {"required": [name for name in required if name not in instead], "anyOf": [usual, *others]}


def typed_schemas() -> dict[str, dict[str, Any]]:
    """Return those of the results as a flat answer shows them."""
    return _schemas_of(*(command.typed_result or command.result for command in COMMANDS))


def _schemas_of(*structs: type[msgspec.Struct]) -> dict[str, dict[str, Any]]:
    _, components = msgspec.json.schema_components(structs, ref_template=f"{SCHEMA_PREFIX}{{name}}")
    return {name: _simplified(schema) for name, schema in components.items()}


def _simplified(schema: dict[str, Any]) -> dict[str, Any]:
    properties = {name: _property(value) for name, value in schema.get("properties", {}).items()}
    return {key: value for key, value in schema.items() if key != "title"} | {"properties": properties}


def _property(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of ``X | None`` as that of X with the type null added, its description at the top."""
    arms = schema.get("anyOf", [])
    plain = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
    if len(arms) != 2 or {"type": "null"} not in arms:
        return plain | ({"anyOf": arms} if arms else {})
    arm = next(arm for arm in arms if arm != {"type": "null"})
    return plain | (arm | {"type": [arm["type"], "null"]} if "type" in arm else {"anyOf": arms})


def parameters(command: AnyCommand) -> tuple[Parameter, ...]:
    """Return the command's parameters, the required ones first; the protection token goes into the header."""
    schema = _schemas_of(command.params)[command.params.__name__]
    required = schema.get("required", [])
    rows = [
        Parameter(name, _kind(value), name in required, value.get("description", ""))
        for name, value in schema["properties"].items()
        if name != "protection_access_token"
    ]
    return tuple(sorted(rows, key=lambda row: not row.required))


_KINDS: Final[Mapping[str, str]] = {"string": "text", "boolean": "true or false", "integer": "number"}


def _kind(schema: dict[str, Any]) -> str:
    types = schema.get("type", "object")
    name = next(each for each in ([types] if isinstance(types, str) else types) if each != "null")
    if name == "array":
        return "list of texts" if schema["items"].get("type") == "string" else "list of objects"
    return _KINDS.get(name, name)


def example_params(command: AnyCommand) -> dict[str, Any]:
    """Return params that show how the command is used."""
    shown = _SHOWN.get(command.name, ())
    return {row.name: EXAMPLES[row.name] for row in parameters(command) if row.required or row.name in shown}


def search_text(command: AnyCommand) -> str:
    """Return what people search a command by: its name, its summary and its parameters, in small letters."""
    names = () if command.unsupported else tuple(row.name for row in parameters(command))
    return " ".join([command.name, command.summary, *names]).lower().replace("-", "_")


def matches(query: str, text: str) -> bool:
    """Tell whether the text has every word of the query; dashes are as good as underscores."""
    return all(word in text for word in query.lower().replace("-", "_").split())

"""Sites in the JSON shape of the legacy store, in both directions.

Written out, a site has every legacy key, null where nothing is known, so that scripts which index the keys go
on working. Read in, nearly anything goes: files of many ages lie about. The legacy names of what a client registers
exist here and in the commands, nowhere else.
"""

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

import msgspec

from oxd_protocol.dates import read_date
from oxd_server.client_metadata import ClientMetadata
from oxd_server.store.base import Site, SiteSession, StoreError, UmaResource

__all__ = ["export_site", "import_site"]

# The legacy server kept one RPT per site and gave it to whoever asked next. Nothing is kept any more.
_OBSOLETE: Final = ("rpt", "rpt_token_type", "rpt_pct", "rpt_upgraded", "rpt_expires_at", "rpt_created_at")
_LONGEST_OXD_ID: Final = 255
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # those that turn the writing too
_LARGEST_NUMBER: Final = 2**63 - 1
_WHEN_SET: Final = frozenset({"logout_notification_uri"})
"""Of a site: what is written where it is set. Old scripts do not look for it."""
_NEVER: Final = frozenset({"registered_from", "dpop_key"})
"""Of a site: what stays here."""
_DATES: Final = {"client_id_issued_at", "client_secret_expires_at", "last_synced", "pat_created_at"}
# Of a client's metadata: the legacy key of each field that goes by another name there.
_LEGACY_NAMES: Final = {
    "claims_redirect_uris": "claims_redirect_uri",
    "default_acr_values": "acr_values",
    "frontchannel_logout_uri": "front_channel_logout_uri",
    "jwks_uri": "client_jwks_uri",
}
# These keys are always written; what a client registers beyond them is written where there is something to write.
_ALWAYS: Final = frozenset(
    {
        "acr_values", "application_type", "claims_locales", "claims_redirect_uri", "client_jwks_uri", "client_name",
        "contacts", "front_channel_logout_uri", "grant_types", "id_token_signed_response_alg", "redirect_uris",
        "request_uris", "response_types", "scope", "sector_identifier_uri", "token_endpoint_auth_method",
        "token_endpoint_auth_signing_alg", "trusted_client", "ui_locales", "userinfo_signed_response_alg",
    }
)  # fmt: skip
_ALIASES: Final = {
    "post_logout_redirect_uri": "logout_redirect_uri",
    "response_type": "response_types",
    "grant_type": "grant_types",
    "httpMethods": "http_methods",
    "ticketScopes": "ticket_scopes",
    "scopeExpressions": "scope_expression",
    "scopeExpression": "scope_expression",
    "scope_expressions": "scope_expression",
} | {old: name for name, old in _LEGACY_NAMES.items()}


def export_site(site: Site, session: SiteSession) -> dict[str, Any]:
    """A site and its session as one legacy JSON object: plain dicts, lists, texts and numbers. It holds secrets."""
    known = _plain(site)
    client, resources = known.pop("client", {}), known.pop("uma_protected_resources", ())
    known = {name: value for name, value in known.items() if name not in _NEVER}
    kept = _plain(session)
    kept.pop("named_states", None)  # of no use elsewhere
    return (
        _EVERY_KEY
        | known
        | {_LEGACY_NAMES.get(name, name): value for name, value in client.items()}
        | kept
        | {
            "authorization_redirect_uri": site.client.redirect_uri,
            "logout_redirect_uri": site.client.post_logout_redirect_uri,
            "scope": list(site.client.scopes),
            "trusted_client": site.client.trusted_client or False,
            "uma_protected_resources": [_exported_resource(resource) for resource in resources],
        }
    )


def _exported_resource(resource: Mapping[str, Any]) -> dict[str, Any]:
    """A resource as the legacy server wrote it; what it does not know stands beside it."""
    plain = {**_defaults(UmaResource), **resource}
    expression = plain.pop("scope_expression")
    plain = {name: value for name, value in plain.items() if name not in ("iat", "exp") or value is not None}
    return plain | {
        "ticketScopes": plain.pop("ticket_scopes"),
        "scope_expressions": [] if expression is None else [expression],
    }


def _plain(struct: msgspec.Struct) -> dict[str, Any]:
    """The fields that differ from their defaults, with lists for tuples."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(struct))
    return plain


@cache
def _defaults(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The fields that have a default, with it."""
    fields = ((field.name, field.default) for field in msgspec.structs.fields(kind) if not field.required)
    return {
        name: list(default) if isinstance(default, tuple) else None if default is msgspec.NODEFAULT else default
        for name, default in fields
    }


def _every_key() -> dict[str, Any]:
    """All keys that are always written, as they are where nothing is known."""
    client = {_LEGACY_NAMES.get(name, name): value for name, value in _defaults(ClientMetadata).items()}
    known = {name: value for name, value in client.items() if name in _ALWAYS or value not in (None, [])}
    return (
        {name: value for name, value in _defaults(Site).items() if name not in _NOT_ALWAYS}
        | known
        | {name: value for name, value in _defaults(SiteSession).items() if name != "named_states"}
        | dict.fromkeys(_OBSOLETE)
    )


_NOT_ALWAYS: Final = _WHEN_SET | _NEVER | {"client"}
_EVERY_KEY: Final = _every_key()


def import_site(node: Mapping[str, Any]) -> tuple[Site, SiteSession]:
    """Read a legacy JSON object: nulls, blanks, missing and unknown keys, dates in any of their shapes.

    Raises `StoreError`, which names the key and never the value, if there is no oxd_id, or if nothing can be
    made of a value.
    """
    values = {"op_host": ""} | _values(Site, node) | {"client": _imported_client(node)}
    _check_oxd_id(node.get("oxd_id"))
    return Site(**values), SiteSession(**_values(SiteSession, node))


def _check_oxd_id(value: Any) -> None:
    """Check what stands in commands, logs and terminals. Raises `StoreError`."""
    if value is None or (isinstance(value, str) and not value.strip()):
        raise StoreError("the site has no oxd_id")
    if not isinstance(value, str) or len(value) > _LONGEST_OXD_ID or _CONTROL.search(value):
        raise StoreError(
            f"the site's oxd_id is no text of up to {_LONGEST_OXD_ID} characters without control characters"
        )


def _imported_client(node: Mapping[str, Any]) -> ClientMetadata:
    values = _values(ClientMetadata, node)
    for many, one in (
        ("redirect_uris", "authorization_redirect_uri"),
        ("post_logout_redirect_uris", "logout_redirect_uri"),
    ):
        first = _texts(node.get(one)) or _texts(node.get(f"post_{one}")) or ()
        values[many] = tuple(dict.fromkeys((*first[:1], *values.get(many, ()))))
    return ClientMetadata(**values)


def _values(kind: type[msgspec.Struct], node: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `kind` that `node` has a value for."""
    known = {_ALIASES[key]: value for key, value in node.items() if key in _ALIASES and value is not None}
    known |= {key: value for key, value in node.items() if value is not None}
    values = {}
    for field in msgspec.structs.fields(kind):
        if field.type is ClientMetadata or field.name == "named_states":
            continue
        read = _reader(field)
        try:
            value = read(known.get(field.name))
        except (TypeError, ValueError, OverflowError, RecursionError):
            raise StoreError(f"the site's {field.name} cannot be understood") from None
        if value is not None:
            values[field.name] = value
    return values


def _reader(field: msgspec.structs.FieldInfo) -> Callable[[Any], Any]:
    return _BY_NAME.get(field.name) or _READERS[field.type]


def _text(value: Any) -> str | None:
    """Text; of a list its first item. Blank is None."""
    if isinstance(value, list):
        return next((text for text in map(_text, value) if text), None)
    if isinstance(value, dict):
        raise TypeError
    return None if value is None else str(value).strip() or None


def _expression(value: Any) -> str | None:
    """A scope expression: its JSON, as text or as it is; of a list the first."""
    if isinstance(value, list):
        return next((text for text in map(_expression, value) if text), None)
    return json.dumps(value) if isinstance(value, dict) else _text(value)


def _texts(value: Any) -> tuple[str, ...] | None:
    """A list of texts without blanks and nulls; one text is a list of one."""
    items = value if isinstance(value, list) else [value]
    if any(isinstance(item, dict | list) for item in items):
        raise TypeError
    return tuple(text for text in map(_text, items) if text) or None


def _words(value: Any) -> Any:
    """A scope as one text. Of whatever else has a scope, such as a client, it is one as well."""
    return " ".join(_texts(value) or ()) or None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None if value is None else str(value).lower() == "true"


def _number(value: Any) -> int | None:
    number = None if value in (None, "") else int(value)
    if number is not None and abs(number) > _LARGEST_NUMBER:
        raise OverflowError
    return number


def _milliseconds(value: Any) -> int | None:
    """A date as milliseconds: from milliseconds, their digits, or ISO 8601. The year 1 means unknown."""
    if value in (None, ""):
        return None
    if isinstance(value, int | float) and abs(value) > _LARGEST_NUMBER:
        raise OverflowError
    date = read_date(value, 1000)
    if date is None or date > _LARGEST_NUMBER:
        raise ValueError
    return date


def _object(value: Any) -> dict[str, Any] | None:
    """An object, or the JSON text of one."""
    if isinstance(value, str):
        value = json.loads(value) if value.strip() else None
    if value is not None and not isinstance(value, dict):
        raise TypeError
    return value or None


def _texts_by_name(value: Any) -> dict[str, str] | None:
    return {name: str(item) for name, item in (_object(value) or {}).items()} or None


def _resources(value: Any) -> tuple[UmaResource, ...] | None:
    return tuple(_resource(item) for item in value or ()) or None


def _resource(node: Any) -> UmaResource:
    if not isinstance(node, dict):
        raise TypeError
    return UmaResource(**{"id": "", "path": ""} | _values(UmaResource, node))


_READERS: dict[Any, Callable[[Any], Any]] = {
    str: _text,
    str | None: _text,
    tuple[str, ...]: _texts,
    bool: _flag,
    int: _number,
    tuple[UmaResource, ...]: _resources,
    bool | None: _flag,
    int | None: _number,
    dict[str, str] | None: _texts_by_name,
    dict[str, Any] | None: _object,
}
_BY_NAME: dict[str, Callable[[Any], Any]] = dict.fromkeys(_DATES, _milliseconds) | {
    "scope": _words,
    "scope_expression": _expression,
}

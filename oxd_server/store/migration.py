"""From version 1 of the tables to version 2: what a site's client asks for lies in one object, under registered names.

In version 1 a site was one flat object in the legacy names, and the OP's answer had replaced what the application
asked for.
"""

import sqlite3
from typing import Any, Final

import msgspec

from oxd_server.store.base import Site, StoreError

__all__ = ["migrate_sites"]

_ROWS_AT_ONCE: Final = 200
_SAME_NAME: Final = (
    "application_type", "claims_locales", "client_name", "contacts", "grant_types", "id_token_signed_response_alg",
    "request_uris", "sector_identifier_uri", "token_endpoint_auth_method", "token_endpoint_auth_signing_alg",
    "trusted_client", "ui_locales", "userinfo_signed_response_alg",
)  # fmt: skip
_RENAMED: Final = {
    "acr_values": "default_acr_values",
    "claims_redirect_uri": "claims_redirect_uris",
    "client_jwks_uri": "jwks_uri",
    "front_channel_logout_uri": "frontchannel_logout_uri",
}


def migrate_sites(connection: sqlite3.Connection) -> None:
    """Rewrite every site, within the transaction that the caller began. Raises `StoreError` for a damaged row.

    The column gets another name too, so that an older server which is still running fails when it reads it, and does
    not write sites without their clients.
    """
    connection.execute("ALTER TABLE site RENAME COLUMN json TO document")
    last = 0
    while rows := _rows(connection, last):
        changes = [(_migrated(oxd_id, text), number) for number, oxd_id, text in rows]
        connection.executemany("UPDATE site SET document = ? WHERE rowid = ?", changes)
        last = rows[-1][0]


def _rows(connection: sqlite3.Connection, last: int) -> list[tuple[int, str, str]]:
    query = "SELECT rowid, oxd_id, document FROM site WHERE rowid > ? ORDER BY rowid LIMIT ?"
    return connection.execute(query, (last, _ROWS_AT_ONCE)).fetchall()


def _migrated(oxd_id: str, text: str) -> str:
    try:
        node = msgspec.json.decode(text, type=dict[str, Any])
        site = msgspec.convert({**node, "client": _client(node)}, Site)
    except (msgspec.MsgspecError, TypeError, AttributeError):  # the error's text may quote a secret
        site = None
    if site is None or site.oxd_id != oxd_id:
        raise StoreError(f"holds a damaged site {oxd_id!r}, which cannot be brought up to date")
    return msgspec.json.encode(site).decode()


def _client(node: dict[str, Any]) -> dict[str, Any]:
    client: dict[str, Any] = {name: node[name] for name in _SAME_NAME if name in node}
    client |= {name: node[old] for old, name in _RENAMED.items() if old in node}
    redirect_uris = [node.get("authorization_redirect_uri"), *node.get("redirect_uris", ())]
    client["redirect_uris"] = list(dict.fromkeys(uri for uri in redirect_uris if uri is not None))
    client["response_types"] = _used(node.get("response_types", []))
    client["scope"] = " ".join(node.get("scope", ())) or None
    if node.get("logout_redirect_uri") is not None:
        client["post_logout_redirect_uris"] = [node["logout_redirect_uri"]]
    return client


def _used(response_types: list[str]) -> list[str]:
    """Of several response types that the OP had answered, version 1 used the first, so that is the one it knows."""
    with_code = [one for one in response_types if "code" in one.split()]
    return (with_code or response_types)[:1]

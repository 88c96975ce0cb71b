"""Reading the sites of an old server that runs, over its own socket: ``get_rp`` for the list, then for each site."""

from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from oxd_protocol.client import OxdUnreachable
from oxd_protocol.client.with_trio import OxdClient
from oxd_server.store.importers.errors import SourceError
from oxd_server.store.importers.sources import Source, sites_in

__all__ = ["SCHEME", "read_old_server"]

SCHEME: Final = "tcp://"
_DEFAULT_PORT: Final = 8099


async def read_old_server(url: str) -> Source:
    """Return the sites of the server at ``tcp://host:port``.

    Its answers end at 9,999 characters. A site that does not fit, or that it cannot show, is named in ``not_taken``.

    Raises:
        SourceError: there is no such server, or it does not list its sites.
    """
    client = _client(url)
    listed = await _ask(client, {"list": True})
    nodes = listed.get("node")
    if not isinstance(nodes, list):
        raise SourceError(f"the server at {url} does not list its sites: {_reason(listed)}")
    texts, not_taken = [], []
    for node in nodes:
        oxd_id = node.get("oxd_id") if isinstance(node, dict) else None
        if not isinstance(oxd_id, str):
            raise SourceError(f"the server at {url} lists a site without an oxd_id")
        text = await _site(client, oxd_id)
        if isinstance(text, bytes):
            texts.append((f"the site {oxd_id!r}", text))
        else:
            not_taken.append(f"{oxd_id}: {text}")
    return Source("running server", sites_in(texts), tuple(not_taken))


def _client(url: str) -> OxdClient:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None:
        raise SourceError(f"{url!r} names no server: write tcp://host:{_DEFAULT_PORT}")
    return OxdClient(host, port or _DEFAULT_PORT)


async def _ask(client: OxdClient, params: dict[str, Any]) -> dict[str, Any]:
    try:
        return (await client.exchange("get_rp", params)).data
    except OxdUnreachable as error:
        raise SourceError(str(error)) from None


async def _site(client: OxdClient, oxd_id: str) -> bytes | str:
    """Return the site's JSON, or the reason why it cannot be taken."""
    try:
        data = (await client.exchange("get_rp", {"oxd_id": oxd_id})).data
    except OxdUnreachable:
        return "its answer is cut off or no frame; the old server's answers end at 9,999 characters"
    node = data.get("node")
    if not isinstance(node, dict):
        return _reason(data)
    return msgspec.json.encode(node)


def _reason(data: dict[str, Any]) -> str:
    return str(data.get("error_description") or data.get("error") or "its answer holds none")[:200]

"""The dialects of the HTTP API that sites speak: each site has the mark of the one it was registered in."""

from oxd_server.op.discovery import normalize_op_host
from oxd_server.op.errors import InvalidOpHost
from oxd_server.store.base import Store, StoreUnavailable

__all__ = ["SiteMarks"]

_ASKED = 1


class SiteMarks:
    """Looks the marks up in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def of_site(self, oxd_id: str) -> str | None:
        """Return the site's mark; None if it has none or there is no such site."""
        try:
            site = await self._store.get(oxd_id)
        except StoreUnavailable:
            return None  # the command itself will say so
        return None if site is None else site.dialect

    async def of_client(self, op_host: str, client_id: str) -> str | None:
        """Return the mark of the client's newest site; None for a setup client and one that nobody knows."""
        try:
            host = normalize_op_host(op_host)
        except InvalidOpHost:
            return None
        # The store names setup clients first: nobody can change how they are answered by naming one's client_id.
        try:
            known = await self._store.sites_of_client(host, client_id, _ASKED)
        except StoreUnavailable:
            return None
        return known[0].dialect if known else None

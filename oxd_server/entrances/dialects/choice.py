"""Which dialect a request is in: as configured, or told from the site and the client that it names."""

from collections.abc import Mapping
from typing import Any, Final, Protocol

from oxd_protocol.errors import CommandError, FramingError
from oxd_protocol.json_text import decode_object
from oxd_server.entrances.dialects.base import Dialect, NeedsToken
from oxd_server.entrances.dialects.beta import Beta
from oxd_server.entrances.dialects.envelope import Envelope
from oxd_server.entrances.dialects.flat import Flat
from oxd_server.entrances.dialects.notices import Notices
from oxd_server.entrances.http1_messages import HttpRequest

__all__ = ["AUTO", "NEWER", "Dialects", "Marks"]

AUTO: Final = "auto"
NEWER: Final = (Flat.name, Beta.name)


class Marks(Protocol):
    """Knows the dialects of sites: a site that was registered in a newer one has its mark."""

    async def of_site(self, oxd_id: str) -> str | None:
        """Return the site's dialect; None if it has no mark or there is no such site."""

    async def of_client(self, op_host: str, client_id: str) -> str | None:
        """Return the dialect of the site that has this client; None for a setup client and one that nobody knows."""


class Dialects:
    """Chooses a dialect for each request. ``setting`` is the name of one, or "auto"."""

    def __init__(self, setting: str, marks: Marks, needs_token: NeedsToken = lambda command: command.protected) -> None:
        self._envelope = Envelope(needs_token)
        self._flat = Flat(needs_token)
        self._notices = Notices()
        dialects: tuple[Dialect, ...] = (self._envelope, self._flat, Beta(needs_token))
        self._by_name: Mapping[str, Dialect] = {dialect.name: dialect for dialect in dialects}
        self._fixed = self._by_name.get(setting)
        self._marks = marks

    @property
    def usual(self) -> Dialect:
        """The one in which the front itself speaks where nothing tells another one."""
        return self._fixed or self._envelope

    async def choose(self, request: HttpRequest) -> Dialect:
        """Return the dialect of the request."""
        if self._notices.find(request.path) is not None:
            return self._notices
        if self._fixed is not None:
            return self._fixed
        old, new = self._envelope.find(request.path), self._flat.find(request.path)
        if old is None or new is None:
            return self._envelope if new is None else self._flat
        if request.header("authorizationoxdid") is not None:
            return self._flat
        # Only a newer application registers without any Authorization.
        if new.command.name == "register_site":
            return self._flat if request.header("authorization") is None else self._envelope
        return self._by_name[await self._mark(new.command.name, _params(request)) or self._envelope.name]

    async def _mark(self, name: str, params: Mapping[str, Any]) -> str | None:
        if name == "get_client_token":
            op_host = params.get("op_configuration_endpoint") or params.get("op_host")
            client_id = params.get("client_id")
            if isinstance(op_host, str) and isinstance(client_id, str):
                return await self._marks.of_client(op_host, client_id)
            return None
        oxd_id = params.get("oxd_id")
        return await self._marks.of_site(oxd_id) if isinstance(oxd_id, str) else None


def _params(request: HttpRequest) -> Mapping[str, Any]:
    try:
        return decode_object(request.body)
    except (FramingError, CommandError):
        return {}

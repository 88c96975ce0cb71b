"""The uses of refresh tokens that are under way: two commands with the same one share a request."""

import hashlib
from collections.abc import Awaitable, Callable

import msgspec

from oxd_protocol.errors import CommandError
from oxd_server.op.errors import OpError
from oxd_server.op.tokens import TokenAnswer
from oxd_server.sync.locks import KeyedLocks
from oxd_server.sync.single_flight import SingleFlight

__all__ = ["Refreshes"]


class _Refresh(msgspec.Struct, frozen=True):
    """What became of one use of a refresh token, for everybody who wanted it at the same time."""

    scope: str | None
    outcome: TokenAnswer | OpError


_decoder = msgspec.json.Decoder(tuple[str | None, TokenAnswer])


class Refreshes:
    """Sends a refresh token once, however many commands bring it at the same time."""

    def __init__(self, locks: KeyedLocks | None = None) -> None:
        """``locks`` are those of all nodes on one store, if there are several."""
        self._flights: SingleFlight[tuple[str, bytes], _Refresh] = SingleFlight()
        self._locks = locks

    async def run(
        self, oxd_id: str, refresh_token: str, scope: str | None, request: Callable[[], Awaitable[TokenAnswer]]
    ) -> TokenAnswer:
        """Return what ``request`` returns, or what it returned to a command with the same token and scope.

        Raises ``OpError`` as the request does, and ``CommandError`` when a command for another scope used the token
        up.
        """

        async def refresh() -> _Refresh:
            try:
                if self._locks is not None:
                    return await _for_all_nodes(self._locks, oxd_id, refresh_token, scope, request)
                return _Refresh(scope, await request())
            except OpError as error:
                return _Refresh(scope, error)

        key = (oxd_id, hashlib.sha256(refresh_token.encode()).digest())
        while True:
            found = await self._flights.run(key, refresh)
            if found.scope == scope:
                if isinstance(found.outcome, OpError):
                    raise found.outcome
                return found.outcome
            _check_not_replaced(found, refresh_token)


async def _for_all_nodes(
    locks: KeyedLocks, oxd_id: str, refresh_token: str, scope: str | None, request: Callable[[], Awaitable[TokenAnswer]]
) -> _Refresh:
    """Send the token, unless another node just did while we waited for it: then take the answer that it got."""

    async def work() -> bytes:
        return msgspec.json.encode((scope, await request()))

    name = f"refresh {oxd_id} {hashlib.sha256(refresh_token.encode()).hexdigest()}"
    return _Refresh(*_decoder.decode(await locks.share(name, work)))


def _check_not_replaced(found: _Refresh, refresh_token: str) -> None:
    # Another command used it at the same time for other scopes: its answer is of no use here. If the OP rotates
    # refresh tokens this one is spent, and to send it again would look like a theft (RFC 9700, section 4.14.2).
    if isinstance(found.outcome, TokenAnswer) and found.outcome.refresh_token not in (None, refresh_token):
        raise CommandError(
            "invalid_request",
            "Another command used this refresh token at the same time, with another scope, and the OP has replaced "
            "it. Use the new one.",
        )

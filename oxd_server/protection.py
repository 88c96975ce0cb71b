"""Which commands need a protection token, and whether the caller's is good.

Both entrances pass this one check before anything else happens to a command, so that nothing has changed when it
refuses.
"""

import enum
from collections.abc import Awaitable, Callable

from oxd_protocol.errors import CommandError
from oxd_protocol.messages import Command, Params

__all__ = ["Entrance", "Guard", "TokenCheck", "is_protected", "refuse_every_token"]


class Entrance(enum.Enum):
    """Where a command came in; what is reachable from other machines is protected by default."""

    LOOPBACK_SOCKET = "loopback socket"
    EXPOSED_SOCKET = "exposed socket"
    HTTPS = "https"


TokenCheck = Callable[[Command, Params, str], Awaitable[None]]
"""Checks a token that is there; raises ``CommandError`` when it is not good for this command."""


def is_protected(setting: bool | None, entrance: Entrance) -> bool:
    """Return whether commands from ``entrance`` are protected; ``setting`` is the configured one, None: by entrance."""
    return entrance is not Entrance.LOOPBACK_SOCKET if setting is None else setting


class Guard:
    """Checks the protection token of every command that needs one."""

    def __init__(self, setting: bool | None, check_token: TokenCheck) -> None:
        self._setting = setting
        self._check_token = check_token

    async def check(self, command: Command, params: Params, entrance: Entrance) -> None:
        """Return if the command may run. Raises ``CommandError`` with one of the protection codes if not."""
        if not command.protected or not is_protected(self._setting, entrance):
            return
        token: str | None = getattr(params, "protection_access_token", None)
        if token is None:
            raise CommandError("blank_protection_access_token")
        await self._check_token(command, params, token)


async def refuse_every_token(command: Command, params: Params, token: str) -> None:
    """Refuse: a token is good only if it is the site's setup client's, and ``setup_client`` is not offered yet."""
    raise CommandError("no_setup_client_for_oxd_id")

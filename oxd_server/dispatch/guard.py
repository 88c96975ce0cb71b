"""Which commands need a protection token, and whether the caller's is good.

Both entrances pass this one check before anything else happens to a command, so that nothing has changed when it
refuses. A token is sent to the OP that the site (or the command) names and to no other.
"""

import enum
from collections.abc import Container
from contextlib import suppress
from typing import Final

import msgspec

from oxd_protocol.connect import GetLogoutUriParams
from oxd_protocol.device import PollDeviceLoginParams, StartDeviceLoginParams
from oxd_protocol.errors import CommandError
from oxd_protocol.oxd_id import OxdIdParams
from oxd_protocol.params import AnyCommand, Params
from oxd_protocol.site import REMOVE_SITE, GetRpParams, RegisterSiteParams, UpdateSiteParams
from oxd_protocol.tokens import ExchangeTokenParams, GetDpopProofParams, GetSiteTokenParams, RevokeTokenParams
from oxd_protocol.uma import UmaRpGetRptParams, UmaRsModifyParams, UmaRsProtectParams
from oxd_server.op.errors import ClientAuthenticationError, OpErrorResponse
from oxd_server.rp.access import Access
from oxd_server.rp.issued import client_named_in, op_of, token_hash
from oxd_server.rp.services import Services
from oxd_server.rp.setup_client import SetupClient, check_token_with, op_named
from oxd_server.store.base import Login, Site, Sites

__all__ = ["Entrance", "Guard", "is_protected", "without_token"]

_MAX_ASKED: Final = 5
"""How many setup clients of one OP are tried as the one that asks about a token."""
_MAX_LOOKED_AT: Final = 50
"""How many rows a look-up of setup clients reads."""
_OF_THE_SITE_ALONE: Final = (
    GetRpParams, UpdateSiteParams, UmaRsProtectParams, UmaRsModifyParams, UmaRpGetRptParams, GetLogoutUriParams,
    StartDeviceLoginParams, PollDeviceLoginParams, GetSiteTokenParams, ExchangeTokenParams, GetDpopProofParams,
    RevokeTokenParams,
)  # fmt: skip
"""Commands that change what a site is, tell its secrets or its user's id_token, or act as its client.

Anybody may register a site at the same OP, so another site runs them only where the operator has named it. So it is
with ``remove_site``, which has the plain params.
"""


class Entrance(enum.Enum):
    """Where a command came in; what is reachable from other machines is protected by default."""

    LOOPBACK_SOCKET = "socket"
    EXPOSED_SOCKET = "exposed_socket"
    HTTPS = "https"

    __hash__ = object.__hash__  # that of enumerations is Python code, and every command needs it


def is_protected(command: AnyCommand, setting: bool | None, entrance: Entrance) -> bool:
    """Return whether a command from ``entrance`` needs a token; ``setting`` None means: by entrance."""
    if not command.protected:
        return False
    if command.returns_secrets and entrance is Entrance.HTTPS:
        return True
    return entrance is not Entrance.LOOPBACK_SOCKET if setting is None else setting


class Guard:
    """Checks the protection token of every command that needs one.

    Args:
        services: What is needed to ask OPs about tokens.
        setting: The configured one.
        open_over_https: Commands that need none there, whatever the setting says.
        own_clients: Every site is protected by its own client, as it is where it has a dialect of its own.
        listed: The sites whose clients may run commands of other sites, if they are limited.
    """

    def __init__(
        self,
        services: Services,
        setting: bool | None,
        open_over_https: Container[str] = (),
        *,
        own_clients: bool = False,
        listed: tuple[str, ...] = (),
    ) -> None:
        self._services = services
        self._setting = setting
        self._open_over_https = open_over_https
        self._own_clients = own_clients
        self._listed = listed

    def protects(self, command: AnyCommand, entrance: Entrance, params: Params | None = None) -> bool:
        """Return whether the command needs a token when it comes from there; then it may run only after ``check``.

        Over HTTPS an application may register a site of its own without one: it acts for nobody else.
        """
        if entrance is Entrance.HTTPS:
            if command.name in self._open_over_https:
                return False
            if isinstance(params, RegisterSiteParams) and params.protects_itself:
                return params.protection_access_token is not None
        return is_protected(command, self._setting, entrance)

    def access(self, entrance: Entrance) -> Access:
        """Return how commands come in there.

        Over HTTPS callers are strangers to each other whatever the setting, as they are to ``get_rp``.
        """
        closed = entrance is Entrance.HTTPS or is_protected(REMOVE_SITE, self._setting, entrance)
        local = entrance is Entrance.LOOPBACK_SOCKET
        return Access(closed=closed, framed=entrance is not Entrance.HTTPS, local=local)

    async def check(self, params: Params) -> SetupClient | None:
        """Return the setup client whose token admits the command.

        None for a ``register_site`` whose token no setup client known here could judge: there the new client must.

        Raises ``CommandError`` with one of the protection codes, and ``OpError`` when the OP cannot be asked.
        """
        judge: str | None = getattr(params, "authorization_oxd_id", None)
        if judge is not None:
            return await self._judged(params, judge)
        token: str | None = getattr(params, "protection_access_token", None)
        if token is None:
            raise CommandError("blank_protection_access_token")
        return await self._setup_client(params, token)

    async def _setup_client(self, params: Params, token: str) -> SetupClient | None:
        oxd_id: str | None = getattr(params, "oxd_id", None)
        if oxd_id is not None:
            return await self._of_site(oxd_id, token)
        if isinstance(params, RegisterSiteParams):
            return await self._at_op(params.op_host, params.op_discovery_path, token)
        if isinstance(params, GetRpParams):
            return await self._of_list(token)
        raise CommandError("no_setup_client_for_oxd_id")  # a command that names neither is not let through

    async def _judged(self, params: Params, judge: str) -> SetupClient:
        """Return the client of the site ``judge``, if its token may run commands of the site that they name."""
        judging = await self._services.store.get(judge)
        if judging is None:
            raise CommandError("authorization_oxd_id_not_found")
        if self._listed and judge not in self._listed:
            raise CommandError("invalid_authorization_oxd_id")
        token: str | None = getattr(params, "protection_access_token", None)
        if token is None:
            raise CommandError("blank_protection_access_token")
        oxd_id: str | None = getattr(params, "oxd_id", None)
        if oxd_id is not None and oxd_id != judge:
            alone = isinstance(params, _OF_THE_SITE_ALONE) or type(params) is OxdIdParams
            self._check_judge(await self._services.site(oxd_id), judging, must_be_listed=alone)
        return await self._of_own_client(judging, token)

    def _check_judge(self, site: Site, judging: Site, *, must_be_listed: bool) -> None:
        # A site without a dialect belongs to its setup client: no other site speaks for it. And a client means
        # something at its own OP only, unless the operator has named its site.
        same_op = (site.op_host, site.op_discovery_path) == (judging.op_host, judging.op_discovery_path)
        may = judging.oxd_id in self._listed or (same_op and not must_be_listed)
        if not self._has_own_client(site) or not may:
            raise CommandError("invalid_authorization_oxd_id")

    def _has_own_client(self, site: Site) -> bool:
        return self._own_clients or site.dialect is not None

    async def _of_own_client(self, site: Site, token: str) -> SetupClient:
        found = await check_token_with(self._services, site, token)
        if not self._has_own_client(site) or found.client_id != site.client_id:
            raise CommandError("invalid_protection_access_token")
        return found

    async def _of_site(self, oxd_id: str, token: str) -> SetupClient:
        site = await self._services.site(oxd_id)
        if self._has_own_client(site):
            return await self._of_own_client(site, token)
        asking = await self._services.store.get(site.setup_oxd_id) if site.setup_oxd_id else None
        if asking is None or site.setup_client_id is None:
            raise CommandError("no_setup_client_for_oxd_id")
        found = await check_token_with(self._services, asking, token)
        if found.client_id != site.setup_client_id:
            raise CommandError("invalid_protection_access_token")
        return found

    async def _of_list(self, token: str) -> SetupClient:
        """Without an oxd_id only the default OP is asked: a token is not shown to OPs that may not have issued it."""
        default = self._services.default_site
        if default.op_host is None:
            text = "Send the oxd_id of one of your sites as well: it says which OP to ask about the token."
            raise CommandError("no_setup_client_for_oxd_id", text)
        found = await self._at_op(default.op_host, default.op_discovery_path, token)
        if found is None:
            raise CommandError("invalid_protection_access_token")
        return found

    async def _at_op(self, op_host: str | None, op_discovery_path: str | None, token: str) -> SetupClient | None:
        """Return the known setup client whose token this is; None if none that is known could say or is it.

        RFC 7662, section 2.2: an OP may answer that a token is not active because the client that asks is not to know
        of it. So that is a verdict only if no other client that could know says otherwise. Raises ``CommandError``.
        """
        host, path = op_named(self._services, op_host, op_discovery_path)
        inactive: CommandError | None = None
        for asking in await self._judges(host, path, token):
            try:
                found = await self._ask(asking, token)
            except CommandError as error:
                if error.code != "inactive_protection_access_token":
                    raise
                inactive = error
                continue
            if found is not None:
                return found if found.client_id == asking.client_id else await self._owner(host, path, found, token)
        if inactive is not None:
            raise inactive
        return None

    async def _judges(self, host: str, path: str | None, token: str) -> Sites:
        """Return who is asked about a token, in this order: its own client where it is known, else the newest ones."""
        store, name = self._services.store, client_named_in(token)
        issued = await store.kept(token_hash(op_of(host, path), token), self._services.now(), Login)
        own = await store.get(issued.oxd_id) if issued is not None else None
        named = await store.sites_of_client(host, name, _MAX_ASKED) if name else []
        newest = await store.setup_clients(host, _MAX_LOOKED_AT)
        found = {site.oxd_id: site for site in (*([] if own is None else [own]), *named, *newest)}
        return [site for site in found.values() if site.is_setup_client and site.op_discovery_path == path][:_MAX_ASKED]

    async def _owner(self, host: str, path: str | None, found: SetupClient, token: str) -> SetupClient | None:
        # An entry may have been made for a client_id that was not the caller's, with a wrong secret (earlier versions
        # did not ask the OP), so only one whose client the OP knows counts.
        known = await self._services.store.sites_of_client(host, found.client_id, _MAX_LOOKED_AT)
        setups = [site for site in known if site.is_setup_client and site.op_discovery_path == path]
        for site in setups[:_MAX_ASKED]:
            with suppress(CommandError):
                proven = await self._ask(site, token)
                if proven is not None and proven.client_id == found.client_id:
                    return proven
        return None

    async def _ask(self, asking: Site, token: str) -> SetupClient | None:
        """``check_token_with``, but None where the OP does not let this client ask (it may be gone there)."""
        try:
            return await check_token_with(self._services, asking, token)
        except (ClientAuthenticationError, OpErrorResponse):
            return None


def without_token(params: Params) -> Params:
    """Return the params without a token that nobody checked: it must not look as if somebody had."""
    if getattr(params, "protection_access_token", None) is None:
        return params
    return msgspec.structs.replace(params, protection_access_token=None)

"""From a command's name and raw params to its response. Both entrances come through here.

The order is fixed: find the command, decode its params, check the protection token, then run the handler. So a
request that is refused has changed nothing. This is also the only place where exceptions become wire errors.
"""

import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

import msgspec
import structlog
import trio

from oxd_protocol.catalog import find_command
from oxd_protocol.errors import ERROR_CODES, CommandError
from oxd_protocol.messages import Response, error_response
from oxd_protocol.params import AnyCommand, Command, Params, Result, decode_params
from oxd_protocol.site import REGISTER_SITE, SETUP_CLIENT, RegisterSiteParams
from oxd_server.dispatch.disk_shares import DiskShares
from oxd_server.dispatch.guard import Entrance, Guard, without_token
from oxd_server.dispatch.places import Owner, Places
from oxd_server.dispatch.shares import Registrations
from oxd_server.dispatch.wire_errors import command_error, for_a_stranger, store_error
from oxd_server.log.known import begin_command, end_command
from oxd_server.observe.call import NOBODY, Call, Caller, Calls
from oxd_server.op.discovery import normalize_op_host
from oxd_server.op.errors import (
    AuthorizationRefused,
    AuthorizationResponseError,
    DpopProofError,
    IdTokenError,
    InvalidOpHost,
    IssuerMismatch,
    LogoutTokenError,
    OpError,
    OpErrorResponse,
)
from oxd_server.op.reach import origin_of
from oxd_server.rp.busy import ServerBusy
from oxd_server.rp.client_sync import ClientSync
from oxd_server.rp.services import Services
from oxd_server.rp.setup_client import SetupClient
from oxd_server.store.base import Site, SiteNotFound, StoreError, StoreUnavailable
from oxd_server.sync.busy import TooBusy

__all__ = ["Dispatcher", "Route", "on", "on_behalf", "pass_through"]

P = TypeVar("P", bound=Params)
R = TypeVar("R", bound=Result)

_ERROR_ID_BYTES: Final = 6
_REGISTER: Final = (SETUP_CLIENT.name, REGISTER_SITE.name)
_FEW_REQUESTS: Final = frozenset({"get_authorization_url", "get_logout_uri", "get_rp", "introspect_access_token"})
"""Commands that need the OP's metadata and one request at most."""
_STRANGERS: Final = ("no site",)
"""Whose the commands are that name no site, or one that is not known here."""
_OP_HOST: Final = "OP host"


class Route(msgspec.Struct, frozen=True):
    """A command and the function behind it. ``on`` and its like make routes, and see that the two fit."""

    command: AnyCommand
    handler: Callable[..., Awaitable[Any]]
    wants_caller: bool = False


def on(command: Command[P, R], handler: Callable[[Services, P], Awaitable[R]]) -> Route:
    """Put ``async def get_user_info(services, params) -> result``, a plain function, behind its command."""
    return Route(command, handler)


def on_behalf(command: Command[P, R], handler: Callable[[Services, P, SetupClient | None], Awaitable[R]]) -> Route:
    """Put a function behind its command that also takes the caller.

    The caller is the setup client whose token admitted the command: None where commands are open.
    """
    return Route(command, handler, wants_caller=True)


def pass_through(command: Command[P, Any], handler: Callable[[Services, P], Awaitable[dict[str, Any]]]) -> Route:
    """Put a function behind its command that returns an OP's own members, more of them than the result names."""
    return Route(command, handler)


class Dispatcher:
    """Runs commands with the services of the entrance where they come in.

    ``time_out`` (seconds) holds for every command. ``longest`` holds where there is none, for the commands that make
    more than a few requests, each of which has a time-out of its own.
    """

    def __init__(
        self,
        services: Mapping[Entrance, Services],
        routes: Iterable[Route],
        guard: Guard,
        *,
        max_in_flight: int,
        time_out: float | None,
        registrations: Registrations,
        disk_shares: DiskShares,
        longest: float | None = None,
        calls: Calls | None = None,
    ) -> None:
        self._services = services
        self._names = {entrance: entrance.value for entrance in services}
        self._routes = {route.command.name: route for route in routes}
        self._guard = guard
        self._places = Places(max_in_flight)
        self._time_out = time_out
        self._registrations = registrations
        self._disk_shares = disk_shares
        self._longest = longest
        self._client_sync = ClientSync()
        self._calls = calls or Calls()
        self._log = structlog.get_logger("oxd_server.dispatch.dispatcher")

    @property
    def in_flight(self) -> int:
        """How many commands are being run."""
        return self._places.taken

    def needs_token(self, entrance: Entrance, command: AnyCommand) -> bool:
        """Return whether the command needs a protection token when it comes from there."""
        return self._guard.protects(command, entrance)

    async def dispatch(
        self, entrance: Entrance, name: str, raw_params: Mapping[str, Any], caller: Caller = NOBODY
    ) -> Response:
        """Run one command and answer, whatever happens; only cancellation is raised."""
        call = self._calls.begin(caller, self._names[entrance], name)
        noted = begin_command(raw_params)
        owners: tuple[Owner, ...] | None = None
        try:
            try:
                if not self._places.take():
                    raise ServerBusy("max_commands_in_flight")
                owners = ()
                route = self._find(name)
                call.command = route.command.name
                params = decode_params(route.command, raw_params)
                services = self._services[entrance]
                oxd_id: str | None = getattr(params, "oxd_id", None)
                site = None if oxd_id is None else services.store.cached(oxd_id)
                if site is None and oxd_id is not None:
                    owners = self._count_for((oxd_id,))  # it waits for the disk, and is its site's already
                    site = await services.store.get(oxd_id)
                    self._places.discount(owners)
                    owners = ()
                if site is not None:
                    call.oxd_id, call.secret_expires_at = site.oxd_id, site.client_secret_expires_at
                owners = self._count_for(self._owners(services, params, site))
                seconds = self._time_out or (None if _makes_few_requests(params, route.command) else self._longest)
                if seconds is None:
                    response = await self._run(route, params, entrance, call, site)
                else:
                    response = await self._run_in_time(route, params, entrance, call, site, seconds)
            except Exception as error:
                response = self._response_to(error, call)
            self._calls.end(call, response.error_code)
            return response
        finally:
            end_command(noted)
            self._calls.leave(call)
            if owners is not None:
                self._places.give_back(owners)

    def _response_to(self, error: Exception, call: Call) -> Response:
        """Turn whatever went wrong into an error of the wire."""
        match error:
            case CommandError():
                return self._refuse(call, error)
            case TooBusy():
                return self._refuse(call, ServerBusy(error.limit, f"Nothing was done: {error}. Try again shortly."))
            case SiteNotFound():  # another command may have removed it while this one ran
                return self._refuse(call, CommandError("invalid_oxd_id"))
            case StoreUnavailable():
                self._log.warning("store_unavailable", command=call.command, reason=str(error))
                return self._refuse(call, store_error(error))
            case StoreError():
                return self._fail(call, error, "The server's store failed; nothing was changed here.")
            case _:
                return self._fail(call, error, ERROR_CODES["internal_error"])

    def _count_for(self, owners: tuple[Owner, ...]) -> tuple[Owner, ...]:
        """Count the command's place for its owners, and return them. Raises ``ServerBusy`` if one has its share."""
        full = self._places.count_for(owners)
        if full is not None:
            raise ServerBusy(f"half of max_commands_in_flight: {_whose(full)}")
        return owners

    def _owners(self, services: Services, params: Params, site: Site | None) -> tuple[Owner, ...]:
        """Whose the command is: a site's, or that of all who name none, and the OP host's that it may wait for."""
        if site is not None:
            return site.oxd_id, (_OP_HOST, origin_of(site.op_host))
        op_host = getattr(params, "op_host", None) or services.default_site.op_host or ""
        try:
            return _STRANGERS, (_OP_HOST, origin_of(normalize_op_host(op_host)))
        except InvalidOpHost:
            return (_STRANGERS,)

    def _find(self, name: str) -> Route:
        command = find_command(name)
        if command is None:
            raise CommandError("unsupported_operation", f"There is no command {name[:100]!r}.")
        if command.unsupported is not None:
            raise CommandError("unsupported_operation", f"{command.name} is no longer supported. {command.unsupported}")
        return self._routes[command.name]

    async def _run_in_time(
        self, route: Route, params: Params, entrance: Entrance, call: Call, site: Site | None, seconds: float
    ) -> Response:
        with trio.move_on_after(seconds):
            return await self._run(route, params, entrance, call, site)
        raise CommandError(
            "op_unreachable",
            f"The command did not finish within {seconds:g} seconds (time_out_in_seconds).",
            {"step": "command"},
        )

    async def _run(self, route: Route, params: Params, entrance: Entrance, call: Call, site: Site | None) -> Response:
        command, caller, services = route.command, None, self._services[entrance]
        if site is not None and site.sync_client_from_op:
            # Before the token is checked: that is asked with the site's secret, which the OP may have rotated.
            await self._client_sync.before_use(services, site)
        protects = self._guard.protects(command, entrance, params)
        try:
            if protects:
                caller = await self._guard.check(params)
            else:
                params = without_token(params)
            if caller is None and entrance is not Entrance.LOOPBACK_SOCKET and command.name in _REGISTER:
                self._registrations.admit(call.caller.address, services.now())
                services = await self._disk_shares.admit(services, call.caller.address)
            if route.wants_caller:
                result = await route.handler(services, params, caller)
            else:
                result = await route.handler(services, params)
        except OpError as error:
            is_open = not command.protected or getattr(params, "protects_itself", False)
            stranger = caller is None and (protects or (is_open and services.access.closed))
            raise (for_a_stranger(error) if stranger else command_error(error)) from error
        if site is None:
            call.oxd_id = getattr(result, "oxd_id", None)
        return Response("ok", result, command.recomputable)

    def _refuse(self, call: Call, error: CommandError) -> Response:
        # What an OP says is for the application. It may repeat what it was sent, secrets included.
        call.description = _said_by_us(error.__cause__) or error.description
        if isinstance(error, ServerBusy):
            call.limit = error.limit
        return error_response(error)

    def _fail(self, call: Call, error: Exception, description: str) -> Response:
        """Answer ``internal_error`` with an id under which the log has the traceback, secrets redacted."""
        call.error_id = secrets.token_hex(_ERROR_ID_BYTES)
        self._log.error("command_failed", command=call.command, error_id=call.error_id, exc_info=error)
        return error_response(CommandError("internal_error", description, {"error_id": call.error_id}))


def _makes_few_requests(params: Params, command: AnyCommand) -> bool:
    """Whether the time-outs of the single requests bound the command enough: then it is spared a cancel scope."""
    if isinstance(params, RegisterSiteParams):  # with a token, several setup clients may have to ask whose it is
        return params.client_id is not None and params.protection_access_token is None
    return command.name in _FEW_REQUESTS


def _whose(owner: Owner) -> str:
    """Return whose share is used up, in the words of the log."""
    if owner == _STRANGERS:
        return "commands without a site"
    return "one site" if isinstance(owner, str) else "one OP host"


def _said_by_us(error: BaseException | None) -> str | None:
    """Return what may be logged of an error that shows texts of an OP; None for any other error."""
    match error:
        case OpErrorResponse():
            return str(error)
        case DpopProofError():
            return f"The DPoP proof was refused: {error.check}."
        case LogoutTokenError():
            return f"The logout token was refused: {error.check}."
        case IdTokenError():
            return f"The id_token was refused: {error.check}."
        case AuthorizationResponseError():
            return f"The authorization response was refused: {error.check}."
        case AuthorizationRefused():
            return "The OP refused the login."
        case IssuerMismatch():
            return f"The iss parameter of the OP's redirect is not {error.expected}."
    return None

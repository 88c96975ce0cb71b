"""The commands for a login on another device (RFC 8628)."""

from typing import Final

from oxd_protocol.device import (
    PollDeviceLoginParams,
    PollDeviceLoginResult,
    StartDeviceLoginParams,
    StartDeviceLoginResult,
)
from oxd_protocol.errors import CommandError
from oxd_server.handlers.connect import keep_unrequested_login
from oxd_server.handlers.targets import targets
from oxd_server.op.context import Form
from oxd_server.op.device import poll_device, start_device
from oxd_server.op.errors import OpErrorResponse, OpUnreachable
from oxd_server.op.tokens import told_lifetime
from oxd_server.rp.services import Services

__all__ = ["poll_device_login", "start_device_login"]

_PENDING: Final = "pending"
_COMPLETE: Final = "complete"
_UNDECIDED: Final = ("authorization_pending", "slow_down")


async def start_device_login(services: Services, params: StartDeviceLoginParams) -> StartDeviceLoginResult:
    """Start a login on another device: the application shows where to go, and the code to enter there."""
    site = await services.site(params.oxd_id)
    scope = " ".join(params.scope or site.client.scopes)
    acr_values = " ".join(params.acr_values or site.client.default_acr_values)
    form: Form = {"scope": scope, **({"acr_values": acr_values} if acr_values else {}), **targets(params)}
    metadata = await services.metadata_of(site)
    started = await start_device(services.op, metadata, services.credentials_of(site), form)
    services.under_way.device_logins.start(started.device_code, started.interval, services.now())
    return StartDeviceLoginResult(
        device_code=started.device_code,
        user_code=started.user_code,
        verification_uri=started.verification_uri,
        verification_uri_complete=started.verification_uri_complete,
        expires_in=started.expires_in,
        interval=started.interval,
    )


async def poll_device_login(services: Services, params: PollDeviceLoginParams) -> PollDeviceLoginResult:
    """Ask once whether the user has logged in, unless it is too early to ask. The tokens are checked and remembered."""
    site = await services.site(params.oxd_id)
    code, logins = params.device_code, services.under_way.device_logins
    metadata = await services.metadata_of(site)
    credentials = services.credentials_of(site)
    if early := logins.ask(code, services.now()):
        return PollDeviceLoginResult(status=_PENDING, interval=early)
    try:
        tokens = await poll_device(services.op, metadata, credentials, code)
    except OpErrorResponse as error:
        if error.oauth_error not in _UNDECIDED:
            logins.end(code)
            raise
        seconds = logins.wait(code, services.now(), slower=error.oauth_error == "slow_down")
        return PollDeviceLoginResult(status=_PENDING, interval=seconds)
    except OpUnreachable:
        logins.back_off(code, services.now())
        raise
    logins.end(code)
    if tokens.access_token is None:
        raise CommandError("no_access_token")
    id_token = await keep_unrequested_login(services, site, metadata, tokens)
    return PollDeviceLoginResult(
        status=_COMPLETE,
        access_token=tokens.access_token,
        expires_in=told_lifetime(tokens),
        id_token=id_token,
        refresh_token=tokens.refresh_token,
    )

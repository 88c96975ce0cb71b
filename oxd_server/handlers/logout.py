"""The commands about the end of a session that begins at the OP or in another application."""

from functools import partial
from typing import Final

import trio

from oxd_protocol.connect import EmptyResult
from oxd_protocol.errors import CommandError
from oxd_protocol.logout import (
    LONGEST_WAIT,
    BackchannelLogoutParams,
    FrontchannelLogoutPageParams,
    FrontchannelLogoutPageResult,
    SessionStatusParams,
    SessionStatusResult,
    WaitForLogoutParams,
)
from oxd_server.handlers.connect import expectations
from oxd_server.op.authorization import add_query
from oxd_server.op.errors import IdTokenError, IssuerMismatch, LogoutTokenError
from oxd_server.op.id_token import IdToken, Unchecked
from oxd_server.op.id_token_check import check_id_token
from oxd_server.op.logout_token import check_logout_token
from oxd_server.op.reach import origin_of
from oxd_server.rp.decryption import decrypted
from oxd_server.rp.logouts import NamedSession, keep_logout, logged_out_at, tell_application
from oxd_server.rp.services import Services
from oxd_server.store.base import Site

__all__ = ["backchannel_logout", "get_frontchannel_logout_page", "session_status", "wait_for_logout"]

_USUAL_WAIT: Final = 30
_LOOK_SECONDS: Final = 1.0
"""How often a waiting command asks the store: a logout that came in at another worker or node ends the wait then."""
_SHARE_OF_TIME_OUT: Final = 0.8
"""Of the time that a command may take: the wait has to end before it."""

# Front-Channel Logout 1.0, section 2: "The RP's response SHOULD include Cache-Control directives keeping the response
# from being cached".
_NOT_CACHED: Final = {"Cache-Control": "no-cache, no-store", "Pragma": "no-cache"}


async def backchannel_logout(services: Services, params: BackchannelLogoutParams) -> EmptyResult:
    """Take a logout token (Back-Channel Logout 1.0, section 2.5): check it, keep the logout, tell the application."""
    site = await services.site(params.oxd_id)
    if site.client.backchannel_logout_uri is None:
        raise CommandError("invalid_request", "This site has not asked for logout tokens (backchannel_logout).")
    metadata = await services.metadata_of(site)
    expected = expectations(services, site, metadata, Unchecked.NONCE)
    logout = await check_logout_token(services.op, metadata, _opened(services, site, params.logout_token), expected)
    await keep_logout(services, site, logout)
    await tell_application(services, site, metadata.issuer, logout)
    return EmptyResult()


def _opened(services: Services, site: Site, token: str) -> str:
    """Return the signed logout token. Section 2.4: it "MAY also be encrypted", as the site's id_tokens are."""
    try:
        return decrypted(services, site, "id_token", token, from_op=False)
    except IdTokenError as error:
        raise LogoutTokenError(error.check, error.expected, error.actual) from error


async def session_status(services: Services, params: SessionStatusParams) -> SessionStatusResult:
    """Tell whether the OP has sent a logout for a session."""
    site = await services.site(params.oxd_id)
    session = await _named_session(services, site, params)
    return _status(await logged_out_at(services, site, session))


async def wait_for_logout(services: Services, params: WaitForLogoutParams) -> SessionStatusResult:
    """Wait until the OP sends a logout for a session, until the time is up, or until the server stops."""
    seconds = _seconds(services, params.timeout)
    site = await services.site(params.oxd_id)
    session = await _named_session(services, site, params)
    waits, seen = services.under_way.logout_waits, -1
    deadline = trio.current_time() + seconds
    with waits.hold(site.oxd_id):
        while True:
            bell = waits.bell(site.oxd_id)
            await services.site(site.oxd_id)  # it may have been removed
            # This number is the site's own version of what the store keeps for it: it grows with every logout, whoever
            # received it, and costs a look into memory as long as nobody has written.
            kept = (await services.store.session(site.oxd_id)).tokens_issued
            if kept != seen:
                seen, ended = kept, await logged_out_at(services, site, session)
                if ended is not None:
                    return _status(ended)
            if waits.stopped or trio.current_time() >= deadline:
                return _status(None)
            with trio.move_on_at(min(deadline, trio.current_time() + _LOOK_SECONDS)):
                await bell.wait()


def _status(ended: int | None) -> SessionStatusResult:
    return SessionStatusResult(active=ended is None, logged_out_at=ended or 0)


def _seconds(services: Services, named: int | None) -> float:
    if named is not None and not 0 <= named <= LONGEST_WAIT:
        raise CommandError("invalid_request", f"'timeout' must be 0 to {LONGEST_WAIT} seconds.")
    wanted = _USUAL_WAIT if named is None else named
    time_out = services.config.time_out_in_seconds
    return min(wanted, _SHARE_OF_TIME_OUT * time_out) if time_out else wanted


async def _named_session(services: Services, site: Site, params: SessionStatusParams) -> NamedSession:
    """Return the session that the params name. Raises ``CommandError``, and ``IdTokenError`` for a bad id_token."""
    if params.id_token is not None:
        claims = (await _id_token(services, site, params.id_token)).claims
        session_id, issued_at = claims.get("sid"), claims["iat"]
        return NamedSession(
            session_id=session_id if isinstance(session_id, str) else None,
            subject=str(claims["sub"]),
            since=float(issued_at) if isinstance(issued_at, int | float) else 0.0,
        )
    if params.sid is None and params.sub is None:
        raise CommandError("bad_request", "'sid', 'sub' or 'id_token' is missing: which session is meant?")
    return NamedSession(session_id=params.sid, subject=params.sub, since=float(params.since or 0))


async def _id_token(services: Services, site: Site, token: str) -> IdToken:
    """Return the site's own id_token, which may have expired by now."""
    metadata = await services.metadata_of(site)
    expected = expectations(services, site, metadata, Unchecked.NONCE, accept_expired=True)
    return await check_id_token(services.op, metadata, token, expected)


async def get_frontchannel_logout_page(
    services: Services, params: FrontchannelLogoutPageParams
) -> FrontchannelLogoutPageResult:
    """Check a front-channel logout, and make the page for it: it loads the site's further logout URLs.

    The request comes through a browser and proves nothing. So nothing is stored, and what is logged out is that
    browser's own session: see ``id_token``.
    """
    site = await services.site(params.oxd_id)
    await _check_frontchannel(services, site, params)
    named = {name: value for name, value in (("iss", params.iss), ("sid", params.sid)) if value is not None}
    urls = [add_query(url, named) for url in site.client.frontchannel_logout_uri[1:]]
    origins = " ".join(sorted({origin_of(url) for url in urls})) or "'none'"
    policy = {"Content-Security-Policy": f"default-src 'none'; frame-src {origins}"}
    page = await trio.to_thread.run_sync(partial(_page, urls))
    return FrontchannelLogoutPageResult(page=page, headers=_NOT_CACHED | policy)


def _page(urls: list[str]) -> str:
    """Return the page; its template is read from the package, and the library that fills it in only when needed."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("oxd_server.handlers"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    return templates.get_template("frontchannel_logout.html").render(urls=urls)


async def _check_frontchannel(services: Services, site: Site, params: FrontchannelLogoutPageParams) -> None:
    # Front-Channel Logout 1.0, section 3: the OP may send iss and sid, and "if either is included, both MUST be".
    if (params.iss is None) != (params.sid is None):
        raise CommandError("invalid_request", "The OP sends 'iss' and 'sid' together; one of them is missing.")
    if params.sid is None and site.client.frontchannel_logout_session_required:
        raise CommandError("invalid_request", "'iss' and 'sid' are missing: the site requires them at logout.")
    if params.iss is not None:
        issuer = (await services.metadata_of(site)).issuer
        if params.iss != issuer:
            raise IssuerMismatch(issuer, params.iss)
    if params.id_token is not None and params.sid is not None:
        session_id = (await _id_token(services, site, params.id_token)).claims.get("sid")
        if session_id != params.sid:
            raise CommandError("invalid_request", "This logout is for another session than that of the id_token.")

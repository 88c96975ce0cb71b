"""The logout tokens that the provider signs, and their delivery (OpenID Connect Back-Channel Logout 1.0)."""

from typing import Any

import httpx2
import structlog
import trio

from oxd_server.sandbox.provider import faults
from oxd_server.sandbox.provider.model import Client, ProviderState, Session
from oxd_server.sandbox.web import is_loopback_uri

__all__ = ["issue_logout_token", "tell_clients"]

_EVENT = "http://schemas.openid.net/event/backchannel-logout"
_SECONDS = 120  # 2.4: "preferably at most two minutes in the future"
_ANSWER_SECONDS = 5.0


def issue_logout_token(state: ProviderState, client: Client, sub: str, sid: str | None) -> str:
    """A signed logout token for one session of the user, or for all of them without a `sid` (section 2.4)."""
    now = state.seconds()
    claims: dict[str, Any] = {
        "iss": state.issuer,
        "aud": client.client_id,
        "iat": now,
        "exp": now + _SECONDS,
        "jti": state.new_token(),
        "sub": sub,
        "events": {_EVENT: {}},
    }
    if sid is not None:
        claims["sid"] = sid
    return faults.sign_logout_token(state, claims, client.id_token_alg, client.secret)


async def tell_clients(state: ProviderState, session: Session) -> None:
    """Send a logout token to every application that the session's user has logged in at (section 2.5)."""
    clients = [client for name in session.consents if (client := state.clients.get(name)) is not None]
    async with trio.open_nursery() as nursery:
        for client in clients:
            uri = client.metadata.get("backchannel_logout_uri")
            # Only loopback: the sandbox reaches for nothing else.
            if uri is not None and session.user is not None and is_loopback_uri(uri):
                nursery.start_soon(_send, state, uri, issue_logout_token(state, client, session.user.sub, session.sid))


async def _send(state: ProviderState, uri: str, logout_token: str) -> None:
    log = structlog.get_logger("oxd_server.sandbox")
    verify: Any = state.trusted or True
    try:
        async with httpx2.AsyncClient(timeout=_ANSWER_SECONDS, trust_env=False, verify=verify) as http:
            answer = await http.post(uri, data={"logout_token": logout_token})
    except httpx2.HTTPError as error:
        log.warning("sandbox_logout_not_delivered", uri=uri, reason=str(error) or type(error).__name__)
    else:
        log.info("sandbox_logout_delivered", uri=uri, status=answer.status_code)

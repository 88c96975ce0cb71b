"""The logout request as a URL. Pure. Specification: OpenID Connect RP-Initiated Logout 1.0."""

from collections.abc import Mapping

from oxd_server.op.authorization import add_query
from oxd_server.op.errors import ParameterRefused

__all__ = ["end_session_url"]

_PROTOCOL_PARAMETERS = frozenset({"id_token_hint", "post_logout_redirect_uri", "state", "session_state"})


def end_session_url(
    endpoint: str,
    *,
    id_token_hint: str | None = None,
    post_logout_redirect_uri: str | None = None,
    state: str | None = None,
    session_state: str | None = None,
    client_id: str | None = None,
    ui_locales: str | None = None,
    further: Mapping[str, str] | None = None,
) -> str:
    """The URL to send the browser to; a query of the endpoint is kept, parameters without a value are left out.

    RP-Initiated Logout section 2. `session_state` is not in the specification; Gluu's server reads it. `further` is
    what an OP wants beside them, such as Cognito's `logout_uri`.

    Raises:
        ParameterRefused: a further parameter would override one of the protocol.
    """
    values = {
        "id_token_hint": id_token_hint,
        "post_logout_redirect_uri": post_logout_redirect_uri,
        "state": state,
        "session_state": session_state,
        "client_id": client_id,
        "ui_locales": ui_locales,
    }
    sent = {name: value for name, value in values.items() if value}
    for name, value in (further or {}).items():
        if name in _PROTOCOL_PARAMETERS or sent.get(name, value) != value:
            raise ParameterRefused(name)
    return add_query(endpoint, {**sent, **(further or {})})

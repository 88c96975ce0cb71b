"""Authorization responses as signed JWTs: JWT Secured Authorization Response Mode for OAuth 2.0 (JARM)."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from oxd_server.entrances.http1_messages import HttpResponse
from oxd_server.sandbox.provider.faults import sign_response
from oxd_server.sandbox.provider.model import ProviderState
from oxd_server.sandbox.web import redirect, with_fragment, with_query

__all__ = ["SIGNED_MODES", "as_signed_response", "in_fragment"]

SIGNED_MODES: Final = ("jwt", "query.jwt", "fragment.jwt")
_SECONDS: Final = 600


def in_fragment(params: Mapping[str, str]) -> bool:
    """Whether the answer to this request goes into the fragment."""
    mode = params.get("response_mode", "").removesuffix(".jwt")
    return mode == "fragment" or "id_token" in params.get("response_type", "").split()


def as_signed_response(state: ProviderState, answer: HttpResponse, params: Mapping[str, str]) -> HttpResponse | None:
    """The answer with its parameters in one JWT; None if that was not asked for."""
    client = state.clients.get(params.get("client_id"))
    if params.get("response_mode") not in SIGNED_MODES or client is None:
        return None
    redirect_uri = params["redirect_uri"]
    location = next(value for name, value in answer.headers if name == "Location")
    parts = urlsplit(location.removeprefix(redirect_uri))
    claims: dict[str, Any] = {
        **dict(parse_qsl(parts.fragment or parts.query or parts.path.lstrip("&"))),
        "iss": state.issuer,
        "aud": client.client_id,
        "exp": state.seconds() + _SECONDS,
    }
    alg = client.metadata.get("authorization_signed_response_alg", "RS256")
    response = {"response": sign_response(state, claims, alg, client.secret)}
    add = with_fragment if in_fragment(params) else with_query
    return redirect(add(redirect_uri, response))

"""Dynamic client registration (RFC 7591, OpenID Connect Registration 1.0) and its management (RFC 7592)."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from oxd_server.entrances.http1 import HttpRequest, HttpResponse
from oxd_server.sandbox.provider.client_authentication import AUTH_METHODS, HMAC_ALGS, KEY_ALGS
from oxd_server.sandbox.provider.keys import SIGNING_ALGS
from oxd_server.sandbox.provider.model import SCOPES, Client, ProviderState
from oxd_server.sandbox.uma.model import UMA_TICKET
from oxd_server.sandbox.web import OAuthError, bearer_token, json_body, json_response, query, same_secret

GRANT_TYPES = ("authorization_code", "implicit", "refresh_token", "client_credentials", UMA_TICKET)
RESPONSE_TYPES = ("code", "code id_token", "code id_token token")
_MAX_LIST = 50
_MAX_TEXT = 2000

_TEXTS = (
    "client_name", "client_uri", "logo_uri", "policy_uri", "tos_uri", "jwks_uri", "sector_identifier_uri",
    "initiate_login_uri", "software_id", "software_version", "frontchannel_logout_uri",
)  # fmt: skip
_LISTS = (
    "redirect_uris", "post_logout_redirect_uris", "contacts", "default_acr_values", "request_uris",
    "claims_redirect_uris", "ui_locales", "claims_locales",
)  # fmt: skip
_CHOICES: dict[str, tuple[tuple[str, ...], str | None]] = {
    "application_type": (("web", "native"), "web"),
    "subject_type": (("public",), "public"),
    "token_endpoint_auth_method": (AUTH_METHODS, "client_secret_basic"),
    "token_endpoint_auth_signing_alg": ((*HMAC_ALGS, *KEY_ALGS), None),
    "id_token_signed_response_alg": (SIGNING_ALGS, "RS256"),
    "userinfo_signed_response_alg": (SIGNING_ALGS, None),
}
_SET_BY_THE_PROVIDER = (
    "registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at",
)  # fmt: skip


def _bad(description: str) -> OAuthError:
    return OAuthError("invalid_client_metadata", description)


async def register(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """POST /register: a new client (RFC 7591 3.1)."""
    metadata = checked_metadata(json_body(request))
    client = Client(
        client_id=state.new_token(),
        metadata=metadata,
        secret=state.new_token(),
        registration_access_token=state.new_token(),
        issued_at=state.seconds(),
    )
    if client.auth_method == "none":
        client.secret = None
    state.clients.put(client.client_id, client)
    return json_response(client_information(state, client), 201)


async def read(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """GET /register?client_id=...: the client as it is registered (RFC 7592 2.1)."""
    return json_response(client_information(state, _managed_client(state, request)))


async def update(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """PUT /register?client_id=...: replace the whole metadata (RFC 7592 2.2)."""
    client = _managed_client(state, request)
    body = json_body(request)
    # RFC 7592 2.2: "The updated client metadata fields request MUST include all client metadata fields as
    # returned"; fields left out are taken as null, that is, removed. It "MUST NOT include" these:
    if included := [name for name in _SET_BY_THE_PROVIDER if name in body]:
        raise OAuthError("invalid_request", f"an update must not include {', '.join(included)}")
    if body.get("client_id") != client.client_id:
        raise OAuthError("invalid_request", "client_id must be the client's")
    if "client_secret" in body and not same_secret(str(body["client_secret"]), client.secret):
        raise OAuthError("invalid_request", "client_secret must be the client's current one")
    client.metadata = checked_metadata(body)
    if client.secret is None and client.auth_method != "none":
        client.secret = state.new_token()
    return json_response(client_information(state, client))


async def delete(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """DELETE /register?client_id=...: forget the client; its tokens die with it (RFC 7592 2.3)."""
    state.clients.pop(_managed_client(state, request).client_id)
    return HttpResponse(204, [("Cache-Control", "no-store")])


def _managed_client(state: ProviderState, request: HttpRequest) -> Client:
    client = state.clients.get(query(request).get("client_id"))
    if client is None or not same_secret(bearer_token(request), client.registration_access_token):
        # RFC 7592 2.1: an invalid token and a client that does not exist both get 401.
        raise OAuthError("invalid_token", "the registration access token is not valid", 401, WWW_Authenticate="Bearer")
    return client


def client_information(state: ProviderState, client: Client) -> dict[str, Any]:
    """The client information response (RFC 7591 3.2.1)."""
    secret: dict[str, Any] = {}
    if client.secret is not None:
        secret = {"client_secret": client.secret, "client_secret_expires_at": client.secret_expires_at}
    return {
        "client_id": client.client_id,
        **secret,
        "client_id_issued_at": client.issued_at,
        "registration_access_token": client.registration_access_token,
        "registration_client_uri": f"{state.issuer}/register?client_id={client.client_id}",
        **client.metadata,
    }


def checked_metadata(body: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata that the provider will keep, defaults filled in; OAuthError if it is not acceptable.

    Unknown members are dropped, as RFC 7591 2 asks.
    """
    given = {name: value for name, value in body.items() if value is not None}
    metadata: dict[str, Any] = {name: _text(given, name) for name in _TEXTS if name in given}
    metadata |= {name: _texts(given, name) for name in _LISTS if name in given}
    for name, (choices, default) in _CHOICES.items():
        value = given.get(name, default)
        if value is not None:
            metadata[name] = _choice(name, value, choices)
    metadata["grant_types"] = _subset(given, "grant_types", GRANT_TYPES, ["authorization_code"])
    metadata["response_types"] = [_normal_response_type(item) for item in _texts(given, "response_types", ["code"])]
    metadata["scope"] = _scope(given)
    metadata |= {name: given[name] for name in ("require_auth_time",) if isinstance(given.get(name), bool)}
    if isinstance(given.get("default_max_age"), int):
        metadata["default_max_age"] = given["default_max_age"]
    if "jwks" in given:
        metadata["jwks"] = _jwks(given)
    _check_together(metadata)
    return metadata


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given[name]
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise _bad(f"{name} must be a text of at most {_MAX_TEXT} characters")
    return value


def _texts(given: Mapping[str, Any], name: str, default: list[str] | None = None) -> list[str]:
    value = given.get(name, default or [])
    if not isinstance(value, list) or len(value) > _MAX_LIST:
        raise _bad(f"{name} must be a list of at most {_MAX_LIST} texts")
    if not all(isinstance(item, str) and len(item) <= _MAX_TEXT for item in value):
        raise _bad(f"{name} must be a list of texts of at most {_MAX_TEXT} characters")
    return list(value)


def _choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise _bad(f"{name} must be one of {', '.join(choices)}")
    return str(value)


def _subset(given: Mapping[str, Any], name: str, choices: tuple[str, ...], default: list[str]) -> list[str]:
    return [_choice(name, item, choices) for item in _texts(given, name, default) or default]


def _normal_response_type(value: str) -> str:
    """A response type with its words in the customary order."""
    normal = " ".join(sorted(value.split()))
    return _choice("response_types", normal, RESPONSE_TYPES)


def _scope(given: Mapping[str, Any]) -> str:
    """The scopes that the provider knows among those asked for; all of them if none was named."""
    if "scope" not in given and "scopes" not in given:
        return " ".join(SCOPES)
    asked = given.get("scope", given.get("scopes"))
    words = asked.split() if isinstance(asked, str) else _texts({"scope": asked}, "scope")
    return " ".join(word for word in dict.fromkeys(words) if word in SCOPES)


def _jwks(given: Mapping[str, Any]) -> dict[str, Any]:
    jwks = given["jwks"]
    if not isinstance(jwks, dict) or not isinstance(jwks.get("keys"), list) or len(jwks["keys"]) > _MAX_LIST:
        raise _bad("jwks must be a JSON Web Key Set")
    return dict(jwks)


def _check_together(metadata: Mapping[str, Any]) -> None:
    """The checks that look at more than one member."""
    for uri in metadata.get("redirect_uris", []):
        if not is_redirect_uri(uri):
            raise OAuthError("invalid_redirect_uri", "a redirect URI must be absolute and without a fragment")
    needs_redirect = {"authorization_code", "implicit"} & set(metadata["grant_types"])
    if needs_redirect and not metadata.get("redirect_uris"):
        raise OAuthError("invalid_redirect_uri", "redirect_uris is required")
    for name in ("post_logout_redirect_uris", "claims_redirect_uris"):
        if not all(is_redirect_uri(uri) for uri in metadata.get(name, [])):
            raise _bad(f"{name} must be absolute and without a fragment")
    # RFC 7591 2: jwks_uri and jwks "MUST NOT both be present in the same request or response".
    if "jwks" in metadata and "jwks_uri" in metadata:
        raise _bad("jwks and jwks_uri exclude each other")
    method = metadata["token_endpoint_auth_method"]
    if method == "private_key_jwt" and not ("jwks" in metadata or "jwks_uri" in metadata):
        raise _bad("private_key_jwt needs jwks or jwks_uri")
    if method == "none" and "client_credentials" in metadata["grant_types"]:
        raise _bad("a public client cannot use client_credentials")
    if method == "none" and "HS256" in (metadata[name] for name in _CHOICES if name in metadata):
        raise _bad("HS256 needs a client secret")


def is_redirect_uri(uri: str) -> bool:
    """Whether `uri` is absolute, printable ASCII and without a fragment (RFC 6749 3.1.2)."""
    if not re.fullmatch(r"[!-~]+", uri) or "#" in uri:
        return False
    try:
        parts = urlsplit(uri)
        host = parts.hostname
    except ValueError:
        return False
    if parts.scheme in ("http", "https"):
        return bool(host)
    return bool(parts.scheme) and parts.scheme not in ("javascript", "data", "vbscript", "about", "blob", "file")

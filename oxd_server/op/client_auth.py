"""How a client shows an OP who it is, at the token endpoint and at others that ask for it.

Specifications: RFC 6749 section 2.3, OpenID Connect Core 1.0 section 9, RFC 7523.
"""

import base64
import re
from collections.abc import Callable
from enum import StrEnum
from urllib.parse import quote_plus, urlsplit

import msgspec
from msgspec.structs import replace

from oxd_protocol.discreet import Discreet
from oxd_server.op.base64url import encode_base64url
from oxd_server.op.client_identity import ClientIdentity
from oxd_server.op.discovery import ProviderMetadata
from oxd_server.op.dpop import DpopKey
from oxd_server.op.errors import ClientAuthenticationError, ClientSecretExpired, IdTokenError, MalformedToken
from oxd_server.op.jose import ALGORITHMS, AnyKey, secret_signing_key, sign_token
from oxd_server.op.key_store import KeyStore
from oxd_server.op.settings import ISSUER, TOKEN_ENDPOINT

__all__ = [
    "ASSERTION_TYPE",
    "BY_CERTIFICATE",
    "BY_OUR_KEY",
    "ClientAuthMethod",
    "ClientAuthentication",
    "ClientCredentials",
    "assertion_audience",
    "authenticate",
    "bearer_header",
    "dpop_header",
    "secret_expires_within",
    "usual_method",
]

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_LIFETIME = 120

_BEARER_TOKEN = re.compile(r"[!-~]+")


class ClientAuthMethod(StrEnum):
    """The token endpoint authentication methods (Core section 9, RFC 8705). `NONE` is for public clients, with PKCE."""

    CLIENT_SECRET_BASIC = "client_secret_basic"
    CLIENT_SECRET_POST = "client_secret_post"
    CLIENT_SECRET_JWT = "client_secret_jwt"
    PRIVATE_KEY_JWT = "private_key_jwt"
    TLS_CLIENT_AUTH = "tls_client_auth"
    SELF_SIGNED_TLS_CLIENT_AUTH = "self_signed_tls_client_auth"
    NONE = "none"


BY_CERTIFICATE = (ClientAuthMethod.TLS_CLIENT_AUTH, ClientAuthMethod.SELF_SIGNED_TLS_CLIENT_AUTH)
"""RFC 8705 section 2."""
BY_OUR_KEY = (ClientAuthMethod.PRIVATE_KEY_JWT, *BY_CERTIFICATE)
"""What proves who this server is, whoever asks it to."""


class ClientCredentials(Discreet, frozen=True, kw_only=True):
    """Who the client is and how it is registered to authenticate.

    Attributes:
        method: the registered `ClientAuthMethod`, another text is refused when it is used; None: see `usual_method`.
        signing_alg: of the assertion; default HS256, or what suits the key.
        key_store: where the key for `private_key_jwt` is found.
        key_id: which key there; default: the first that fits.
        client_secret_expires_at: seconds since the epoch; 0 and None: never.
        dpop_key: what its tokens are bound to, if they are.
        identity: shown in TLS, by a client that authenticates with it or whose tokens are bound to it.
    """

    shows = ("client_id", "method", "signing_alg", "key_id", "client_secret_expires_at", "identity")

    client_id: str
    client_secret: str | None = None
    method: str | None = None
    signing_alg: str | None = None
    key_store: KeyStore | None = None
    key_id: str | None = None
    client_secret_expires_at: int | None = None
    dpop_key: DpopKey | None = None
    identity: ClientIdentity | None = None


class ClientAuthentication(Discreet, frozen=True):
    """What to add to a request: headers and form fields, both secret."""

    headers: dict[str, str] = msgspec.field(default_factory=dict)
    form: dict[str, str] = msgspec.field(default_factory=dict)


_WITH_SECRET = (
    ClientAuthMethod.CLIENT_SECRET_BASIC,
    ClientAuthMethod.CLIENT_SECRET_POST,
    ClientAuthMethod.CLIENT_SECRET_JWT,
)


def usual_method(credentials: ClientCredentials, metadata: ProviderMetadata) -> ClientCredentials:
    """The credentials with their method; where none is registered, one with the secret that the OP lists.

    Core section 9: "If no method is registered, the default method is client_secret_basic." An OP that lists others
    only does not take it.
    """
    if credentials.method is not None:
        return credentials
    listed = [method for method in _WITH_SECRET if method in metadata.token_endpoint_auth_methods_supported]
    return replace(credentials, method=listed[0] if listed else ClientAuthMethod.CLIENT_SECRET_BASIC)


def assertion_audience(metadata: ProviderMetadata, url: str) -> str:
    """The audience of a client assertion that is sent to `url`, as one text.

    Core section 9: "The Audience SHOULD be the URL of the Authorization Server's Token Endpoint", and some servers
    take nothing else. But the metadata of a hostile OP can name another OP's token endpoint there, and another address
    of its own for us to send the assertion to. So that URL counts only where it lies on the issuer's own origin or the
    operator wants it, and never in an assertion that goes to another origin. Otherwise it is the issuer: nobody but
    who publishes the metadata has that name. The FAPI profile (FAPI 2.0 section 5.3.3) wants the issuer always; an OP
    that requires pushed requests is taken to follow it. At their endpoint the issuer "SHOULD be used" anywhere (RFC
    9126 section 2).
    """
    wanted, endpoint = metadata.settings.assertion_audience, metadata.token_endpoint
    if endpoint is None or metadata.settings.fapi_enabled or wanted == ISSUER or _origin(endpoint) != _origin(url):
        return metadata.issuer
    is_modern = metadata.require_pushed_authorization_requests or url == metadata.pushed_authorization_request_endpoint
    if wanted is None and is_modern:
        return metadata.issuer
    own = wanted == TOKEN_ENDPOINT or _origin(endpoint) == _origin(metadata.issuer)
    return endpoint if own else metadata.issuer


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def authenticate(
    credentials: ClientCredentials, audience: Callable[[], str], now: float, random: Callable[[int], bytes]
) -> ClientAuthentication:
    """What proves the client's identity, now.

    Args:
        credentials: the client and what it authenticates with.
        audience: gives the URL that an assertion is meant for, if there is one.
        now: seconds since the epoch.
        random: gives that many unguessable bytes.

    Raises:
        ClientSecretExpired: the secret has expired; it is not used.
        ClientAuthenticationError: the method is unknown, or a secret or key that it needs is missing.
    """
    client_id = credentials.client_id
    match credentials.method:
        case ClientAuthMethod.CLIENT_SECRET_BASIC:
            return ClientAuthentication(headers={"authorization": _basic(client_id, _secret(credentials, now))})
        case ClientAuthMethod.CLIENT_SECRET_POST:
            return ClientAuthentication(form={"client_id": client_id, "client_secret": _secret(credentials, now)})
        case ClientAuthMethod.CLIENT_SECRET_JWT:
            return _by_assertion(client_id, _secret_assertion(credentials, audience(), now, random))
        case ClientAuthMethod.PRIVATE_KEY_JWT:
            return _by_assertion(client_id, _private_key_assertion(credentials, audience(), now, random))
        case ClientAuthMethod.TLS_CLIENT_AUTH | ClientAuthMethod.SELF_SIGNED_TLS_CLIENT_AUTH:
            if credentials.identity is None:
                raise ClientAuthenticationError(f"{credentials.method} needs a client certificate, and there is none")
            # RFC 8705 section 2: requests "MUST include the client_id parameter".
            return ClientAuthentication(form={"client_id": client_id})
        case ClientAuthMethod.NONE:
            return ClientAuthentication(form={"client_id": client_id})
    raise ClientAuthenticationError(f"{(credentials.method or 'nothing')[:50]} is no known authentication method")


def bearer_header(token: str) -> dict[str, str]:
    """The header that presents an access token (RFC 6750 section 2.1).

    Raises:
        MalformedToken: it holds characters that no access token has, and that could break the header.
    """
    return _with_token("Bearer", token)


def dpop_header(token: str) -> dict[str, str]:
    """The header that presents an access token which is bound to a key (RFC 9449 section 7.1). Raises as above."""
    return _with_token("DPoP", token)


def _with_token(scheme: str, token: str) -> dict[str, str]:
    if not _BEARER_TOKEN.fullmatch(token):
        raise MalformedToken("the token holds characters that no access token has")
    return {"authorization": f"{scheme} {token}"}


def secret_expires_within(credentials: ClientCredentials, now: float, seconds: float) -> bool:
    """Whether the client secret, if the client authenticates with it, expires in the next `seconds` or has expired."""
    expires_at = credentials.client_secret_expires_at
    if not expires_at or now + seconds < expires_at:
        return False
    return credentials.method not in (*BY_OUR_KEY, ClientAuthMethod.NONE)


def _secret(credentials: ClientCredentials, now: float) -> str:
    if not credentials.client_secret:
        raise ClientAuthenticationError(f"{credentials.method} needs a client secret, and there is none")
    expires_at = credentials.client_secret_expires_at
    if expires_at and now >= expires_at:
        raise ClientSecretExpired(credentials.client_id, expires_at)
    return credentials.client_secret


def _basic(client_id: str, client_secret: str) -> str:
    """RFC 6749 section 2.3.1: both are form-urlencoded before they are joined."""
    pair = f"{quote_plus(client_id)}:{quote_plus(client_secret)}"
    return "Basic " + base64.b64encode(pair.encode("ascii")).decode("ascii")


def _by_assertion(client_id: str, assertion: str) -> ClientAuthentication:
    return ClientAuthentication(
        form={"client_id": client_id, "client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}
    )


def _secret_assertion(credentials: ClientCredentials, audience: str, now: float, random: Callable[[int], bytes]) -> str:
    secret = _secret(credentials, now)
    name = credentials.signing_alg or "HS256"
    if name not in ALGORITHMS or not ALGORITHMS[name].symmetric:
        raise ClientAuthenticationError(f"{name[:50]} is no algorithm for signing with a client secret")
    try:
        key: AnyKey = secret_signing_key(ALGORITHMS[name], secret)
    except IdTokenError as error:
        raise ClientAuthenticationError(f"the client secret is too short for {name}") from error
    return sign_token({"typ": "JWT"}, _assertion_claims(credentials, audience, now, random), ALGORITHMS[name], key)


def _private_key_assertion(
    credentials: ClientCredentials, audience: str, now: float, random: Callable[[int], bytes]
) -> str:
    if credentials.key_store is None:
        raise ClientAuthenticationError("private_key_jwt needs a key store, and none is configured")
    key, algorithm = credentials.key_store.select(credentials.signing_alg, credentials.key_id)
    claims = _assertion_claims(credentials, audience, now, random)
    return sign_token({"typ": "JWT", "kid": key.kid}, claims, algorithm, key.key)


def _assertion_claims(
    credentials: ClientCredentials, audience: str, now: float, random: Callable[[int], bytes]
) -> dict[str, object]:
    """RFC 7523 section 3."""
    return {
        "iss": credentials.client_id,
        "sub": credentials.client_id,
        "aud": audience,
        "jti": encode_base64url(random(16)),
        "iat": int(now),
        "exp": int(now) + ASSERTION_LIFETIME,
    }

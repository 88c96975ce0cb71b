"""Where an OP is and what it offers. Specifications: OpenID Connect Discovery 1.0, RFC 8414."""

import re
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import msgspec

from oxd_server.op.answer import Answer
from oxd_server.op.errors import InvalidOpHost, OpMetadataMissing
from oxd_server.op.metadata_cache import DEFAULT_LIFETIME, MetadataCache
from oxd_server.op.transport import Transport

WELL_KNOWN = "/.well-known/openid-configuration"
STEP = "discovery"


class ProviderMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What an OP says of itself (Discovery 1.0 section 3, RFC 8414 section 2), with the defaults given there."""

    issuer: str
    authorization_endpoint: str | None = None
    token_endpoint: str | None = None
    userinfo_endpoint: str | None = None
    jwks_uri: str | None = None
    registration_endpoint: str | None = None
    introspection_endpoint: str | None = None
    revocation_endpoint: str | None = None
    end_session_endpoint: str | None = None
    scopes_supported: tuple[str, ...] = ()
    claims_supported: tuple[str, ...] = ()
    response_types_supported: tuple[str, ...] = ()
    response_modes_supported: tuple[str, ...] = ("query", "fragment")
    grant_types_supported: tuple[str, ...] = ("authorization_code", "implicit")
    acr_values_supported: tuple[str, ...] = ()
    subject_types_supported: tuple[str, ...] = ()
    id_token_signing_alg_values_supported: tuple[str, ...] = ("RS256",)
    userinfo_signing_alg_values_supported: tuple[str, ...] = ()
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    token_endpoint_auth_signing_alg_values_supported: tuple[str, ...] = ()
    introspection_endpoint_auth_methods_supported: tuple[str, ...] | None = None
    code_challenge_methods_supported: tuple[str, ...] = ()
    ui_locales_supported: tuple[str, ...] = ()
    claims_locales_supported: tuple[str, ...] = ()
    claims_parameter_supported: bool = False
    authorization_response_iss_parameter_supported: bool = False
    frontchannel_logout_supported: bool = False
    frontchannel_logout_session_supported: bool = False


def required(endpoint: str | None, field: str) -> str:
    """The endpoint, which the OP calls `field`.

    Raises:
        OpMetadataMissing: the OP publishes none.
    """
    if endpoint is None:
        raise OpMetadataMissing(field)
    return endpoint


def normalize_op_host(op_host: str) -> str:
    """`op_host` as the beginning of a URL: https if no scheme is given, no slash at the end.

    Raises:
        InvalidOpHost: it is no http(s) URL of a host, or has a query, a fragment or a user in it.
    """
    text = op_host.strip()
    if "://" not in text:
        text = f"https://{text}"
    text = text.rstrip("/").removesuffix(WELL_KNOWN).rstrip("/")
    problem = _url_problem(text)
    if problem is not None:
        raise InvalidOpHost(f"op_host {problem}")
    return text


def discovery_url(op_host: str, op_discovery_path: str | None = None) -> str:
    """The URL of the OP's metadata (Discovery 1.0 section 4).

    Args:
        op_discovery_path: stands between the host and the well-known name; one that ends with that name is used as
            it is.

    Raises:
        InvalidOpHost: host and path make no URL.
    """
    url = normalize_op_host(op_host)
    path = (op_discovery_path or "").strip().strip("/")
    if path:
        url = f"{url}/{path}"
        problem = _url_problem(url)
        if problem is not None:
            raise InvalidOpHost(f"op_discovery_path makes a URL that {problem}")
    return url if url.endswith(WELL_KNOWN) else url + WELL_KNOWN


def process_discovery(answer: Answer, url: str) -> ProviderMetadata:
    """The metadata in the answer to a GET of `url`.

    Raises:
        OpErrorResponse: an error status.
        OpInvalidResponse: no metadata, of another issuer, or with an endpoint that is no URL.
    """
    answer.expect(200)
    document = {name: value for name, value in answer.json_object().items() if value is not None}
    try:
        metadata = msgspec.convert(document, ProviderMetadata)
    except msgspec.ValidationError as error:
        raise answer.invalid(f"not the metadata of an OP: {error}") from error
    # Discovery 1.0 section 4.3: "The issuer value returned MUST be identical to the Issuer URL that was used as the
    # prefix to /.well-known/openid-configuration"; section 4.1 takes a terminating "/" off that prefix first.
    asked = url.removesuffix(WELL_KNOWN)
    if metadata.issuer not in (asked, asked + "/"):
        raise answer.invalid(f"the issuer is {metadata.issuer[:200]}, but {asked} was asked", "issuer")
    for name, endpoint in _endpoints(metadata).items():
        check_endpoint(answer, metadata.issuer, name, endpoint)
    return metadata


def _endpoints(metadata: ProviderMetadata) -> dict[str, str | None]:
    return {
        "authorization_endpoint": metadata.authorization_endpoint,
        "token_endpoint": metadata.token_endpoint,
        "userinfo_endpoint": metadata.userinfo_endpoint,
        "jwks_uri": metadata.jwks_uri,
        "registration_endpoint": metadata.registration_endpoint,
        "introspection_endpoint": metadata.introspection_endpoint,
        "revocation_endpoint": metadata.revocation_endpoint,
        "end_session_endpoint": metadata.end_session_endpoint,
    }


def check_endpoint(answer: Answer, issuer: str, name: str, endpoint: str | None) -> None:
    """Pass if the endpoint that the OP calls `name` is a URL to be used, or None.

    Raises:
        OpInvalidResponse: it is no http(s) URL, or leads away from TLS.
    """
    if endpoint is None:
        return
    problem = _url_problem(endpoint, query_allowed=True)
    if problem is not None:
        raise answer.invalid(f"{name} {problem}")
    # An OP that is reached through TLS does not lead us to a place without.
    if issuer.startswith("https:") and not endpoint.startswith("https:"):
        raise answer.invalid(f"{name} is not an https URL, though the issuer is")


_UNSAFE = re.compile(r"[^!-~]|\\")


def _url_problem(url: str, *, query_allowed: bool = False) -> str | None:
    """What keeps this from being an absolute http(s) URL, in words that follow its name."""
    if _UNSAFE.search(url):
        return "holds characters that a URL cannot"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "is not an http or https URL"
    if "@" in parts.netloc:
        return "holds a user name"
    if "#" in url or (not query_allowed and "?" in url):
        return "holds a query or a fragment"
    return None


class DiscoveryCache(MetadataCache[ProviderMetadata]):
    """The metadata of OPs."""

    def __init__(
        self,
        transport: Transport,
        clock: Callable[[], float],
        *,
        lifetime: float = DEFAULT_LIFETIME,
        capacity: int = 1000,
    ) -> None:
        super().__init__(
            transport,
            clock,
            step=STEP,
            url_of=discovery_url,
            process=process_discovery,
            lifetime=lifetime,
            capacity=capacity,
        )


def supports_s256(metadata: ProviderMetadata) -> bool:
    """Whether the OP lists PKCE with S256 (RFC 8414 section 2)."""
    return "S256" in metadata.code_challenge_methods_supported


def document_of(metadata: ProviderMetadata) -> Mapping[str, object]:
    """The metadata as a JSON object."""
    document: dict[str, object] = msgspec.to_builtins(metadata)
    return document

"""Where an OP is and what it offers. Specifications: OpenID Connect Discovery 1.0, RFC 8414."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec

from oxd_server.op import members
from oxd_server.op.answer import Answer, text_member, type_name
from oxd_server.op.client_identity import ClientIdentity
from oxd_server.op.errors import InvalidOpHost, OpMetadataMissing
from oxd_server.op.metadata_cache import MetadataCache
from oxd_server.op.reach import Reach, origin_of
from oxd_server.op.settings import NOTHING_SPECIAL, OpSettings
from oxd_server.sync.memo import remembered

__all__ = [
    "WELL_KNOWN",
    "DiscoveryCache",
    "ProviderMetadata",
    "Published",
    "check_metadata_issuer",
    "discovery_url",
    "endpoint_problem",
    "listed",
    "normalize_op_host",
    "process_discovery",
    "required",
    "supports_s256",
    "url_for",
    "usable_endpoints",
]

WELL_KNOWN = "/.well-known/openid-configuration"
STEP = "discovery"


ENDPOINTS = (
    "authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri", "registration_endpoint",
    "introspection_endpoint", "revocation_endpoint", "end_session_endpoint", "pushed_authorization_request_endpoint",
    "device_authorization_endpoint",
)  # fmt: skip
_FLAGS = (
    "request_parameter_supported", "request_uri_parameter_supported", "require_pushed_authorization_requests",
    "require_signed_request_object",
)  # fmt: skip


class ProviderMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody here reads of what an OP says of itself (Discovery 1.0 section 3, RFC 8414 section 2).

    RFC 9126 section 5 and RFC 9101 section 10.5 add what an OP may require of requests.

    Attributes:
        mtls_aliases: of endpoints, the URL in whose place a client with a certificate uses another one.
        unusable: the endpoints that were published but cannot be used, and why; only a step that needs one fails.
        settings: what the operator says of this OP.
        reach: how far the OP may lead us, from where its metadata came; None: anywhere, where no server has sent it.
    """

    issuer: str
    authorization_endpoint: str | None = None
    token_endpoint: str | None = None
    userinfo_endpoint: str | None = None
    jwks_uri: str | None = None
    registration_endpoint: str | None = None
    introspection_endpoint: str | None = None
    revocation_endpoint: str | None = None
    device_authorization_endpoint: str | None = None
    end_session_endpoint: str | None = None
    pushed_authorization_request_endpoint: str | None = None
    require_pushed_authorization_requests: bool = False
    require_signed_request_object: bool | None = None
    request_parameter_supported: bool = False
    request_uri_parameter_supported: bool = True
    id_token_signing_alg_values_supported: tuple[str, ...] = ("RS256",)
    userinfo_signing_alg_values_supported: tuple[str, ...] = ()
    authorization_signing_alg_values_supported: tuple[str, ...] = ()
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    introspection_endpoint_auth_methods_supported: tuple[str, ...] | None = None
    code_challenge_methods_supported: tuple[str, ...] = ()
    dpop_signing_alg_values_supported: tuple[str, ...] = ()
    mtls_aliases: dict[str, str] = {}
    unusable: dict[str, str] = {}
    settings: OpSettings = NOTHING_SPECIAL
    reach: Reach | None = None


class Published(Protocol):
    """The metadata of a server."""

    @property
    def unusable(self) -> dict[str, str]:
        """Endpoints that cannot be used, and why."""


def required(metadata: Published, field: str) -> str:
    """The endpoint that the metadata calls `field`.

    Raises:
        OpMetadataMissing: the OP publishes none, or none that can be used.
    """
    endpoint: str | None = getattr(metadata, field)
    if endpoint is None:
        raise OpMetadataMissing(field, metadata.unusable.get(field))
    return endpoint


def url_for(metadata: ProviderMetadata, url: str, identity: ClientIdentity | None) -> str:
    """Where this endpoint of the OP is for a client that shows this certificate, or none (RFC 8705 section 5)."""
    return url if identity is None else metadata.mtls_aliases.get(url, url)


@remembered
def normalize_op_host(op_host: str) -> str:
    """`op_host` as the beginning of a URL: https if it names no scheme, no slash at the end, lower case.

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
    return _in_one_spelling(text)


def _in_one_spelling(url: str) -> str:
    """The URL with scheme and host in lower case and without the default port (RFC 3986 section 6.2.2 and 6.2.3)."""
    origin = origin_of(url)
    netloc = urlsplit(url).netloc if origin else "@"
    return url if "@" in netloc else origin + url[url.index(netloc) + len(netloc) :]


def discovery_url(op_host: str, op_discovery_path: str | None = None) -> str:
    """The URL of the OP's metadata (Discovery 1.0 section 4).

    Args:
        op_host: the OP's host or URL, as the application named it.
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


def process_discovery(answer: Answer, url: str, settings: OpSettings = NOTHING_SPECIAL) -> ProviderMetadata:
    """The metadata in the answer to a GET of `url`.

    Raises:
        OpErrorResponse: an error status.
        OpInvalidResponse: no metadata, or that of another issuer.
    """
    answer.expect(200, 203)
    document = answer.json_object()
    issuer = _issuer(answer, document, url.removesuffix(WELL_KNOWN), settings)
    endpoints, unusable = usable_endpoints(document, ENDPOINTS, issuer)
    return ProviderMetadata(
        issuer=issuer,
        **endpoints,
        **listed(document, "id_token_signing_alg_values_supported", "token_endpoint_auth_methods_supported"),
        **listed(document, "introspection_endpoint_auth_methods_supported", "code_challenge_methods_supported"),
        **listed(document, "userinfo_signing_alg_values_supported", "authorization_signing_alg_values_supported"),
        **listed(document, "dpop_signing_alg_values_supported"),
        **_flags(document),
        mtls_aliases=_mtls_aliases(document, endpoints, issuer),
        unusable=unusable,
        settings=settings,
        reach=Reach(answer.zone, origin_of(url)),
    )


def _issuer(answer: Answer, document: Mapping[str, object], asked: str, settings: OpSettings) -> str:
    issuer = text_member(answer, document, "issuer")
    if issuer is None:
        answer.refuse_error(document)
        raise answer.invalid("the metadata names no issuer", "issuer")
    check_metadata_issuer(answer, issuer, asked, settings)
    return issuer


def check_metadata_issuer(answer: Answer, issuer: str, asked: str, settings: OpSettings) -> None:
    """Pass if this is the issuer whose metadata lies under the URL `asked`, or the one that the operator names for it.

    Discovery 1.0 section 4.3: "The issuer value returned MUST be identical to the Issuer URL that was used as the
    prefix to /.well-known/openid-configuration"; section 4.1 takes a terminating "/" off that prefix first.

    Raises:
        OpInvalidResponse: it is another one.
    """
    expected = (asked, asked + "/") if settings.issuer is None else (settings.issuer,)
    # Both are compared in one spelling: people type host names as they like.
    if issuer not in expected and _in_one_spelling(issuer) not in expected:
        remedy = "if that is right, the configuration can say so in op_issuers"
        raise answer.invalid(f"the issuer is {issuer[:200]}, but {expected[0]} is expected; {remedy}", "issuer")


def usable_endpoints(
    document: Mapping[str, object], names: Iterable[str], issuer: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """The endpoints of the document that can be used, and those that cannot, with what is wrong in words."""
    usable, unusable = {}, {}
    for name in names:
        value = document.get(name)
        value = value.strip() if isinstance(value, str) else value
        if value in (None, ""):
            continue
        problem = endpoint_problem(value, issuer)
        if problem is None:
            usable[name] = str(value)
        else:
            unusable[name] = problem
    return usable, unusable


def endpoint_problem(endpoint: object, issuer: str) -> str | None:
    """What keeps this from being an endpoint of the issuer, in words that follow its name; None if nothing does."""
    if not isinstance(endpoint, str):
        return f"is not a text but {type_name(endpoint)}"
    problem = _url_problem(endpoint, query_allowed=True)
    # An OP that is reached through TLS does not lead us to a place without.
    if problem is None and issuer.startswith("https:") and not endpoint.startswith("https:"):
        problem = "is not an https URL, though the issuer is"
    return problem and f"{problem}: {endpoint[:100]!r}"


def listed(document: Mapping[str, object], *names: str) -> dict[str, Any]:
    """The members of these names that hold texts."""
    found = {name: members.texts(document.get(name)) for name in names}
    return {name: texts for name, texts in found.items() if texts}


def _mtls_aliases(document: Mapping[str, object], endpoints: Mapping[str, str], issuer: str) -> dict[str, str]:
    """RFC 8705 section 5: a client with a certificate "MUST use the alias URL of the endpoint [...] when present"."""
    named = document.get("mtls_endpoint_aliases")
    aliases, _ = usable_endpoints(named if isinstance(named, dict) else {}, ENDPOINTS, issuer)
    return {endpoints[name]: alias for name, alias in aliases.items() if name in endpoints}


def _flags(document: Mapping[str, object]) -> dict[str, Any]:
    """The members that say true or false."""
    found = {name: members.flag(document.get(name)) for name in _FLAGS}
    return {name: flag for name, flag in found.items() if flag is not None}


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

    step = STEP

    def url_of(self, op_host: str, op_discovery_path: str | None) -> str:
        """The URL of the document: see `discovery_url`."""
        return discovery_url(op_host, op_discovery_path)

    def process(self, answer: Answer, url: str) -> ProviderMetadata:
        """The metadata, under the settings that the operator made for this host."""
        return process_discovery(answer, url, self.settings(url.removesuffix(WELL_KNOWN)))


def supports_s256(metadata: ProviderMetadata) -> bool:
    """Whether the OP lists PKCE with S256 (RFC 8414 section 2)."""
    return "S256" in metadata.code_challenge_methods_supported

"""Where a UMA authorization server (AS) has its endpoints.

Specifications: UMA 2.0 Grant section 2, Federated Authorization for UMA 2.0 section 2, RFC 8414.
"""

import msgspec

from oxd_server.op.answer import Answer, text_member
from oxd_server.op.discovery import (
    WELL_KNOWN,
    ProviderMetadata,
    check_metadata_issuer,
    discovery_url,
    listed,
    usable_endpoints,
)
from oxd_server.op.metadata_cache import MetadataCache
from oxd_server.op.reach import Reach, origin_of
from oxd_server.op.settings import NOTHING_SPECIAL, OpSettings

__all__ = ["UmaDiscoveryCache", "UmaMetadata", "process_uma_discovery", "uma_discovery_url"]

UMA_WELL_KNOWN = "/.well-known/uma2-configuration"
STEP = "UMA discovery"


class UmaMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What an AS says of itself.

    `issuer` is the URL that was asked where the AS does not say it;
    `introspection_endpoint_auth_methods_supported` is None where it does not say that (RFC 8414 section 2).
    `unusable`, `settings` and `reach` are as in `ProviderMetadata`.
    """

    issuer: str
    token_endpoint: str | None = None
    introspection_endpoint: str | None = None
    resource_registration_endpoint: str | None = None
    permission_endpoint: str | None = None
    claims_interaction_endpoint: str | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    introspection_endpoint_auth_methods_supported: tuple[str, ...] | None = None
    unusable: dict[str, str] = {}
    settings: OpSettings = NOTHING_SPECIAL
    reach: Reach | None = None

    @property
    def as_provider(self) -> ProviderMetadata:
        """The same server as the OAuth 2.0 side of this package knows it."""
        return ProviderMetadata(
            issuer=self.issuer,
            token_endpoint=self.token_endpoint,
            introspection_endpoint=self.introspection_endpoint,
            token_endpoint_auth_methods_supported=self.token_endpoint_auth_methods_supported,
            unusable=self.unusable,
            settings=self.settings,
            reach=self.reach,
        )


_ENDPOINTS = (
    "token_endpoint",
    "introspection_endpoint",
    "resource_registration_endpoint",
    "permission_endpoint",
    "claims_interaction_endpoint",
)


def uma_discovery_url(op_host: str, op_discovery_path: str | None = None) -> str:
    """The URL of the AS's metadata: like the OP's, with another well-known name.

    Raises:
        InvalidOpHost: host and path make no URL.
    """
    return discovery_url(op_host, op_discovery_path).removesuffix(WELL_KNOWN) + UMA_WELL_KNOWN


def process_uma_discovery(answer: Answer, url: str, settings: OpSettings = NOTHING_SPECIAL) -> UmaMetadata:
    """The metadata in the answer to a GET of `url`.

    Raises:
        OpErrorResponse: an error status.
        OpInvalidResponse: no metadata, or that of another issuer.
    """
    answer.expect(200, 203)
    asked = url.removesuffix(UMA_WELL_KNOWN)
    document = answer.json_object()
    issuer = text_member(answer, document, "issuer")
    if issuer is None:
        answer.refuse_error(document)
    else:
        # RFC 8414 section 3.3: "The "issuer" value returned MUST be identical to the authorization server's issuer
        # identifier value into which the well-known URI string was inserted".
        check_metadata_issuer(answer, issuer, asked, settings)
    endpoints, unusable = usable_endpoints(document, _ENDPOINTS, asked)
    return UmaMetadata(
        issuer=issuer or asked,
        **endpoints,
        **listed(document, "token_endpoint_auth_methods_supported", "introspection_endpoint_auth_methods_supported"),
        unusable=unusable,
        settings=settings,
        reach=Reach(answer.zone, origin_of(url)),
    )


class UmaDiscoveryCache(MetadataCache[UmaMetadata]):
    """The metadata of authorization servers."""

    step = STEP

    def url_of(self, op_host: str, op_discovery_path: str | None) -> str:
        """The URL of the document: see `uma_discovery_url`."""
        return uma_discovery_url(op_host, op_discovery_path)

    def process(self, answer: Answer, url: str) -> UmaMetadata:
        """The metadata, under the settings that the operator made for this host."""
        return process_uma_discovery(answer, url, self.settings(url.removesuffix(UMA_WELL_KNOWN)))

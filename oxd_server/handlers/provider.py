"""The commands that hand on what an OP publishes, and what this server does."""

from typing import Any, Final

from oxd_protocol.errors import CommandError
from oxd_protocol.provider import (
    GetIssuerParams,
    IssuerLink,
    IssuerResult,
    JwksResult,
    NothingParams,
    ProviderParams,
)
from oxd_server.op.discovery import WELL_KNOWN, normalize_op_host
from oxd_server.op.errors import OpErrorResponse
from oxd_server.op.published import ISSUER_REL, discovery_document, issuer_links, published_keys
from oxd_server.rp.services import Services

__all__ = ["get_discovery", "get_issuer", "get_jwks", "get_rp_jwks"]

_OWN_NAMES: Final = {
    "user_info_endpoint": "userinfo_endpoint",
    "token_revocation_endpoint": "revocation_endpoint",
    "user_info_signing_alg_values_supported": "userinfo_signing_alg_values_supported",
    "user_info_encryption_alg_values_supported": "userinfo_encryption_alg_values_supported",
    "user_info_encryption_enc_values_supported": "userinfo_encryption_enc_values_supported",
    "front_channel_logout_supported": "frontchannel_logout_supported",
    "front_channel_logout_session_supported": "frontchannel_logout_session_supported",
    "client_info_endpoint": "clientinfo_endpoint",
    "id_token_token_binding_cnf_values_supported": "id_token_token_binding_cnf_values_supported",
}
"""oxd's name of a member of the metadata, and the OP's."""


async def get_jwks(services: Services, params: ProviderParams) -> JwksResult:
    """Hand on the OP's keys, unchanged."""
    host, path = provider_of(services, params)
    metadata = services.op.discovery.cached(host, path) or await services.op.discovery.get(host, path)
    return JwksResult(keys=await published_keys(services.op, metadata))


async def get_discovery(services: Services, params: ProviderParams) -> dict[str, Any]:
    """Hand on the OP's metadata; what oxd calls by another name stands there under both."""
    document = await discovery_document(services.op, *provider_of(services, params))
    own = {ours: document[theirs] for ours, theirs in _OWN_NAMES.items() if theirs in document}
    return document | own


async def get_issuer(services: Services, params: GetIssuerParams) -> IssuerResult:
    """Ask with WebFinger; where an issuer is named, one must be the OP's."""
    host, path = provider_of(services, params)
    services.op.transport.check_url(host)
    try:
        subject, links = await issuer_links(services.op, params.resource, host)
    except ValueError as error:
        raise CommandError("invalid_request", f"'resource' cannot be looked up: {error}.") from None
    except OpErrorResponse as error:
        raise CommandError("failed_to_get_issuer", f"WebFinger was answered with HTTP status {error.status}.") from None
    issuers = [href for rel, href in links if rel == ISSUER_REL]
    metadata = await services.op.discovery.get(host, path)
    if metadata.issuer.rstrip("/") not in [issuer.rstrip("/") for issuer in issuers]:
        raise CommandError("invalid_issuer_discovered")
    return IssuerResult(subject=subject, links=[IssuerLink(rel=rel, href=href) for rel, href in links])


async def get_rp_jwks(services: Services, params: NothingParams) -> JwksResult:
    """Show the public halves of the keys in the key store."""
    del params
    return JwksResult(keys=services.public_jwks()["keys"])


def provider_of(services: Services, params: ProviderParams) -> tuple[str, str | None]:
    """Return op_host and op_discovery_path of the OP that the params or the default site name.

    Raises ``CommandError`` where none is named.
    """
    endpoint, default = params.op_configuration_endpoint, services.default_site
    if endpoint is not None:
        if not endpoint.endswith(WELL_KNOWN):
            raise CommandError("invalid_op_configuration_endpoint")
        return normalize_op_host(endpoint), None
    host = params.op_host or default.op_host
    if host is None:
        raise CommandError("invalid_op_host", "'op_host' is missing, in the command and in the default site.")
    return normalize_op_host(host), params.op_discovery_path or default.op_discovery_path

"""Between a site as it is stored and the client that it is at the OP. Pure."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from oxd_server.op.client_auth import ClientAuthMethod, ClientCredentials
from oxd_server.op.key_store import KeyStore
from oxd_server.op.registration import ClientMetadata, RegistrationAnswer, client_metadata
from oxd_server.store.base import Site

__all__ = ["as_answered", "credentials_of", "known_metadata", "metadata_of"]

_MILLISECONDS: Final = 1000
_ONLY_FOR_THE_OP: Final = ("contacts", "frontchannel_logout_uri", "jwks_uri", "request_uris", "sector_identifier_uri")


def metadata_of(site: Site, key_store: KeyStore | None = None) -> ClientMetadata:
    """Return all that the OP is told of the site, under the registered names.

    A site that signs its assertions with the key store and names no ``client_jwks_uri`` sends the public keys along.
    """
    signs = site.token_endpoint_auth_method == ClientAuthMethod.PRIVATE_KEY_JWT
    return ClientMetadata(
        redirect_uris=_redirect_uris(site),
        response_types=site.response_types or None,
        grant_types=site.grant_types or None,
        application_type=site.application_type,
        contacts=site.contacts or None,
        client_name=site.client_name,
        jwks_uri=site.client_jwks_uri,
        jwks=key_store.public_jwks() if key_store and signs and not site.client_jwks_uri else None,
        sector_identifier_uri=site.sector_identifier_uri,
        id_token_signed_response_alg=site.id_token_signed_response_alg,
        userinfo_signed_response_alg=site.userinfo_signed_response_alg,
        token_endpoint_auth_method=site.token_endpoint_auth_method,
        token_endpoint_auth_signing_alg=site.token_endpoint_auth_signing_alg,
        default_acr_values=site.acr_values or None,
        request_uris=site.request_uris or None,
        scope=" ".join(site.scope) or None,
        post_logout_redirect_uris=(site.logout_redirect_uri,) if site.logout_redirect_uri else None,
        # A client has one front-channel logout URI at the OP (Front-Channel Logout 1.0, section 2).
        frontchannel_logout_uri=site.front_channel_logout_uri[0] if site.front_channel_logout_uri else None,
        claims_redirect_uris=site.claims_redirect_uri or None,
        ui_locales=site.ui_locales or None,
        claims_locales=site.claims_locales or None,
    )


def known_metadata(site: Site) -> Mapping[str, Any]:
    """Return what the OP last answered about the site's client, as far as it is known."""
    if site.registered_metadata is None:
        return {}
    known: dict[str, Any] = msgspec.json.decode(site.registered_metadata)
    return known


def as_answered(site: Site, answer: RegistrationAnswer) -> Site:
    """Return the site as the OP now has it: what the OP changed is taken over, and so is what it dropped.

    What we use ourselves in requests (scopes, acr_values, locales, the logout URI) stays if the OP does not mention it.
    Secrets and tokens that the OP rotated replace the old ones (RFC 7592, section 2.2 and appendix B).
    """
    told = client_metadata(answer.metadata)
    dropped = _dropped(answer)
    uris = told.redirect_uris or ()
    redirect_uri = site.authorization_redirect_uri
    return replace(
        site,
        client_id=answer.client_id,
        client_secret=answer.client_secret or site.client_secret,
        client_registration_access_token=answer.registration_access_token or site.client_registration_access_token,
        client_registration_client_uri=answer.registration_client_uri or site.client_registration_client_uri,
        client_id_issued_at=_milliseconds(answer.client_id_issued_at, site.client_id_issued_at),
        client_secret_expires_at=_milliseconds(answer.client_secret_expires_at, site.client_secret_expires_at),
        registered_metadata=msgspec.json.encode(answer.metadata).decode(),
        redirect_uris=uris or site.redirect_uris,
        authorization_redirect_uri=redirect_uri if not uris or redirect_uri in uris else uris[0],
        response_types=told.response_types or site.response_types,
        grant_types=told.grant_types or site.grant_types,
        application_type=told.application_type or site.application_type,
        contacts=told.contacts or (() if "contacts" in dropped else site.contacts),
        client_name=told.client_name or site.client_name,
        client_jwks_uri=told.jwks_uri or (None if "jwks_uri" in dropped else site.client_jwks_uri),
        sector_identifier_uri=told.sector_identifier_uri
        or (None if "sector_identifier_uri" in dropped else site.sector_identifier_uri),
        id_token_signed_response_alg=told.id_token_signed_response_alg or site.id_token_signed_response_alg,
        userinfo_signed_response_alg=told.userinfo_signed_response_alg or site.userinfo_signed_response_alg,
        token_endpoint_auth_method=told.token_endpoint_auth_method or site.token_endpoint_auth_method,
        token_endpoint_auth_signing_alg=(told.token_endpoint_auth_signing_alg or site.token_endpoint_auth_signing_alg),
        acr_values=told.default_acr_values or site.acr_values,
        request_uris=told.request_uris or (() if "request_uris" in dropped else site.request_uris),
        scope=tuple(told.scope.split()) if told.scope else site.scope,
        front_channel_logout_uri=_front_channel(site, told.frontchannel_logout_uri, dropped),
        logout_redirect_uri=_taken_over(site.logout_redirect_uri, told.post_logout_redirect_uris),
        claims_redirect_uri=told.claims_redirect_uris or site.claims_redirect_uri,
        ui_locales=told.ui_locales or site.ui_locales,
        claims_locales=told.claims_locales or site.claims_locales,
    )


def credentials_of(site: Site, key_store: KeyStore | None) -> ClientCredentials:
    """Return what the site's client authenticates with, in the way it is registered for."""
    return ClientCredentials(
        client_id=site.client_id or "",
        client_secret=site.client_secret,
        method=site.token_endpoint_auth_method,
        signing_alg=site.token_endpoint_auth_signing_alg,
        key_store=key_store,
        client_secret_expires_at=site.client_secret_expires_at // _MILLISECONDS,
    )


def _redirect_uris(site: Site) -> tuple[str, ...] | None:
    first = (site.authorization_redirect_uri,) if site.authorization_redirect_uri else ()
    return first + tuple(uri for uri in site.redirect_uris if uri not in first) or None


def _dropped(answer: RegistrationAnswer) -> frozenset[str]:
    """RFC 7591, section 3.2.1: the OP "MUST return all registered metadata about this client".

    So it dropped what is missing there. An OP that does not return even the redirect URIs, which every client has, does
    not keep to that, and its silence means nothing.
    """
    if not answer.metadata.get("redirect_uris"):
        return frozenset()
    return frozenset(name for name in _ONLY_FOR_THE_OP if answer.metadata.get(name) in (None, [], ""))


def _front_channel(site: Site, told: str | None, dropped: frozenset[str]) -> tuple[str, ...]:
    if told is not None and told not in site.front_channel_logout_uri:
        return (told,)
    return () if "frontchannel_logout_uri" in dropped else site.front_channel_logout_uri


def _taken_over(ours: str | None, answered: tuple[str, ...] | None) -> str | None:
    return ours if not answered or ours in answered else answered[0]


def _milliseconds(seconds: int | None, before: int) -> int:
    return before if seconds is None else seconds * _MILLISECONDS

"""From the params of a command, and the default site, to a site. Pure: the OP is not asked.

A param goes to the field of the client's metadata that has its name, or the name that ``_REGISTERED_NAMES`` gives it.
"""

from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec.structs import replace

from oxd_protocol.errors import CommandError
from oxd_protocol.site import UpdateSiteParams
from oxd_protocol.site_metadata import NewSiteParams, SiteMetadata
from oxd_server.client_metadata import ClientMetadata
from oxd_server.op.client_auth import BY_OUR_KEY, ClientAuthMethod
from oxd_server.op.discovery import normalize_op_host
from oxd_server.op.jose import ALGORITHMS
from oxd_server.op.urls import is_absolute_url
from oxd_server.store.base import Site
from oxd_server.sync.memo import Memo

__all__ = ["changed_site", "check_response_mode", "check_site", "for_op_of", "new_site", "with_credentials"]

_REGISTERED_NAMES: Final = {
    "acr_values": "default_acr_values",
    "claims_redirect_uri": "claims_redirect_uris",
    "client_frontchannel_logout_uris": "frontchannel_logout_uri",
    "client_jwks_uri": "jwks_uri",
    "client_request_uris": "request_uris",
    "client_sector_identifier_uri": "sector_identifier_uri",
    "client_token_endpoint_auth_method": "token_endpoint_auth_method",
    "client_token_endpoint_auth_signing_alg": "token_endpoint_auth_signing_alg",
}
_MADE_OF_SEVERAL: Final = frozenset({"scope", "redirect_uris", "post_logout_redirect_uris"})
"""Fields of ``ClientMetadata`` that are more than the value of one param."""
_FIELDS: Final = {
    name: field
    for name in SiteMetadata.__struct_fields__
    if (field := _REGISTERED_NAMES.get(name, name)) in ClientMetadata.__struct_fields__ and name not in _MADE_OF_SEVERAL
}
"""The field of ``ClientMetadata`` for each other param that has one."""
_KEPT_HERE: Final = frozenset(
    {
        "response_mode",
        "authorization_response_iss_required",
        "oxd_rp_programming_language",
        "sync_client_from_op",
        "sync_client_period_in_seconds",
    }
)
"""Params that are fields of ``Site``: the OP is not told."""
_EMPTY: Final = Site(
    oxd_id="",
    op_host="",
    client=ClientMetadata(application_type="web", response_types=("code",), grant_types=("authorization_code",)),
)
_IMPLICIT: Final = "implicit"
_RESPONSE_MODES: Final = ("query", "form_post", "fragment", "jwt", "query.jwt", "form_post.jwt", "fragment.jwt")


def new_site(params: NewSiteParams, default: NewSiteParams, oxd_id: str, templates: Memo[Site]) -> Site:
    """Return the site that ``params`` and the defaults describe, as far as it is known before the OP is asked.

    ``templates`` remembers what the defaults alone describe: mostly that is the same each time.

    Raises ``CommandError`` for everything that can be seen to be wrong already.
    """
    op_host = params.op_host or default.op_host
    if op_host is None:
        raise CommandError(
            "invalid_op_host", "'op_host' is missing, in the command and in the default site configuration."
        )
    template = templates.get("default", default, lambda: changed_site(_EMPTY, default))
    client = template.client
    site = replace(
        template,
        oxd_id=oxd_id,
        op_host=normalize_op_host(op_host),
        op_discovery_path=params.op_discovery_path or default.op_discovery_path,
        client=client if client.client_name is not None else replace(client, client_name=f"oxd-{oxd_id}"),
    )
    site = changed_site(site, params)
    check_site(site)
    if not site.client.scope:
        raise CommandError("invalid_scope")
    brings_client = params.client_id is not None or params.client_secret is not None
    return _with_own_client(site, params if brings_client else for_op_of(site, default))


def for_op_of(site: Site, default: NewSiteParams) -> NewSiteParams:
    """Return the defaults without secrets where the site is at another OP: they are for their own OP only."""
    if default.op_host is not None:
        own = (normalize_op_host(default.op_host), default.op_discovery_path)
        if own == (site.op_host, site.op_discovery_path):
            return default
    return replace(default, client_id=None, client_secret=None, initial_access_token=None)


def _with_own_client(site: Site, brought: NewSiteParams) -> Site:
    if brought.client_id is None:
        if brought.client_secret is not None:
            raise CommandError("invalid_request", "client_secret was given without client_id; bring both or neither.")
        return site
    without_secret = (ClientAuthMethod.NONE, *BY_OUR_KEY)
    if brought.client_secret is None and site.client.token_endpoint_auth_method not in without_secret:
        raise CommandError("invalid_request", "client_id was given without client_secret; bring both or neither.")
    return replace(
        site,
        client_id=brought.client_id,
        client_secret=brought.client_secret,
        client_registration_access_token=brought.client_registration_access_token,
        client_registration_client_uri=brought.client_registration_client_uri,
    )


def with_credentials(site: Site, params: UpdateSiteParams) -> Site:
    """Return the site with the credentials that the params name; it stays the same client."""
    secret = params.client_secret or site.client_secret
    renewed = secret != site.client_secret or params.client_secret_expires_at
    return replace(
        site,
        client_secret=secret,
        client_secret_expires_at=params.client_secret_expires_at if renewed else site.client_secret_expires_at,
        # What the OP said of its own client counts: some libraries name other places with every update.
        client_registration_access_token=site.client_registration_access_token
        or params.client_registration_access_token,
        client_registration_client_uri=site.client_registration_client_uri or params.client_registration_client_uri,
    )


def changed_site(site: Site, named: SiteMetadata) -> Site:
    """Return ``site`` with everything that ``named`` names; what is absent stays."""
    # The params are many, and mostly absent: `to_builtins` leaves those out, in C.
    present = msgspec.to_builtins(named)
    values = {_FIELDS[name]: getattr(named, name) for name in present if name in _FIELDS}
    if scope := " ".join(named.scope):
        values["scope"] = scope
    client = replace(
        site.client,
        redirect_uris=_uris(site.client.redirect_uris, named.authorization_redirect_uri, named.redirect_uris),
        post_logout_redirect_uris=_uris(
            () if named.post_logout_redirect_uris else site.client.post_logout_redirect_uris,
            named.post_logout_redirect_uri,
            named.post_logout_redirect_uris,
        ),
        **values,
    )
    grant_types = client.grant_types
    if client.response_type != "code" and not named.grant_types and _IMPLICIT not in grant_types:
        # Registration 1.0, section 2: the response types id_token and token correspond to the grant type implicit.
        client = replace(client, grant_types=(*grant_types, _IMPLICIT))
    rest = {name: getattr(named, name) for name in present if name in _KEPT_HERE}
    return replace(site, client=client, **rest)


def _uris(known: tuple[str, ...], first: str | None, others: tuple[str, ...]) -> tuple[str, ...]:
    """Return the URIs, the main one first: the one that is named so, else the known one, else the first."""
    main = (first,) if first else known[:1]
    return tuple(dict.fromkeys((*main, *(others or known[1:]))))


def check_site(site: Site) -> None:
    """Raise ``CommandError`` for what no OP could accept."""
    client = site.client
    _check_algorithms(client)
    if client.redirect_uri is None:
        raise CommandError("invalid_authorization_redirect_uri", "'authorization_redirect_uri' is missing or blank.")
    for uri in client.redirect_uris:
        if not is_absolute_url(uri) or "#" in uri:
            # RFC 6749, section 3.1.2: "The redirection endpoint URI MUST be an absolute URI [...] The endpoint URI
            # MUST NOT include a fragment component."
            raise CommandError(
                "invalid_authorization_redirect_uri", f"{uri[:200]!r} is not an absolute URL without a fragment."
            )
    for uri in (*client.post_logout_redirect_uris, *client.frontchannel_logout_uri, *client.claims_redirect_uris):
        if not is_absolute_url(uri):
            raise CommandError("invalid_request", f"{uri[:200]!r} is not an absolute URL.")
    if site.sync_client_period_in_seconds < 0:
        raise CommandError("invalid_request", "sync_client_period_in_seconds must not be negative.")
    check_response_mode(site.response_mode, client.response_type)


def check_response_mode(response_mode: str | None, response_type: str) -> None:
    """Raise ``CommandError`` for a mode that brings nothing which an application can read."""
    if response_mode is None:
        return
    if response_mode not in _RESPONSE_MODES:
        raise CommandError("invalid_request", f"response_mode must be one of {', '.join(_RESPONSE_MODES)}.")
    if response_mode in ("query", "query.jwt") and response_type not in ("code", "none"):
        # Multiple Response Type Encoding Practices 1.0, section 5: for these response types "the Response Mode
        # MUST NOT be query"; JARM, section 2.3.1, says nearly the same of query.jwt.
        raise CommandError(
            "invalid_request", f"response_mode {response_mode} is not allowed with the response type {response_type}."
        )


def _check_algorithms(client: ClientMetadata) -> None:
    method, signing_alg = client.token_endpoint_auth_method, client.token_endpoint_auth_signing_alg
    if method is not None and method not in tuple(ClientAuthMethod):
        raise CommandError(
            "invalid_request", f"client_token_endpoint_auth_method must be one of {', '.join(ClientAuthMethod)}."
        )
    fitting: Iterable[str] = ALGORITHMS
    if method in (ClientAuthMethod.CLIENT_SECRET_JWT, ClientAuthMethod.PRIVATE_KEY_JWT):
        symmetric = method == ClientAuthMethod.CLIENT_SECRET_JWT
        fitting = [name for name, algorithm in ALGORITHMS.items() if algorithm.symmetric == symmetric]
    elif signing_alg == "none":  # some libraries name it for clients that sign nothing
        signing_alg = None
    # An id_token without a signature is never accepted, so none is not asked for either.
    for name, choices in (
        (signing_alg, fitting),
        (client.id_token_signed_response_alg, ALGORITHMS),
        (client.userinfo_signed_response_alg, ALGORITHMS),
        (client.authorization_signed_response_alg, ALGORITHMS),
    ):
        if name is not None and name not in choices:
            raise CommandError("invalid_algorithm", f"{name[:50]!r} is none of {', '.join(choices)}.")

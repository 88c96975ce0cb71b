"""What an application says about itself: the params that are registered and changed, and the default site's."""

from typing import Annotated

from msgspec import Meta

from oxd_protocol.oxd_id import ProtectedParams
from oxd_protocol.params import FirstOf, JsonObject, Token, WordList

__all__ = ["NEW_SITE_ALIASES", "SITE_ALIASES", "NewSiteParams", "SiteMetadata"]

_REGISTERED = "Registered at the OP as it is."
_ENCRYPTION = "The encryption method; A128CBC-HS256 if absent."
_GLUU = "Registered at the OP as it is; Gluu's server knows it."
_SAN = "The {} in the client's certificate that the OP is to know it by, instead of its subject (RFC 8705)."


class SiteMetadata(ProtectedParams, frozen=True, kw_only=True):
    """What an application may say about itself, when it registers and when it changes something."""

    authorization_redirect_uri: (
        Annotated[str, Meta(description="Where the OP sends the user back to; an absolute URL.")] | None
    ) = None
    redirect_uris: Annotated[
        tuple[str, ...], Meta(description="Further redirect URIs to register; alone, the first is the main one.")
    ] = ()
    post_logout_redirect_uri: Annotated[str, Meta(description="Where the OP sends the user after logout.")] | None = (
        None
    )
    post_logout_redirect_uris: Annotated[
        tuple[str, ...], Meta(description="All such URLs; the first is used where none is named.")
    ] = ()
    application_type: Annotated[str, Meta(description="web or native.")] | None = None
    response_types: Annotated[
        tuple[str, ...], Meta(description="For example code; all of them together are one request.")
    ] = ()
    grant_types: Annotated[tuple[str, ...], Meta(description="For example authorization_code.")] = ()
    scope: Annotated[WordList, Meta(description="The scopes to register, for example openid, profile.")] = ()
    acr_values: Annotated[WordList, Meta(description="Authentication methods to ask for by default.")] = ()
    client_name: Annotated[str, Meta(description="A name for people; generated if absent.")] | None = None
    client_jwks_uri: Annotated[str, Meta(description="Where the client's public keys are.")] | None = None
    client_token_endpoint_auth_method: (
        Annotated[
            str,
            Meta(
                description="client_secret_basic, client_secret_post, client_secret_jwt, private_key_jwt, "
                "tls_client_auth, self_signed_tls_client_auth or none."
            ),
        ]
        | None
    ) = None
    client_token_endpoint_auth_signing_alg: (
        Annotated[str, Meta(description="The algorithm of the client's JWT, for example RS256.")] | None
    ) = None
    id_token_signed_response_alg: (
        Annotated[str, Meta(description="The algorithm of id_tokens, for example ES256; the OP chooses if absent.")]
        | None
    ) = None
    userinfo_signed_response_alg: (
        Annotated[str, Meta(description="The algorithm of signed userinfo; plain JSON if absent.")] | None
    ) = None
    client_request_uris: Annotated[tuple[str, ...], Meta(description="request_uri values to register.")] = ()
    client_frontchannel_logout_uris: Annotated[
        tuple[str, ...], Meta(description="URLs that the OP loads at logout.")
    ] = ()
    client_sector_identifier_uri: Annotated[FirstOf, Meta(description="For pairwise subjects.")] | None = None
    contacts: Annotated[tuple[str, ...], Meta(description="E-mail addresses of those responsible.")] = ()
    ui_locales: Annotated[WordList, Meta(description="Preferred languages of the OP's pages.")] = ()
    claims_locales: Annotated[WordList, Meta(description="Preferred languages of claims.")] = ()
    claims_redirect_uri: Annotated[
        tuple[str, ...], Meta(description="Where UMA claims gathering sends the user back to.")
    ] = ()
    client_id: Annotated[str, Meta(description="An existing client; skips registration at the OP.")] | None = None
    client_secret: Annotated[str, Meta(description="The existing client's secret.")] | None = None
    client_registration_access_token: (
        Annotated[Token, Meta(description="The existing client's registration access token.")] | None
    ) = None
    client_registration_client_uri: (
        Annotated[str, Meta(description="The existing client's configuration endpoint.")] | None
    ) = None
    response_mode: (
        Annotated[
            str,
            Meta(
                description="How logins come back: query, form_post or fragment, or as a signed JWT (JARM): jwt, "
                "query.jwt, form_post.jwt or fragment.jwt; the OP's default if absent."
            ),
        ]
        | None
    ) = None
    authorization_response_iss_required: (
        Annotated[bool, Meta(description="true: get_tokens_by_code needs the iss of the OP's redirect (RFC 9207).")]
        | None
    ) = None
    trusted_client: Annotated[bool, Meta(description="Registered; true: Gluu's server asks for no consent.")] | None = (
        None
    )
    oxd_rp_programming_language: Annotated[str, Meta(description="For statistics; any text.")] | None = None

    logo_uri: Annotated[str, Meta(description="The application's logo.")] | None = None
    client_uri: Annotated[str, Meta(description="The application's home page.")] | None = None
    policy_uri: Annotated[str, Meta(description="What the application does with the users' data.")] | None = None
    tos_uri: Annotated[str, Meta(description="The application's terms of service.")] | None = None
    jwks: (
        Annotated[JsonObject, Meta(description="The client's public keys, where it has no client_jwks_uri.")] | None
    ) = None
    software_id: Annotated[str, Meta(description="The software, whatever its instances.")] | None = None
    software_version: Annotated[str, Meta(description="Its version.")] | None = None
    software_statement: Annotated[str, Meta(description="A signed JWT about it.")] | None = None
    subject_type: Annotated[str, Meta(description="pairwise or public.")] | None = None
    id_token_encrypted_response_alg: (
        Annotated[str, Meta(description="The OP encrypts id_tokens with it, for example RSA-OAEP-256.")] | None
    ) = None
    id_token_encrypted_response_enc: Annotated[str, Meta(description=_ENCRYPTION)] | None = None
    userinfo_encrypted_response_alg: (
        Annotated[str, Meta(description="The OP encrypts userinfo with it, for example ECDH-ES.")] | None
    ) = None
    userinfo_encrypted_response_enc: Annotated[str, Meta(description=_ENCRYPTION)] | None = None
    authorization_signed_response_alg: (
        Annotated[str, Meta(description="The algorithm of signed authorization responses (JARM).")] | None
    ) = None
    authorization_encrypted_response_alg: (
        Annotated[str, Meta(description="The OP encrypts these with it, for example RSA-OAEP-256.")] | None
    ) = None
    authorization_encrypted_response_enc: Annotated[str, Meta(description=_ENCRYPTION)] | None = None
    request_object_signing_alg: Annotated[str, Meta(description="The algorithm of request objects.")] | None = None
    request_object_encryption_alg: (
        Annotated[str, Meta(description="Request objects are encrypted with it, if the OP publishes a key for that.")]
        | None
    ) = None
    request_object_encryption_enc: Annotated[str, Meta(description=_ENCRYPTION)] | None = None
    require_signed_request_object: (
        Annotated[bool, Meta(description="true: logins are asked for by signed requests. An OP may require it itself.")]
        | None
    ) = None
    require_pushed_authorization_requests: (
        Annotated[bool, Meta(description="true: logins are pushed to the OP (PAR). An OP may require it itself.")]
        | None
    ) = None
    default_max_age: Annotated[int, Meta(description="Seconds after which a user has to log in again.")] | None = None
    require_auth_time: Annotated[bool, Meta(description="true: id_tokens say when the user logged in.")] | None = None
    initiate_login_uri: Annotated[str, Meta(description="Where others may start a login.")] | None = None
    tls_client_auth_subject_dn: (
        Annotated[str, Meta(description="The subject of the client's certificate; that of the server's if absent.")]
        | None
    ) = None
    tls_client_auth_san_dns: Annotated[str, Meta(description=_SAN.format("host name"))] | None = None
    tls_client_auth_san_uri: Annotated[str, Meta(description=_SAN.format("URI"))] | None = None
    tls_client_auth_san_ip: Annotated[str, Meta(description=_SAN.format("IP address"))] | None = None
    tls_client_auth_san_email: Annotated[str, Meta(description=_SAN.format("e-mail address"))] | None = None
    tls_client_certificate_bound_access_tokens: (
        Annotated[bool, Meta(description="true: tokens are bound to the certificate that this server shows.")] | None
    ) = None
    frontchannel_logout_session_required: (
        Annotated[bool, Meta(description="true: the OP names the session at logout.")] | None
    ) = None
    dpop_bound_access_tokens: (
        Annotated[bool, Meta(description="true: tokens are bound to a key that this server makes and keeps.")] | None
    ) = None
    authorization_details_types: Annotated[
        tuple[str, ...], Meta(description="The types of authorization_details that the site asks for (RFC 9396).")
    ] = ()
    backchannel_logout: (
        Annotated[bool, Meta(description="true: the OP sends its logout tokens to this server (https.url).")] | None
    ) = None
    backchannel_logout_session_required: (
        Annotated[bool, Meta(description="true: the OP's logout tokens name the session.")] | None
    ) = None
    logout_notification_uri: (
        Annotated[str, Meta(description="A URL on this machine (loopback) that is called when a logout arrives.")]
        | None
    ) = None
    access_token_as_jwt: Annotated[bool, Meta(description=_GLUU)] | None = None
    access_token_signing_alg: Annotated[str, Meta(description=_GLUU)] | None = None
    access_token_lifetime: Annotated[int, Meta(description=_GLUU)] | None = None
    rpt_as_jwt: Annotated[bool, Meta(description=_GLUU)] | None = None
    run_introspection_script_beforeaccess_token_as_jwt_creation_and_include_claims: (
        Annotated[bool, Meta(description=_GLUU)] | None
    ) = None
    id_token_binding_cnf: Annotated[str, Meta(description=_GLUU)] | None = None
    authorized_origins: Annotated[tuple[str, ...], Meta(description=_GLUU)] = ()
    custom_attributes: Annotated[dict[str, str], Meta(description=_GLUU)] | None = None
    allow_spontaneous_scopes: Annotated[bool, Meta(description=_GLUU)] | None = None
    spontaneous_scopes: Annotated[tuple[str, ...], Meta(description=_GLUU)] = ()
    sync_client_from_op: (
        Annotated[bool, Meta(description="true: read the client at the OP again from time to time.")] | None
    ) = None
    sync_client_period_in_seconds: (
        Annotated[int, Meta(description="At most this often, before a command; 0: every time, 3600 if absent.")] | None
    ) = None


SITE_ALIASES = {
    "client_logout_uris": "client_frontchannel_logout_uris",
    "response_type": "response_types",
    "front_channel_logout_session_required": "frontchannel_logout_session_required",
    "user_info_encrypted_response_alg": "userinfo_encrypted_response_alg",
    "user_info_encrypted_response_enc": "userinfo_encrypted_response_enc",
    "user_info_signed_response_alg": "userinfo_signed_response_alg",
}
NEW_SITE_ALIASES = {**SITE_ALIASES, "op_configuration_endpoint": "op_host"}
"""``op_host`` may be the whole URL of the discovery document."""


class NewSiteParams(SiteMetadata, frozen=True, kw_only=True):
    """What is said of a new site; what is absent comes from the default site configuration."""

    op_host: Annotated[str, Meta(description="The OpenID Provider, for example https://op.example.org.")] | None = None
    op_discovery_path: (
        Annotated[str, Meta(description="A path between op_host and /.well-known/openid-configuration.")] | None
    ) = None
    initial_access_token: (
        Annotated[Token, Meta(description="Shown to an OP that registers nobody without one.")] | None
    ) = None

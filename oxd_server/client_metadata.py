"""What an application asks its OP to register: the metadata of its client, under the registered names. Pure.

Specifications: OpenID Connect Dynamic Registration 1.0 section 2, RFC 7591 section 2, the logout specifications,
RFC 8705 section 2.1.2, RFC 9396 section 10 and UMA. A new property of clients is one more field here and one more
param in `oxd_protocol.site_metadata`.
"""

from typing import Any, Final

from oxd_protocol.discreet import Discreet

__all__ = ["ClientMetadata", "Texts"]

Texts = tuple[str, ...]
_CODE: Final = ("code",)


class ClientMetadata(Discreet, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A client's metadata. None and () are what nobody asked for; they are left out of what is stored and sent.

    Attributes:
        redirect_uris: the first one is where logins come back to.
        response_types: all of them together are one request, see `response_type`.
        scope: words with spaces between them, as RFC 7591 section 2 has it.
        post_logout_redirect_uris: the first one is where users come back to if the application names none.
        frontchannel_logout_uri: the first one is registered: a client has one (Front-Channel Logout 1.0 section 2).
        custom_attributes: Gluu's server reads them as members beside the others.
    """

    shows = ("client_name",)  # software statements and custom attributes may be secrets

    redirect_uris: Texts = ()
    response_types: Texts = ()
    grant_types: Texts = ()
    application_type: str | None = None
    contacts: Texts = ()
    client_name: str | None = None
    logo_uri: str | None = None
    client_uri: str | None = None
    policy_uri: str | None = None
    tos_uri: str | None = None
    jwks_uri: str | None = None
    jwks: dict[str, Any] | None = None
    sector_identifier_uri: str | None = None
    subject_type: str | None = None
    id_token_signed_response_alg: str | None = None
    id_token_encrypted_response_alg: str | None = None
    id_token_encrypted_response_enc: str | None = None
    userinfo_signed_response_alg: str | None = None
    userinfo_encrypted_response_alg: str | None = None
    userinfo_encrypted_response_enc: str | None = None
    authorization_signed_response_alg: str | None = None
    authorization_encrypted_response_alg: str | None = None
    authorization_encrypted_response_enc: str | None = None
    request_object_signing_alg: str | None = None
    request_object_encryption_alg: str | None = None
    request_object_encryption_enc: str | None = None
    require_signed_request_object: bool | None = None
    require_pushed_authorization_requests: bool | None = None
    token_endpoint_auth_method: str | None = None
    token_endpoint_auth_signing_alg: str | None = None
    default_max_age: int | None = None
    require_auth_time: bool | None = None
    default_acr_values: Texts = ()
    initiate_login_uri: str | None = None
    request_uris: Texts = ()
    scope: str | None = None
    software_id: str | None = None
    software_version: str | None = None
    software_statement: str | None = None
    tls_client_auth_subject_dn: str | None = None
    tls_client_auth_san_dns: str | None = None
    tls_client_auth_san_uri: str | None = None
    tls_client_auth_san_ip: str | None = None
    tls_client_auth_san_email: str | None = None
    tls_client_certificate_bound_access_tokens: bool | None = None
    post_logout_redirect_uris: Texts = ()
    frontchannel_logout_uri: Texts = ()
    frontchannel_logout_session_required: bool | None = None
    backchannel_logout_uri: str | None = None
    backchannel_logout_session_required: bool | None = None
    claims_redirect_uris: Texts = ()

    dpop_bound_access_tokens: bool | None = None
    authorization_details_types: Texts = ()

    # What Gluu's server alone understands.
    ui_locales: Texts = ()
    claims_locales: Texts = ()
    trusted_client: bool | None = None
    access_token_as_jwt: bool | None = None
    access_token_signing_alg: str | None = None
    access_token_lifetime: int | None = None
    rpt_as_jwt: bool | None = None
    run_introspection_script_beforeaccess_token_as_jwt_creation_and_include_claims: bool | None = None
    id_token_binding_cnf: str | None = None
    authorized_origins: Texts = ()
    custom_attributes: dict[str, str] | None = None
    allow_spontaneous_scopes: bool | None = None
    spontaneous_scopes: Texts = ()

    @property
    def redirect_uri(self) -> str | None:
        """Where logins come back to."""
        return self.redirect_uris[0] if self.redirect_uris else None

    @property
    def post_logout_redirect_uri(self) -> str | None:
        """Where users come back to after they logged out."""
        return self.post_logout_redirect_uris[0] if self.post_logout_redirect_uris else None

    @property
    def response_type(self) -> str:
        """What a login asks for: the words of all response types, in the order that they are registered in.

        It has a code wherever the application gets its tokens by code. Multiple Response Type Encoding Practices 1.0
        section 3: "The order of response types does not matter".
        """
        if self.response_types == _CODE:  # nearly always
            return "code"
        words = {word for response_type in self.response_types for word in response_type.split()} - {"none"}
        if not words or "authorization_code" in self.grant_types:
            words.add("code")
        return " ".join(sorted(words))

    @property
    def scopes(self) -> Texts:
        """The words of the scope."""
        return tuple((self.scope or "").split())

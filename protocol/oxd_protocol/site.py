"""The commands about sites: what an application registers, changes, lists and removes; tokens for the commands.

A *site* is one application's registration: its ``oxd_id`` here and its client at the OpenID Provider.
"""

from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType, field

from oxd_protocol.errors import CommandError
from oxd_protocol.oxd_id import OxdId, OxdIdParams, OxdIdResult, ProtectedParams
from oxd_protocol.params import Command, Milliseconds, Params, Result, Token, WordList
from oxd_protocol.site_metadata import NEW_SITE_ALIASES, SITE_ALIASES, NewSiteParams, SiteMetadata

__all__ = [
    "DIALECTS",
    "GET_CLIENT_TOKEN",
    "GET_RP",
    "INTROSPECT_ACCESS_TOKEN",
    "REGISTER_SITE",
    "REMOVE_SITE",
    "SETUP_CLIENT",
    "UPDATE_SITE",
    "ClientTokenResult",
    "GetClientTokenParams",
    "GetRpParams",
    "GetRpResult",
    "IntrospectAccessTokenParams",
    "RegisterSiteParams",
    "RegisterSiteResult",
    "RegisteredSite",
    "SetupClientParams",
    "SetupClientResult",
    "UpdateSiteParams",
]

DIALECTS = ("4", "4-beta")
"""What a site's `dialect` may be, beside None: that of oxd 3.1 and of the socket."""


class RegisterSiteParams(NewSiteParams, frozen=True, kw_only=True):
    """What ``register_site`` takes."""

    dialect: (
        Annotated[
            str,
            Meta(description="4 or 4-beta: the site speaks this dialect of the HTTP API; its own client protects it."),
        ]
        | None
    ) = None

    def __post_init__(self) -> None:
        """Refuse a dialect that there is none of."""
        if self.dialect not in (None, *DIALECTS):
            raise CommandError("invalid_request", f"dialect must be one of {', '.join(DIALECTS)}.")

    @property
    def protects_itself(self) -> bool:
        """Whether the site's own client is to protect it, not a setup client's."""
        return self.dialect is not None


class RegisterSiteResult(OxdIdResult, frozen=True, kw_only=True):
    """The new site."""

    op_host: str


class RegisteredSite(RegisterSiteResult, frozen=True, kw_only=True):
    """The new site with its client; dates are seconds since 1970, 0 for unknown or never."""

    client_id: str
    client_name: str | None
    client_secret: str | None
    client_registration_access_token: str | None
    client_registration_client_uri: str | None
    client_id_issued_at: int
    client_secret_expires_at: int
    # Spelt with a space at its end, as oxd 4.2.2 and its typed clients have it.
    initiate_login_uri: str | None = field(default=None, name="initiate_login_uri ")

    def in_envelope(self) -> RegisterSiteResult:
        """Return what the libraries know; the typed ones among them refuse any other key."""
        return RegisterSiteResult(oxd_id=self.oxd_id, op_host=self.op_host)


class SetupClientParams(NewSiteParams, frozen=True, kw_only=True):
    """``register_site``'s params, and a name for the setup client."""

    setup_client_name: Annotated[str, Meta(description="A name for the setup client.")] | None = None


class SetupClientResult(Result, frozen=True, kw_only=True):
    """Both clients; always with every key."""

    oxd_id: str
    client_id_of_oxd_id: str
    op_host: str
    setup_client_oxd_id: str
    client_id: str
    client_secret: str | None
    client_registration_access_token: str | None
    client_registration_client_uri: str | None
    client_id_issued_at: int = 0
    client_secret_expires_at: int = 0


class UpdateSiteParams(SiteMetadata, frozen=True, kw_only=True):
    """What is to change; what is absent stays as it is."""

    oxd_id: OxdId

    client_secret_expires_at: Annotated[
        Milliseconds, Meta(description="Milliseconds since 1970; asks the OP to extend the client's life.")
    ] = 0


class GetClientTokenParams(Params, frozen=True, kw_only=True):
    """Client credentials, and which token is wanted."""

    client_id: Annotated[str, Meta(description="The client to get a token for.")]
    op_host: Annotated[str, Meta(description="The OP at which it is registered.")]
    client_secret: Annotated[str, Meta(description="Its secret.")] | None = None
    op_discovery_path: (
        Annotated[str, Meta(description="A path between op_host and /.well-known/openid-configuration.")] | None
    ) = None
    scope: Annotated[WordList, Meta(description="The scopes to ask for.")] = ()
    authentication_method: (
        Annotated[
            str,
            Meta(description="client_secret_basic if absent; private_key_jwt needs algorithm and key_id."),
        ]
        | None
    ) = None
    algorithm: Annotated[str, Meta(description="For example RS256.")] | None = None
    key_id: Annotated[str, Meta(description="The key's id in the server's key store.")] | None = None


class ClientTokenResult(Result, frozen=True, kw_only=True):
    """An access token."""

    access_token: str
    expires_in: int = 0
    refresh_token: str | None = None
    scope: str | None = None


class IntrospectAccessTokenParams(OxdIdParams, frozen=True, kw_only=True):
    """The token to ask about, and what came with it, to have checked that it is bound to that."""

    access_token: Annotated[Token, Meta(description="An access token of the OP.")]
    client_certificate: (
        Annotated[
            str,
            Meta(
                description="The certificate that came with the token in TLS (PEM, also percent-encoded, or base64 of "
                "DER), to have it checked that the token is bound to it (RFC 8705)."
            ),
        ]
        | None
    ) = None
    dpop: Annotated[Token, Meta(description="The request's DPoP header.")] | None = None
    http_method: Annotated[str, Meta(description="The request's method; needed with dpop.")] | None = None
    url: Annotated[str, Meta(description="The URL of the request; needed with dpop.")] | None = None


class GetRpParams(ProtectedParams, frozen=True, kw_only=True):
    """One site, or ``list`` for all of them."""

    oxd_id: OxdId | None = None
    list: Annotated[bool, Meta(description="true: answer oxd_id and client_name of all sites.")] | None = None


class GetRpResult(Result, frozen=True, kw_only=True):
    """The stored site, or the list of sites."""

    node: Any


class AnyResult(Result, frozen=True, kw_only=True):
    """An answer that the authorization server's answer shapes: see the command."""

    active: bool
    scopes: list[str] | UnsetType = UNSET


SETUP_CLIENT = Command(
    "setup_client",
    SetupClientParams,
    SetupClientResult,
    "Registers two clients: one whose tokens protect the commands, and one for everything else.",
    protected=False,
    aliases=NEW_SITE_ALIASES,
    changes=True,
)
GET_CLIENT_TOKEN = Command(
    "get_client_token",
    GetClientTokenParams,
    ClientTokenResult,
    "Gets an access token with client credentials, to be sent as protection_access_token.",
    protected=False,
)
INTROSPECT_ACCESS_TOKEN = Command(
    "introspect_access_token",
    IntrospectAccessTokenParams,
    AnyResult,
    "Asks the authorization server about an access token; its answer is passed through.",
)
REGISTER_SITE = Command(
    "register_site",
    RegisterSiteParams,
    RegisterSiteResult,
    "Registers the application as a client at the OpenID Provider (or takes a client it already has).",
    aliases=NEW_SITE_ALIASES,
    changes=True,
    typed_result=RegisteredSite,
)
UPDATE_SITE = Command(
    "update_site",
    UpdateSiteParams,
    OxdIdResult,
    "Changes a site here and at the OpenID Provider; what is not named stays as it is.",
    aliases=SITE_ALIASES,
    changes=True,
)
REMOVE_SITE = Command("remove_site", OxdIdParams, OxdIdResult, "Forgets a site.", changes=True)
GET_RP = Command(
    "get_rp",
    GetRpParams,
    GetRpResult,
    "Shows a stored site with its secrets, or lists the sites.",
    returns_secrets=True,
)

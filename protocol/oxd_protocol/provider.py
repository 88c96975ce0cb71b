"""What an OpenID Provider publishes, handed on: its metadata, its keys, the issuer of a person; and our own keys."""

from typing import Annotated, Any

from msgspec import Meta

from oxd_protocol.params import Command, Params, Result

__all__ = [
    "GET_DISCOVERY",
    "GET_ISSUER",
    "GET_JWKS",
    "GET_RP_JWKS",
    "DiscoveryResult",
    "GetIssuerParams",
    "IssuerLink",
    "IssuerResult",
    "JwksResult",
    "NothingParams",
    "ProviderParams",
]

_GENERATION = 4


class ProviderParams(Params, frozen=True, kw_only=True):
    """The OpenID Provider; that of the default site configuration if nothing names one."""

    op_host: Annotated[str, Meta(description="The OpenID Provider, for example https://op.example.org.")] | None = None
    op_discovery_path: (
        Annotated[str, Meta(description="A path between op_host and /.well-known/openid-configuration.")] | None
    ) = None
    op_configuration_endpoint: (
        Annotated[str, Meta(description="The whole URL of the OP's discovery document; it counts more than op_host.")]
        | None
    ) = None


class JwksResult(Result, frozen=True, kw_only=True):
    """A JWK Set (RFC 7517, section 5), its keys as they are published."""

    keys: list[dict[str, Any]]


class DiscoveryResult(Result, frozen=True, kw_only=True):
    """The OP's metadata as it publishes them, with oxd's own names beside the OP's."""

    issuer: str


class GetIssuerParams(ProviderParams, frozen=True, kw_only=True):
    """Whose issuer is wanted."""

    resource: Annotated[str, Meta(description="A URL or an e-mail address of the person (WebFinger).")]


class IssuerLink(Result, frozen=True, kw_only=True):
    """A link of the WebFinger answer (RFC 7033, section 4.4.4)."""

    rel: str
    href: str


class IssuerResult(Result, frozen=True, kw_only=True):
    """The WebFinger answer."""

    subject: str
    links: list[IssuerLink]


class NothingParams(Params, frozen=True, kw_only=True):
    """Nothing is asked."""


GET_JWKS = Command(
    "get_jwks",
    ProviderParams,
    JwksResult,
    "Hands on the keys of an OpenID Provider as it publishes them.",
    protected=False,
    generation=_GENERATION,
)
GET_DISCOVERY = Command(
    "get_discovery",
    ProviderParams,
    DiscoveryResult,
    "Hands on the metadata of an OpenID Provider, with oxd's names beside its own.",
    protected=False,
    generation=_GENERATION,
)
GET_ISSUER = Command(
    "get_issuer",
    GetIssuerParams,
    IssuerResult,
    "Asks with WebFinger which OpenID Provider a person has.",
    protected=False,
    missing={"resource": "bad_request_no_resource"},
    generation=_GENERATION,
)
GET_RP_JWKS = Command(
    "get_rp_jwks",
    NothingParams,
    JwksResult,
    "Shows the public keys with which this server signs for its sites.",
    protected=False,
    generation=_GENERATION,
)

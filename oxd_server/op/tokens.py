"""The token endpoint: each grant is a function that sends, one function validates every answer.

Specification: RFC 6749 sections 4.1.3, 4.4, 5 and 6; OpenID Connect Core 1.0 sections 3.1.3 and 12.
"""

from typing import Any

from oxd_protocol.discreet import Discreet
from oxd_server.op import members
from oxd_server.op.answer import Answer, text_member
from oxd_server.op.client_auth import ClientCredentials
from oxd_server.op.context import Form, OpContext
from oxd_server.op.discovery import ProviderMetadata, required, url_for
from oxd_server.op.settings import NO_TOKEN_TYPE

__all__ = [
    "BEARER",
    "DPOP",
    "UNKNOWN_LIFETIME",
    "TokenAnswer",
    "exchange_code",
    "process_token_answer",
    "refresh_tokens",
    "request_client_token",
    "request_tokens",
    "told_lifetime",
    "type_of_tokens",
]


class TokenAnswer(Discreet, frozen=True, kw_only=True):
    """What the OP issued; `expires_in` in seconds. What it did not issue is None."""

    shows = ("token_type", "expires_in", "scope", "authorization_details")

    access_token: str | None = None
    token_type: str | None = None
    expires_in: int | None = None
    refresh_token: str | None = None
    id_token: str | None = None
    scope: str | None = None
    authorization_details: list[Any] | None = None


UNKNOWN_LIFETIME = -1
BEARER = "Bearer"
DPOP = "DPoP"
NOTHING_FURTHER: Form = {}


def told_lifetime(tokens: TokenAnswer) -> int:
    """`expires_in` as applications are told it: -1 where the OP did not say it, for 0 means that it has expired."""
    return UNKNOWN_LIFETIME if tokens.expires_in is None else tokens.expires_in


async def exchange_code(
    op: OpContext,
    metadata: ProviderMetadata,
    credentials: ClientCredentials,
    *,
    code: str,
    redirect_uri: str,
    code_verifier: str | None = None,
    further: Form = NOTHING_FURTHER,
) -> TokenAnswer:
    """Tokens for an authorization code (RFC 6749 section 4.1.3, RFC 7636 section 4.5).

    Raises:
        OpError: see `request_tokens`.
    """
    form: dict[str, str | tuple[str, ...]] = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        **further,
    }
    if code_verifier is not None:
        form["code_verifier"] = code_verifier
    return await _tokens(op, metadata, credentials, form)


async def refresh_tokens(
    op: OpContext,
    metadata: ProviderMetadata,
    credentials: ClientCredentials,
    *,
    refresh_token: str,
    scope: str | None = None,
    further: Form = NOTHING_FURTHER,
) -> TokenAnswer:
    """Tokens for a refresh token (RFC 6749 section 6). Where the answer has none, the old one stays valid.

    Raises:
        OpError: see `request_tokens`.
    """
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token, **further}
    if scope:
        form["scope"] = scope
    return await _tokens(op, metadata, credentials, form)


async def request_client_token(
    op: OpContext,
    metadata: ProviderMetadata,
    credentials: ClientCredentials,
    *,
    scope: str | None = None,
    further: Form = NOTHING_FURTHER,
) -> TokenAnswer:
    """A token for the client itself (RFC 6749 section 4.4).

    Raises:
        OpError: see `request_tokens`.
    """
    form = {"grant_type": "client_credentials", **further}
    if scope:
        form["scope"] = scope
    return await _tokens(op, metadata, credentials, form)


async def _tokens(op: OpContext, metadata: ProviderMetadata, credentials: ClientCredentials, form: Form) -> TokenAnswer:
    answer = await request_tokens(op, metadata, credentials, form)
    return process_token_answer(
        answer,
        type_may_be_missing=metadata.settings.allows(NO_TOKEN_TYPE),
        token_type=type_of_tokens(credentials),
    )


def type_of_tokens(credentials: ClientCredentials) -> str:
    """What the client's access tokens are: such as anybody may use, or bound to its key."""
    return BEARER if credentials.dpop_key is None else DPOP


async def request_tokens(
    op: OpContext,
    metadata: ProviderMetadata,
    credentials: ClientCredentials,
    form: Form,
    *,
    step: str = "token request",
) -> Answer:
    """The token endpoint's answer to a grant, authenticated as the client; not yet validated.

    With a proof of the client's key, if its tokens are bound to one (RFC 9449 section 5).

    Raises:
        OpMetadataMissing: the OP has no token endpoint.
        ClientAuthenticationError: the client cannot authenticate (nothing was sent).
        OpHostRefused, OpUnreachable, OpInvalidResponse
    """
    url = required(metadata, "token_endpoint")
    if credentials.dpop_key is None:
        return await op.post_form(url, metadata, credentials, form, step=step)
    return await op.with_proof(
        credentials.dpop_key,
        "POST",
        url_for(metadata, url, credentials.identity),
        lambda headers: op.post_form(url, metadata, credentials, form, step=step, headers=headers),
    )


def process_token_answer(answer: Answer, *, type_may_be_missing: bool = False, token_type: str = BEARER) -> TokenAnswer:
    """The tokens in an answer (RFC 6749 section 5.1). Whether the ones that the caller needs are there, it decides.

    Args:
        answer: the response of the token endpoint.
        type_may_be_missing: the operator says that this OP never sends a `token_type`, and means Bearer.
        token_type: what the access token has to be.

    Raises:
        OpErrorResponse: the OP refused, in an answer with status 200 as well.
        OpInvalidResponse: an access token that cannot be used.
    """
    answer.expect(200, 201)
    body = answer.form_or_json()
    access_token = text_member(answer, body, "access_token")
    if access_token is None:
        answer.refuse_error(body)
    told = members.text(body.get("token_type")) or members.words(body.get("token_type"))
    if access_token is not None and not (told is None and type_may_be_missing and token_type == BEARER):
        _check_type(answer, told, token_type)
    return TokenAnswer(
        access_token=access_token,
        token_type=told,
        expires_in=members.lifetime(body.get("expires_in")),
        refresh_token=members.text(body.get("refresh_token")),
        id_token=members.text(body.get("id_token")),
        scope=members.words(body.get("scope")),
        authorization_details=details if isinstance(details := body.get("authorization_details"), list) else None,
    )


def _check_type(answer: Answer, token_type: str | None, wanted: str) -> None:
    # RFC 6749 section 7.1: "The client MUST NOT use an access token if it does not understand the token type."
    if token_type is None:
        raise answer.invalid(
            f"there is no token_type (for an OP that never sends it: {NO_TOKEN_TYPE} in op_exceptions)"
        )
    # RFC 9449 section 5: a token whose type is not DPoP is not bound, and "a client [...] MUST discard the response in
    # this situation if this protection is deemed important".
    if token_type.strip().lower() != wanted.lower():
        raise answer.invalid(f"the token_type is not {wanted} but {token_type[:50]}", "token_type")

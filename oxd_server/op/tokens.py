"""The token endpoint: each grant is a function that sends, one function validates every answer.

Specification: RFC 6749 sections 4.1.3, 4.4, 5 and 6; OpenID Connect Core 1.0 sections 3.1.3 and 12.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from oxd_server.op.answer import Answer, seconds_member, text_member
from oxd_server.op.client_auth import ClientCredentials
from oxd_server.op.context import OpContext
from oxd_server.op.discovery import ProviderMetadata, required


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAnswer:
    """What the OP issued; `expires_in` in seconds. What it did not issue is None."""

    access_token: str | None = field(default=None, repr=False)
    token_type: str | None = None
    expires_in: int | None = None
    refresh_token: str | None = field(default=None, repr=False)
    id_token: str | None = field(default=None, repr=False)
    scope: str | None = None


async def exchange_code(
    op: OpContext,
    metadata: ProviderMetadata,
    credentials: ClientCredentials,
    *,
    code: str,
    redirect_uri: str,
    code_verifier: str | None = None,
) -> TokenAnswer:
    """Tokens for an authorization code (RFC 6749 section 4.1.3, RFC 7636 section 4.5).

    Raises:
        OpError: see `request_tokens`.
    """
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
    if code_verifier is not None:
        form["code_verifier"] = code_verifier
    return process_token_answer(await request_tokens(op, metadata, credentials, form))


async def refresh_tokens(
    op: OpContext,
    metadata: ProviderMetadata,
    credentials: ClientCredentials,
    *,
    refresh_token: str,
    scope: str | None = None,
) -> TokenAnswer:
    """Tokens for a refresh token (RFC 6749 section 6). Where the answer has none, the old one stays valid.

    Raises:
        OpError: see `request_tokens`.
    """
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    if scope:
        form["scope"] = scope
    return process_token_answer(await request_tokens(op, metadata, credentials, form))


async def request_client_token(
    op: OpContext, metadata: ProviderMetadata, credentials: ClientCredentials, *, scope: str | None = None
) -> TokenAnswer:
    """A token for the client itself (RFC 6749 section 4.4).

    Raises:
        OpError: see `request_tokens`.
    """
    form = {"grant_type": "client_credentials"}
    if scope:
        form["scope"] = scope
    return process_token_answer(await request_tokens(op, metadata, credentials, form))


async def request_tokens(
    op: OpContext,
    metadata: ProviderMetadata,
    credentials: ClientCredentials,
    form: Mapping[str, str],
    *,
    step: str = "token request",
) -> Answer:
    """The token endpoint's answer to a grant, authenticated as the client; not yet validated.

    Raises:
        OpMetadataMissing: the OP has no token endpoint.
        ClientAuthenticationError: the client cannot authenticate (nothing was sent).
        OpHostRefused, OpUnreachable, OpInvalidResponse
    """
    url = required(metadata.token_endpoint, "token_endpoint")
    return await op.post_form(url, metadata, credentials, form, step=step)


def process_token_answer(answer: Answer) -> TokenAnswer:
    """The tokens in an answer (RFC 6749 section 5.1). Whether the ones that the caller needs are there, it decides.

    Raises:
        OpErrorResponse: the OP refused.
        OpInvalidResponse: an answer that the specification does not allow.
    """
    answer.expect(200)
    body = answer.json_object()
    access_token = text_member(answer, body, "access_token")
    token_type = text_member(answer, body, "token_type")
    # RFC 6749 section 7.1: "The client MUST NOT use an access token if it does not understand the token type."
    if access_token is not None and (token_type is None or token_type.lower() != "bearer"):
        raise answer.invalid("the token_type is not Bearer")
    return TokenAnswer(
        access_token=access_token,
        token_type=token_type,
        expires_in=seconds_member(answer, body, "expires_in"),
        refresh_token=text_member(answer, body, "refresh_token"),
        id_token=text_member(answer, body, "id_token"),
        scope=text_member(answer, body, "scope"),
    )

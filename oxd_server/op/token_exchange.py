"""One token for another. Specification: RFC 8693."""

from oxd_protocol.discreet import Discreet
from oxd_server.op import members
from oxd_server.op.answer import Answer, text_member
from oxd_server.op.client_auth import ClientCredentials
from oxd_server.op.context import Form, OpContext
from oxd_server.op.discovery import ProviderMetadata
from oxd_server.op.tokens import process_token_answer, request_tokens, type_of_tokens

__all__ = ["ACCESS_TOKEN", "EXCHANGE_GRANT", "ExchangedToken", "exchange_token", "process_exchange", "token_type_uri"]

EXCHANGE_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"

_TYPES = "urn:ietf:params:oauth:token-type:"
_NOT_APPLICABLE = "N_A"


class ExchangedToken(Discreet, frozen=True, kw_only=True):
    """What the OP issued; `expires_in` in seconds, None where the OP did not say it."""

    shows = ("issued_token_type", "token_type", "expires_in", "scope")

    access_token: str
    issued_token_type: str
    token_type: str
    expires_in: int | None = None
    refresh_token: str | None = None
    scope: str | None = None


def token_type_uri(name: str) -> str:
    """A token type (section 3) by its whole name, or by its last word, as in `access_token`."""
    return name if ":" in name else _TYPES + name


async def exchange_token(
    op: OpContext, metadata: ProviderMetadata, credentials: ClientCredentials, form: Form
) -> ExchangedToken:
    """Exchange a token (section 2.1); `form` says which and for what.

    Raises:
        OpError: see `request_tokens`.
        OpInvalidResponse: no token that can be used.
    """
    answer = await request_tokens(op, metadata, credentials, {"grant_type": EXCHANGE_GRANT, **form})
    return process_exchange(answer, token_type=type_of_tokens(credentials))


def process_exchange(answer: Answer, *, token_type: str) -> ExchangedToken:
    """The token in an answer (section 2.2.1); `token_type` is what it has to be, if it is an access token.

    Raises:
        OpErrorResponse: the OP refused.
        OpInvalidResponse: no token that can be used, or nobody says of which kind it is.
    """
    answer.expect(200, 201)
    body = answer.form_or_json()
    issued = text_member(answer, body, "issued_token_type")
    told = members.text(body.get("token_type"))
    # Section 2.2.1: token_type is N_A where "the issued token is not an access token".
    other_kind = told == _NOT_APPLICABLE and issued != ACCESS_TOKEN
    tokens = process_token_answer(answer, token_type=_NOT_APPLICABLE if other_kind else token_type)
    if tokens.access_token is None:
        raise answer.invalid("there is no access_token")
    if issued is None:
        raise answer.invalid("there is no issued_token_type")
    return ExchangedToken(
        access_token=tokens.access_token,
        issued_token_type=issued,
        token_type=tokens.token_type or token_type,
        expires_in=tokens.expires_in,
        refresh_token=tokens.refresh_token,
        scope=tokens.scope,
    )

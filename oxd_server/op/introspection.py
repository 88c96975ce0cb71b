"""What an authorization server says about a token. Specification: RFC 7662."""

from collections.abc import Mapping

from oxd_server.op import members
from oxd_server.op.answer import Answer
from oxd_server.op.client_auth import ClientCredentials, bearer_header
from oxd_server.op.context import OpContext
from oxd_server.op.discovery import ProviderMetadata, required

__all__ = ["introspect_token", "process_introspection", "scopes_of"]

STEP = "introspection"


async def introspect_token(
    op: OpContext,
    metadata: ProviderMetadata,
    authorization: ClientCredentials | str,
    token: str,
    *,
    token_type_hint: str | None = None,
) -> dict[str, object]:
    """The answer about `token`, with every member the server sent (RFC 7662 section 2).

    Args:
        op: what requests to OPs need.
        metadata: the OP's; it names the endpoint.
        authorization: who asks: the client, or an access token that allows to (RFC 7662 section 2.1 leaves both open).
        token: the token in question.
        token_type_hint: what kind of token the caller takes it for (RFC 7662 section 2.1).

    Raises:
        OpMetadataMissing: the OP has no introspection endpoint.
        ClientAuthenticationError, OpHostRefused, OpUnreachable, OpErrorResponse, OpInvalidResponse
    """
    url = required(metadata, "introspection_endpoint")
    form = {"token": token}
    if token_type_hint is not None:
        form["token_type_hint"] = token_type_hint
    if isinstance(authorization, ClientCredentials):
        return process_introspection(await op.post_form(url, metadata, authorization, form, step=STEP))
    headers = bearer_header(authorization)
    answer = await op.transport.send("POST", url, step=STEP, within=metadata.reach, headers=headers, form=form)
    return process_introspection(answer)


def process_introspection(answer: Answer) -> dict[str, object]:
    """The members of the answer; `active` is a boolean (REQUIRED, RFC 7662 section 2.2), the times are numbers.

    Raises:
        OpErrorResponse: the server refused, in an answer with status 200 as well.
        OpInvalidResponse: not an introspection answer.
    """
    answer.expect(200, 201)
    body = answer.json_object()
    active = members.flag(body.get("active"))
    if active is None:
        answer.refuse_error(body)
        raise answer.invalid("active is missing or not a boolean")
    return {**members.with_numbers(body, "exp", "iat", "nbf"), "active": active}


def scopes_of(introspection: Mapping[str, object]) -> list[str]:
    """The scopes as a list; `scope` is a text with spaces (RFC 7662 section 2.2), from some servers a list."""
    return list(members.texts(introspection.get("scope")))

"""Authorization requests that are handed to the OP before the user goes there. Specification: RFC 9126 (PAR)."""

import re
from typing import Final

from oxd_server.op.answer import Answer, text_member
from oxd_server.op.client_auth import ClientCredentials
from oxd_server.op.context import Form, OpContext
from oxd_server.op.discovery import ProviderMetadata, required

__all__ = ["process_pushed_authorization", "push_authorization_request"]

STEP = "pushed authorization request"

_LONGEST_URI: Final = 2000
_URI: Final = re.compile(r"[!-~]+")


async def push_authorization_request(
    op: OpContext, metadata: ProviderMetadata, credentials: ClientCredentials, parameters: Form
) -> str:
    """Push the request; return the request_uri that stands for it (RFC 9126 section 2). It is sent once.

    Raises:
        OpMetadataMissing: the OP has no endpoint for it.
        OpErrorResponse: the OP refused, in its own words.
        ClientAuthenticationError, OpHostRefused, OpUnreachable, OpInvalidResponse
    """
    url = required(metadata, "pushed_authorization_request_endpoint")
    return process_pushed_authorization(await op.post_form(url, metadata, credentials, parameters, step=STEP))


def process_pushed_authorization(answer: Answer) -> str:
    """The request_uri in the answer (RFC 9126 section 2.2). Whatever else it says, nobody here needs.

    Raises:
        OpErrorResponse: the OP refused, in an answer with status 200 as well.
        OpInvalidResponse: no request_uri, or none that can stand in a URL.
    """
    answer.expect(201, 200)
    body = answer.json_object()
    request_uri = text_member(answer, body, "request_uri")
    if request_uri is None:
        answer.refuse_error(body)
        raise answer.invalid("the answer has no request_uri")
    if len(request_uri) > _LONGEST_URI or not _URI.fullmatch(request_uri):
        raise answer.invalid(f"the request_uri is no URI of up to {_LONGEST_URI} characters")
    return request_uri

"""A login on another device. Specification: RFC 8628."""

from oxd_protocol.discreet import Discreet
from oxd_server.op import members
from oxd_server.op.answer import Answer, text_member
from oxd_server.op.client_auth import ClientCredentials
from oxd_server.op.context import Form, OpContext
from oxd_server.op.discovery import ProviderMetadata, required
from oxd_server.op.settings import NO_TOKEN_TYPE
from oxd_server.op.tokens import TokenAnswer, process_token_answer, request_tokens, type_of_tokens
from oxd_server.op.urls import is_absolute_url

__all__ = ["DEFAULT_INTERVAL", "DEVICE_GRANT", "StartedDeviceLogin", "poll_device", "process_device", "start_device"]

STEP = "device authorization"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"

DEFAULT_INTERVAL = 5
"""Section 3.2: "If no value is provided, clients MUST use 5 as the default." """

_LONGEST_INTERVAL = 3600
_MAX_CHARACTERS = 2000


class StartedDeviceLogin(Discreet, frozen=True, kw_only=True):
    """What the OP answered; times in seconds."""

    shows = ("verification_uri", "expires_in", "interval")

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str | None = None
    expires_in: int
    interval: int


async def start_device(
    op: OpContext, metadata: ProviderMetadata, credentials: ClientCredentials, form: Form
) -> StartedDeviceLogin:
    """Start a login on another device (section 3.1).

    Args:
        op: what requests to OPs need.
        metadata: the OP's; it names the endpoint.
        credentials: the client.
        form: `scope` and what else the login asks for.

    Raises:
        OpMetadataMissing: the OP has no endpoint for it.
        ClientAuthenticationError, OpHostRefused, OpUnreachable, OpErrorResponse, OpInvalidResponse
    """
    url = required(metadata, "device_authorization_endpoint")
    return process_device(await op.post_form(url, metadata, credentials, form, step=STEP))


def process_device(answer: Answer) -> StartedDeviceLogin:
    """The codes in an answer (section 3.2).

    Raises:
        OpErrorResponse: the OP refused, in an answer with status 200 as well.
        OpInvalidResponse: something that is needed is missing, or no person could be sent there.
    """
    answer.expect(200, 201)
    body = answer.json_object()
    found = {name: text_member(answer, body, name) for name in ("device_code", "user_code", "verification_uri")}
    if None in found.values():
        answer.refuse_error(body)
    texts = {name: text for name, text in found.items() if text is not None and len(text) <= _MAX_CHARACTERS}
    if len(texts) < len(found):
        raise answer.invalid(f"{', '.join(sorted(found.keys() - texts.keys()))} is missing or too long")
    if not _is_for_people(texts["verification_uri"]):
        raise answer.invalid("the verification_uri is no http(s) URL")
    complete = members.text(body.get("verification_uri_complete"))
    return StartedDeviceLogin(
        device_code=texts["device_code"],
        user_code=texts["user_code"],
        verification_uri=texts["verification_uri"],
        verification_uri_complete=complete if complete is not None and _is_for_people(complete) else None,
        expires_in=members.lifetime(body.get("expires_in")) or 0,
        interval=min(members.lifetime(body.get("interval")) or DEFAULT_INTERVAL, _LONGEST_INTERVAL),
    )


def _is_for_people(uri: str) -> bool:
    return uri.startswith(("https://", "http://")) and is_absolute_url(uri) and len(uri) <= _MAX_CHARACTERS


async def poll_device(
    op: OpContext, metadata: ProviderMetadata, credentials: ClientCredentials, device_code: str
) -> TokenAnswer:
    """The tokens, if the user has logged in (section 3.4).

    Raises:
        OpErrorResponse: `authorization_pending` or `slow_down` (section 3.5), or the login has failed.
        OpError: see `request_tokens`.
    """
    form = {"grant_type": DEVICE_GRANT, "device_code": device_code}
    answer = await request_tokens(op, metadata, credentials, form)
    may_be_missing = metadata.settings.allows(NO_TOKEN_TYPE)
    return process_token_answer(answer, type_may_be_missing=may_be_missing, token_type=type_of_tokens(credentials))

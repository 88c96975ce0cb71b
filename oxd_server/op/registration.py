"""Dynamic registration of clients, and the management of what is registered.

Specifications: OpenID Connect Dynamic Client Registration 1.0, RFC 7591, RFC 7592.
"""

from collections.abc import Mapping
from contextlib import suppress

import msgspec

from oxd_protocol.discreet import Discreet
from oxd_server.op import members
from oxd_server.op.answer import Answer, decode_json_object
from oxd_server.op.client_auth import bearer_header
from oxd_server.op.context import OpContext
from oxd_server.op.discovery import ProviderMetadata, required
from oxd_server.op.errors import OpError, OpHostRefused, OpInvalidResponse
from oxd_server.op.reach import origin_of

__all__ = [
    "RegistrationAnswer",
    "check_registration_uri",
    "delete_client",
    "process_deletion",
    "process_registration",
    "process_update",
    "read_client",
    "register_client",
    "update_client",
    "update_document",
]

_MAX_CREDENTIAL = 8192
_MAX_METADATA_BYTES = 64 * 1024


class RegistrationAnswer(Discreet, frozen=True, kw_only=True):
    """A client as the OP has it now (RFC 7591 section 3.2.1); times in seconds since the epoch.

    Attributes:
        registration_access_token: None in an answer that does not rotate it: the old one stays valid.
        client_secret_expires_at: 0: never; None: not said.
        metadata: everything else that the OP answered, unknown members included.
    """

    shows = ("client_id", "registration_client_uri", "client_id_issued_at", "client_secret_expires_at")

    client_id: str
    client_secret: str | None = None
    registration_access_token: str | None = None
    registration_client_uri: str | None = None
    client_id_issued_at: int | None = None
    client_secret_expires_at: int | None = None
    metadata: Mapping[str, object] = {}


_CREDENTIALS = ("client_id", "client_secret", "registration_access_token", "registration_client_uri")
_NOT_METADATA = frozenset(
    {
        "client_id", "client_secret", "registration_access_token", "registration_client_uri",
        "client_id_issued_at", "client_secret_expires_at",
    }
)  # fmt: skip


async def register_client(
    op: OpContext, metadata: ProviderMetadata, client: Mapping[str, object], *, initial_access_token: str | None = None
) -> RegistrationAnswer:
    """Register a new client (Dynamic Registration 1.0 section 3.1, RFC 7591 section 3.1).

    Raises:
        OpMetadataMissing: the OP has no registration endpoint.
        OpHostRefused, OpUnreachable, OpErrorResponse, OpInvalidResponse
    """
    url = required(metadata, "registration_endpoint")
    headers = bearer_header(initial_access_token) if initial_access_token else {}
    answer = await op.transport.send(
        "POST", url, step="registration", within=metadata.reach, headers=headers, json=dict(client)
    )
    try:
        return process_registration(answer)
    except OpInvalidResponse:
        await _delete_unusable(op, metadata, answer)
        raise


async def _delete_unusable(op: OpContext, metadata: ProviderMetadata, answer: Answer) -> None:
    """Delete the client of an answer that cannot be used, as far as the answer says how: nobody else ever could."""
    body = decode_json_object(answer.body) or {}
    uri, token = _http_url(body.get("registration_client_uri")), members.text(body.get("registration_access_token"))
    if uri is not None and token is not None:
        with suppress(OpError):
            await delete_client(op, metadata, uri, token)


async def read_client(
    op: OpContext,
    metadata: ProviderMetadata,
    client_id: str,
    registration_client_uri: str,
    registration_access_token: str,
) -> RegistrationAnswer:
    """The client as the OP has it (RFC 7592 section 2.1).

    Raises:
        OpHostRefused, OpUnreachable, OpErrorResponse, OpInvalidResponse
    """
    answer = await _manage(op, metadata, "GET", registration_client_uri, registration_access_token, step="client read")
    answer.expect(200)
    return _same_client(answer, client_id)


async def update_client(
    op: OpContext,
    metadata: ProviderMetadata,
    client_id: str,
    registration_client_uri: str,
    registration_access_token: str,
    *,
    known: Mapping[str, object],
    changes: Mapping[str, object],
    client_secret_expires_at: int | None = None,
) -> RegistrationAnswer:
    """Replace what the OP has of the client by `known` with `changes` applied (RFC 7592 section 2.2).

    Args:
        op: what requests to OPs need.
        metadata: the OP's.
        client_id: the client to update.
        registration_client_uri: the client's configuration endpoint.
        registration_access_token: admits to that endpoint.
        known: the `metadata` of the OP's last answer about this client.
        changes: the members to send in place of the known ones.
        client_secret_expires_at: seconds since the epoch. RFC 7592 keeps it out of the request; Gluu's server honours
            it, so it is sent when it is named here.

    Raises:
        OpHostRefused, OpUnreachable, OpErrorResponse, OpInvalidResponse
    """
    document = update_document(client_id, known, changes, client_secret_expires_at)
    answer = await _manage(
        op, metadata, "PUT", registration_client_uri, registration_access_token, step="client update", json=document
    )
    return process_update(answer, client_id, document)


async def delete_client(
    op: OpContext, metadata: ProviderMetadata, registration_client_uri: str, registration_access_token: str
) -> None:
    """Delete the client at the OP (RFC 7592 section 2.3).

    Raises:
        OpHostRefused, OpUnreachable, OpErrorResponse, OpInvalidResponse
    """
    answer = await _manage(
        op, metadata, "DELETE", registration_client_uri, registration_access_token, step="client deletion"
    )
    process_deletion(answer)


async def _manage(
    op: OpContext, metadata: ProviderMetadata, method: str, uri: str, token: str, *, step: str, json: object = None
) -> Answer:
    """Send one request to the client's configuration endpoint (RFC 7592 section 2), if it may go there."""
    check_registration_uri(metadata, uri)
    return await op.transport.send(
        method, uri, step=step, within=metadata.reach, headers=bearer_header(token), json=json
    )


def check_registration_uri(metadata: ProviderMetadata, registration_client_uri: str) -> None:
    """Pass if clients of this OP may be managed at that URL: it lies where the issuer or the registration endpoint is.

    An OP's answer names it, or a caller, and a request with a bearer token and a method of its own goes there.

    Raises:
        OpHostRefused: it lies elsewhere.
    """
    origin = origin_of(registration_client_uri)
    own = {origin_of(metadata.issuer), origin_of(metadata.registration_endpoint or "")}
    if metadata.reach is not None:
        own.add(metadata.reach.origin)
    if not origin or origin not in own:
        raise OpHostRefused(origin or "?", "a client is managed at the OP that it is registered at, not there")


def update_document(
    client_id: str,
    known: Mapping[str, object],
    changes: Mapping[str, object],
    client_secret_expires_at: int | None = None,
) -> dict[str, object]:
    """The body of an update request.

    RFC 7592 section 2.2: "This request MUST include all client metadata fields as returned to the client from a
    previous registration, read, or update operation", the client_id among them, and it "MUST NOT include the
    registration_access_token, registration_client_uri, client_secret_expires_at, or client_id_issued_at fields".
    """
    kept = {name: value for name, value in known.items() if name not in _NOT_METADATA}
    document: dict[str, object] = {**kept, **changes, "client_id": client_id}
    if client_secret_expires_at is not None:
        document["client_secret_expires_at"] = client_secret_expires_at
    return document


def process_registration(answer: Answer) -> RegistrationAnswer:
    """The client in the answer to a registration. Only its client_id is needed; what else is odd is not there.

    Raises:
        OpErrorResponse: the OP refused, be it in an answer with status 200.
        OpInvalidResponse: no client in it.
    """
    answer.expect(201, 200, 202)
    return _client_in(answer, answer.json_object())


def process_update(answer: Answer, client_id: str, sent: Mapping[str, object]) -> RegistrationAnswer:
    """The client in the answer to an update that sent this document; without a body, it is as it was sent.

    Raises:
        OpErrorResponse: the OP refused.
        OpInvalidResponse: no client in it, or another one.
    """
    answer.expect(200, 201, 204)
    if not answer.body.strip():
        return RegistrationAnswer(client_id=client_id, metadata=_metadata_in(sent))
    return _same_client(answer, client_id)


def _same_client(answer: Answer, client_id: str) -> RegistrationAnswer:
    body = answer.json_object()
    if "client_id" not in body:  # the request named it
        answer.refuse_error(body)
        body = {**body, "client_id": client_id}
    registered = _client_in(answer, body)
    if registered.client_id != client_id:
        raise answer.invalid("the answer is about another client_id")
    return registered


def _client_in(answer: Answer, body: Mapping[str, object]) -> RegistrationAnswer:
    client_id = members.text_or_number(body.get("client_id"))
    if client_id is None:
        answer.refuse_error(body)
        raise answer.invalid("client_id is missing or not a text")
    for name in _CREDENTIALS:
        if len(members.text_or_number(body.get(name)) or "") > _MAX_CREDENTIAL:
            raise answer.invalid(f"{name} is longer than {_MAX_CREDENTIAL} characters")
    return RegistrationAnswer(
        client_id=client_id,
        client_secret=members.text_or_number(body.get("client_secret")),
        registration_access_token=members.text(body.get("registration_access_token")),
        registration_client_uri=_http_url(body.get("registration_client_uri")),
        client_id_issued_at=members.date(body.get("client_id_issued_at")),
        client_secret_expires_at=members.date(body.get("client_secret_expires_at")),
        metadata=_metadata_in(body),
    )


def _metadata_in(body: Mapping[str, object]) -> dict[str, object]:
    """The members that are metadata, as far as a site has room for them, the small ones first."""
    metadata = {name: value for name, value in body.items() if name not in _NOT_METADATA}
    kept, room = {}, _MAX_METADATA_BYTES
    for size, name in sorted((len(msgspec.json.encode({name: value})), name) for name, value in metadata.items()):
        room -= size
        if room < 0:
            break
        kept[name] = metadata[name]
    return kept


def _http_url(value: object) -> str | None:
    return value if isinstance(value, str) and value.startswith(("https://", "http://")) else None


def process_deletion(answer: Answer) -> None:
    """RFC 7592 section 2.3: status 204; some OPs answer 200.

    Raises:
        OpErrorResponse: the OP refused.
        OpInvalidResponse: another status.
    """
    answer.expect(204, 200)

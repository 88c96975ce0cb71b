"""Dynamic registration of clients, and the management of what is registered.

Specifications: OpenID Connect Dynamic Client Registration 1.0, RFC 7591, RFC 7592.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from oxd_server.op.answer import Answer, seconds_member, text_member
from oxd_server.op.client_auth import bearer_header
from oxd_server.op.context import OpContext
from oxd_server.op.discovery import ProviderMetadata, required
from oxd_server.op.errors import OpHostRefused
from oxd_server.op.reach import origin_of

Texts = tuple[str, ...]

_MAX_CREDENTIAL = 8192
_MAX_METADATA_BYTES = 64 * 1024


class ClientMetadata(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a client tells an OP of itself, under the registered names; None is left out.

    The names are those of Dynamic Registration 1.0 section 2, RFC 7591 section 2, the logout specifications and UMA;
    the last group is understood by Gluu's server alone.
    """

    redirect_uris: Texts | None = None
    response_types: Texts | None = None
    grant_types: Texts | None = None
    application_type: str | None = None
    contacts: Texts | None = None
    client_name: str | None = None
    logo_uri: str | None = None
    client_uri: str | None = None
    policy_uri: str | None = None
    tos_uri: str | None = None
    jwks_uri: str | None = None
    jwks: dict[str, object] | None = None
    sector_identifier_uri: str | None = None
    subject_type: str | None = None
    id_token_signed_response_alg: str | None = None
    id_token_encrypted_response_alg: str | None = None
    id_token_encrypted_response_enc: str | None = None
    userinfo_signed_response_alg: str | None = None
    userinfo_encrypted_response_alg: str | None = None
    userinfo_encrypted_response_enc: str | None = None
    request_object_signing_alg: str | None = None
    request_object_encryption_alg: str | None = None
    request_object_encryption_enc: str | None = None
    token_endpoint_auth_method: str | None = None
    token_endpoint_auth_signing_alg: str | None = None
    default_max_age: int | None = None
    require_auth_time: bool | None = None
    default_acr_values: Texts | None = None
    initiate_login_uri: str | None = None
    request_uris: Texts | None = None
    scope: str | None = None
    software_id: str | None = None
    software_version: str | None = None
    software_statement: str | None = None
    post_logout_redirect_uris: Texts | None = None
    frontchannel_logout_uri: str | None = None
    frontchannel_logout_session_required: bool | None = None
    backchannel_logout_uri: str | None = None
    backchannel_logout_session_required: bool | None = None
    claims_redirect_uris: Texts | None = None

    ui_locales: Texts | None = None
    claims_locales: Texts | None = None
    trusted_client: bool | None = None
    access_token_as_jwt: bool | None = None
    access_token_signing_alg: str | None = None
    rpt_as_jwt: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationAnswer:
    """A client as the OP has it now (RFC 7591 section 3.2.1); times in seconds since the epoch.

    Attributes:
        registration_access_token: None in an answer that does not rotate it: the old one stays valid.
        client_secret_expires_at: 0: never; None: not said.
        metadata: everything else that the OP answered, unknown members included.
    """

    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    registration_access_token: str | None = field(default=None, repr=False)
    registration_client_uri: str | None = None
    client_id_issued_at: int | None = None
    client_secret_expires_at: int | None = None
    metadata: Mapping[str, object] = field(default_factory=dict, repr=False)


_NOT_METADATA = frozenset(
    {
        "client_id", "client_secret", "registration_access_token", "registration_client_uri",
        "client_id_issued_at", "client_secret_expires_at",
    }
)  # fmt: skip


async def register_client(
    op: OpContext, metadata: ProviderMetadata, client: ClientMetadata, *, initial_access_token: str | None = None
) -> RegistrationAnswer:
    """Register a new client (Dynamic Registration 1.0 section 3.1, RFC 7591 section 3.1).

    Raises:
        OpMetadataMissing: the OP has no registration endpoint.
        OpHostRefused, OpUnreachable, OpErrorResponse, OpInvalidResponse
    """
    url = required(metadata, "registration_endpoint")
    headers = bearer_header(initial_access_token) if initial_access_token else {}
    answer = await op.transport.send(
        "POST", url, step="registration", within=metadata.reach, headers=headers, json=client
    )
    return process_registration(answer, 201, 200)


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
    check_registration_uri(metadata, registration_client_uri)
    headers = bearer_header(registration_access_token)
    answer = await op.transport.send(
        "GET", registration_client_uri, step="client read", within=metadata.reach, headers=headers
    )
    return _same_client(answer, process_registration(answer, 200), client_id)


async def update_client(
    op: OpContext,
    metadata: ProviderMetadata,
    client_id: str,
    registration_client_uri: str,
    registration_access_token: str,
    *,
    known: Mapping[str, object],
    changes: ClientMetadata,
    client_secret_expires_at: int | None = None,
) -> RegistrationAnswer:
    """Replace what the OP has of the client by `known` with `changes` applied (RFC 7592 section 2.2).

    Args:
        known: the `metadata` of the OP's last answer about this client.
        client_secret_expires_at: seconds since the epoch. RFC 7592 keeps it out of the request; Gluu's server honours
            it, so it is sent when it is named here.

    Raises:
        OpHostRefused, OpUnreachable, OpErrorResponse, OpInvalidResponse
    """
    check_registration_uri(metadata, registration_client_uri)
    document = update_document(client_id, known, changes, client_secret_expires_at)
    headers = bearer_header(registration_access_token)
    answer = await op.transport.send(
        "PUT", registration_client_uri, step="client update", within=metadata.reach, headers=headers, json=document
    )
    return _same_client(answer, process_registration(answer, 200), client_id)


async def delete_client(
    op: OpContext, metadata: ProviderMetadata, registration_client_uri: str, registration_access_token: str
) -> None:
    """Delete the client at the OP (RFC 7592 section 2.3).

    Raises:
        OpHostRefused, OpUnreachable, OpErrorResponse, OpInvalidResponse
    """
    check_registration_uri(metadata, registration_client_uri)
    headers = bearer_header(registration_access_token)
    answer = await op.transport.send(
        "DELETE", registration_client_uri, step="client deletion", within=metadata.reach, headers=headers
    )
    process_deletion(answer)


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
    changes: ClientMetadata,
    client_secret_expires_at: int | None = None,
) -> dict[str, object]:
    """The body of an update request.

    RFC 7592 section 2.2: "This request MUST include all client metadata fields as returned to the client from a
    previous registration, read, or update operation", the client_id among them, and it "MUST NOT include the
    registration_access_token, registration_client_uri, client_secret_expires_at, or client_id_issued_at fields".
    """
    kept = {name: value for name, value in known.items() if name not in _NOT_METADATA}
    document: dict[str, object] = {**kept, **msgspec.to_builtins(changes), "client_id": client_id}
    if client_secret_expires_at is not None:
        document["client_secret_expires_at"] = client_secret_expires_at
    return document


def process_registration(answer: Answer, *statuses: int) -> RegistrationAnswer:
    """The client in the answer to a registration, a read or an update.

    Raises:
        OpErrorResponse: the OP refused.
        OpInvalidResponse: no client in it.
    """
    answer.expect(*statuses)
    body = answer.json_object()
    client_id = _bounded_text(answer, body, "client_id")
    if client_id is None:
        raise answer.invalid("client_id is missing")
    client_uri = _bounded_text(answer, body, "registration_client_uri")
    if client_uri is not None and not client_uri.startswith(("https://", "http://")):
        raise answer.invalid("registration_client_uri is not an http or https URL")
    return RegistrationAnswer(
        client_id=client_id,
        client_secret=_bounded_text(answer, body, "client_secret"),
        registration_access_token=_bounded_text(answer, body, "registration_access_token"),
        registration_client_uri=client_uri,
        client_id_issued_at=seconds_member(answer, body, "client_id_issued_at"),
        client_secret_expires_at=seconds_member(answer, body, "client_secret_expires_at"),
        metadata=_bounded({name: value for name, value in body.items() if name not in _NOT_METADATA}),
    )


def _bounded_text(answer: Answer, body: Mapping[str, object], name: str) -> str | None:
    value = text_member(answer, body, name)
    if value is not None and len(value) > _MAX_CREDENTIAL:
        raise answer.invalid(f"{name} is longer than {_MAX_CREDENTIAL} characters")
    return value


def _bounded(metadata: Mapping[str, object]) -> dict[str, object]:
    """The members as far as a site has room for them, the small ones first."""
    kept, room = {}, _MAX_METADATA_BYTES
    for size, name in sorted((len(msgspec.json.encode({name: value})), name) for name, value in metadata.items()):
        room -= size
        if room < 0:
            break
        kept[name] = metadata[name]
    return kept


def process_deletion(answer: Answer) -> None:
    """RFC 7592 section 2.3: status 204; some OPs answer 200.

    Raises:
        OpErrorResponse: the OP refused.
        OpInvalidResponse: another status.
    """
    answer.expect(204, 200)


def client_metadata(metadata: Mapping[str, object]) -> ClientMetadata:
    """What the OP answered, in typed form. A member of another type than registered is left out."""
    members = {name: value for name, value in metadata.items() if value is not None}
    while True:
        try:
            return msgspec.convert(members, ClientMetadata)
        except msgspec.ValidationError:
            members = {name: value for name, value in members.items() if _fits(name, value)}


def _fits(name: str, value: object) -> bool:
    try:
        msgspec.convert({name: value}, ClientMetadata)
    except msgspec.ValidationError:
        return False
    return True


def _same_client(answer: Answer, registered: RegistrationAnswer, client_id: str) -> RegistrationAnswer:
    if registered.client_id != client_id:
        raise answer.invalid("the answer is about another client_id")
    return registered

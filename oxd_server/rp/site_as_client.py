"""Between a site as it is stored and the client that it is at the OP. Pure."""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec.structs import asdict, replace

from oxd_server.client_metadata import ClientMetadata
from oxd_server.op.client_auth import BY_CERTIFICATE, ClientAuthMethod, ClientCredentials
from oxd_server.op.client_identity import ClientIdentity
from oxd_server.op.dpop import DpopKey, load_dpop_key
from oxd_server.op.errors import ClientAuthenticationError
from oxd_server.op.jose import ALGORITHMS
from oxd_server.op.jwe import CONTENT_ENCRYPTION, DEFAULT_ENCRYPTION, KEY_MANAGEMENT, Encryption
from oxd_server.op.key_store import KeyStore
from oxd_server.op.registration import RegistrationAnswer
from oxd_server.store.base import Site

__all__ = [
    "ENCRYPTED",
    "Encrypted",
    "as_answered",
    "as_registered",
    "credentials_of",
    "dpop_key_of",
    "encryption_of",
    "given_less",
    "known_metadata",
    "metadata_of",
    "named_subjects",
    "uses_certificate",
]

Encrypted = Literal["id_token", "userinfo", "authorization"]
ENCRYPTED: Final[tuple[Encrypted, ...]] = ("id_token", "userinfo", "authorization")
"""What an OP may encrypt to a client: `<this>_encrypted_response_alg` among its metadata says how."""

_SUBJECTS: Final = tuple(
    f"tls_client_auth_{name}" for name in ("subject_dn", "san_dns", "san_uri", "san_ip", "san_email")
)
_MILLISECONDS: Final = 1000
_SETS_OF_WORDS: Final = frozenset({"scope", "response_types"})


_DECIDING: Final[Mapping[str, tuple[str, ...]]] = {
    # A certificate is shown where the site asks for that, and not because the OP says so.
    "token_endpoint_auth_method": tuple(method for method in ClientAuthMethod if method not in BY_CERTIFICATE),
    "token_endpoint_auth_signing_alg": tuple(ALGORITHMS),
    "id_token_signed_response_alg": tuple(ALGORITHMS),
    "userinfo_signed_response_alg": tuple(ALGORITHMS),
    "authorization_signed_response_alg": tuple(ALGORITHMS),
    **{f"{what}_encrypted_response_alg": tuple(KEY_MANAGEMENT) for what in ENCRYPTED},
    **{f"{what}_encrypted_response_enc": tuple(CONTENT_ENCRYPTION) for what in ENCRYPTED},
}
"""The members of the OP's view that decide how it treats the client, and what counts in each."""
_Members: Final = msgspec.defstruct("_Members", [(name, object, None) for name in _DECIDING])
_registered_decoder: Final = msgspec.json.Decoder(_Members)
"""It reads those members alone; they are of any type, for others wrote them."""


def metadata_of(
    site: Site,
    key_store: KeyStore | None = None,
    identity: ClientIdentity | None = None,
    *,
    requests_are_signed: bool = False,
) -> dict[str, Any]:
    """Return all that the OP is asked to register, under the registered names.

    A site that uses the key store and names no keys of its own sends the public keys along, and one that authenticates
    with a certificate what the OP knows that by. ``requests_are_signed`` says that the OP requires it.
    """
    client = site.client
    asked: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(client))  # lists, as an answer has them
    if client.response_types:
        asked["response_types"] = [client.response_type]
    if client.frontchannel_logout_uri:
        asked["frontchannel_logout_uri"] = client.frontchannel_logout_uri[0]
    uses_keys = requests_are_signed or _uses_keys(client)
    # RFC 7591, section 2: "The "jwks_uri" and "jwks" parameters MUST NOT both be present in the same request".
    if key_store and uses_keys and not client.jwks_uri and not client.jwks:
        asked["jwks"] = _for_encryption(key_store.public_jwks(), client)
    if identity is not None:
        _add_certificate(asked, client, identity)
    return {**(client.custom_attributes or {}), **asked}


def _for_encryption(jwks: dict[str, Any], client: ClientMetadata) -> dict[str, Any]:
    """Return the keys; those to encrypt to say with which algorithm, if there is one: Keycloak uses no others."""
    wanted = [how for what in ENCRYPTED if (how := encryption_of(client, what)) is not None]
    algs = {kind: {how.alg for how in wanted if how.key_type == kind} for kind in ("RSA", "EC")}

    def named(key: dict[str, Any]) -> dict[str, Any]:
        fitting = algs[key["kty"]] if key["use"] == "enc" else set()
        return {**key, "alg": min(fitting)} if len(fitting) == 1 and "alg" not in key else key

    return {"keys": [named(key) for key in jwks["keys"]]}


def _add_certificate(asked: dict[str, Any], client: ClientMetadata, identity: ClientIdentity) -> None:
    """Say what the OP knows the certificate by: its subject, or for one of nobody's authority the key itself.

    RFC 8705, sections 2.1.2 and 2.2.2. What the site names itself stays.
    """
    # Section 2.1.2: a client "MUST use exactly one of the below metadata parameters".
    if client.token_endpoint_auth_method == ClientAuthMethod.TLS_CLIENT_AUTH and not named_subjects(client):
        asked["tls_client_auth_subject_dn"] = identity.subject
    by_key = client.token_endpoint_auth_method == ClientAuthMethod.SELF_SIGNED_TLS_CLIENT_AUTH
    if by_key and not client.jwks_uri and not client.jwks:
        asked["jwks"] = {"keys": [*asked.get("jwks", {}).get("keys", ()), identity.jwk]}


def named_subjects(client: ClientMetadata) -> list[str]:
    """Return the properties by which the site itself says what its certificate is known by (RFC 8705 section 2.1.2)."""
    return [name for name in _SUBJECTS if getattr(client, name) is not None]


def uses_certificate(client: ClientMetadata) -> bool:
    """Return whether the client shows a certificate: to authenticate, or because its tokens are bound to it."""
    return bool(
        client.tls_client_certificate_bound_access_tokens or client.token_endpoint_auth_method in BY_CERTIFICATE
    )


def _uses_keys(client: ClientMetadata) -> bool:
    """Return whether the client uses keys of its own, beside its secret."""
    signing = ALGORITHMS.get(client.request_object_signing_alg or "")
    signs = client.require_signed_request_object and (signing is None or not signing.symmetric)
    decrypts = any(how is not None and not how.symmetric for how in (encryption_of(client, what) for what in ENCRYPTED))
    return bool(signs or decrypts or client.token_endpoint_auth_method == ClientAuthMethod.PRIVATE_KEY_JWT)


def known_metadata(site: Site) -> Mapping[str, Any]:
    """Return what the OP last answered about the site's client, as far as it is known."""
    if site.registered_metadata is None:
        return {}
    known: dict[str, Any] = msgspec.json.decode(site.registered_metadata)
    return known


def as_answered(site: Site, answer: RegistrationAnswer) -> Site:
    """Return the site with what the OP gave its client; what the application asked for stays what it asks for.

    Secrets and tokens that the OP rotated replace the old ones (RFC 7592, section 2.2 and appendix B).
    """
    return replace(
        site,
        client_id=answer.client_id,
        client_secret=answer.client_secret or site.client_secret,
        client_registration_access_token=answer.registration_access_token or site.client_registration_access_token,
        client_registration_client_uri=answer.registration_client_uri or site.client_registration_client_uri,
        client_id_issued_at=_milliseconds(answer.client_id_issued_at, site.client_id_issued_at),
        client_secret_expires_at=_milliseconds(answer.client_secret_expires_at, site.client_secret_expires_at),
        registered_metadata=msgspec.json.encode(answer.metadata).decode(),
    )


def as_registered(site: Site) -> ClientMetadata:
    """Return the site's client; what decides how the OP treats it is as the OP answered, where it said so."""
    if site.registered_metadata is None:
        return site.client
    told = asdict(_registered_decoder.decode(site.registered_metadata))
    counts = {name: text for name, text in told.items() if text is not None and text in _DECIDING[name]}
    return replace(site.client, **counts)


def encryption_of(client: ClientMetadata, what: Encrypted) -> Encryption | None:
    """Return how the OP encrypts this to the client; None if it does not."""
    alg = getattr(client, f"{what}_encrypted_response_alg")
    if alg is None:
        return None
    return Encryption(alg, getattr(client, f"{what}_encrypted_response_enc") or DEFAULT_ENCRYPTION)


def given_less(asked: Mapping[str, Any], answered: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the OP answered otherwise than it was asked for: of lists what is missing, else what it answered.

    A member that it did not answer tells nothing.
    """
    less: dict[str, Any] = {}
    for name, value in asked.items():
        told = answered.get(name)
        if told is None or told == value:
            continue
        if name in _SETS_OF_WORDS or isinstance(value, list):
            missing = sorted(_items(name, value) - _items(name, told))
            less |= {name: missing} if missing else {}
        else:
            less[name] = told
    return less


def _items(name: str, value: Any) -> set[str]:
    items = value.split() if name == "scope" and isinstance(value, str) else value
    texts = [item for item in items if isinstance(item, str)] if isinstance(items, list) else []
    return {" ".join(sorted(text.split())) for text in texts} if name == "response_types" else set(texts)


def credentials_of(site: Site, key_store: KeyStore | None, identity: ClientIdentity | None = None) -> ClientCredentials:
    """Return what the site's client authenticates with, in the way it is registered for.

    Raises ``ClientAuthenticationError`` if it has to show a certificate, and there is none.
    """
    client = as_registered(site)
    if not uses_certificate(client):
        identity = None
    elif identity is None:
        raise ClientAuthenticationError("it has to show a client certificate, and there is none for it")
    if key_store is not None and (kids := _kids_at_the_op(site)):
        key_store = key_store.known_as(kids)
    return ClientCredentials(
        client_id=site.client_id or "",
        client_secret=site.client_secret,
        method=client.token_endpoint_auth_method,
        signing_alg=client.token_endpoint_auth_signing_alg,
        key_store=key_store,
        client_secret_expires_at=site.client_secret_expires_at // _MILLISECONDS,
        dpop_key=dpop_key_of(site),
        identity=identity,
    )


def _kids_at_the_op(site: Site) -> frozenset[str]:
    """Return the ids of the keys that the OP was told by value; it knows of no others until it is told again."""
    jwks = known_metadata(site).get("jwks")
    keys = jwks.get("keys") if isinstance(jwks, dict) else None
    kids = (key.get("kid") for key in (keys if isinstance(keys, list) else ()) if isinstance(key, dict))
    return frozenset(kid for kid in kids if isinstance(kid, str))


def dpop_key_of(site: Site) -> DpopKey | None:
    """Return the key that the client's tokens are bound to; None if they are not.

    Raises ``ClientAuthenticationError`` for a site that came here without its key.
    """
    if not site.client.dpop_bound_access_tokens:
        return None
    if site.dpop_key is None:
        raise ClientAuthenticationError(
            "its tokens are bound to a key that is not here; update_site with dpop_bound_access_tokens makes one"
        )
    return load_dpop_key(site.dpop_key)


def _milliseconds(seconds: int | None, before: int) -> int:
    return before if seconds is None else seconds * _MILLISECONDS

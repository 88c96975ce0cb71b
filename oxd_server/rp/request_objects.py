"""Request objects: making those of a site, and keeping the ones that OPs will come to fetch.

The store keeps one beside the tokens that its site was issued: there it expires, and every worker finds it. `UnderWay`
counts how much room they take, so that no site fills the store.
"""

from collections.abc import Mapping
from functools import partial
from typing import Final

from oxd_protocol.errors import CommandError
from oxd_server.op.base64url import encode_base64url
from oxd_server.op.discovery import ProviderMetadata
from oxd_server.op.errors import ClientAuthenticationError, IdTokenError
from oxd_server.op.jose import KeySet
from oxd_server.op.jwe import DEFAULT_ENCRYPTION, Encryption, encrypt_token
from oxd_server.op.request_object import UNSIGNED, request_object, request_object_claims, typed
from oxd_server.op.signing import signed
from oxd_server.rp.issued import token_hash
from oxd_server.rp.services import Services
from oxd_server.store.base import Kept, KeptRequestObject, Site

__all__ = [
    "find_request_object",
    "keep_request_object",
    "lifetime_of_request_objects",
    "make_request_object",
    "request_uri_of",
    "signed_request",
]

_PATH: Final = "/get-request-object/"
_ID_BYTES: Final = 32
"""RFC 9101 section 5.2.1: the request_uri "MUST have appropriate entropy for its lifetime"."""
_JTI_BYTES: Final = 16
_LONGEST: Final = 16 * 1024
_ISSUED_TO: Final = "request object"
_SECONDS_PER_MINUTE: Final = 60
_LONGEST_SECONDS: Final = 3600
"""FAPI 2.0 Message Signing, section 5.3.1: there is an nbf, and exp is no more than 60 minutes after it."""
_EARLIER: Final = 10
"""By so many seconds the OP's clock may be behind."""


async def make_request_object(
    services: Services,
    site: Site,
    metadata: ProviderMetadata,
    params: Mapping[str, object],
    *,
    algorithm: str | None,
    lifetime: int,
) -> str:
    """Return a request object of the site, signed with this algorithm; it expires in ``lifetime`` seconds.

    It is encrypted where the site has registered that, and the OP publishes a key.

    Raises ``ParameterRefused``, ``CommandError`` where there is no key or the object is too long, and ``OpError`` where
    the OP's keys cannot be had.
    """
    now = int(services.now())
    own: dict[str, object] = {
        "iss": site.client_id,
        "aud": metadata.issuer,
        "jti": encode_base64url(services.random(_JTI_BYTES)),
        "client_id": site.client_id,
        "iat": now,
        "exp": now + lifetime,
        "response_type": site.client.response_type,
    }
    claims = request_object_claims(own, params)
    try:
        keys = services.credentials_of(site).key_store
        text = await signed(keys, partial(request_object, claims, algorithm, keys, site.client_secret))
        text = await _encrypted(services, site, metadata, text)
    except (ClientAuthenticationError, IdTokenError) as error:
        raise CommandError("invalid_algorithm", f"The request object cannot be made: {error}.") from None
    if len(text) > _LONGEST:
        raise CommandError("invalid_request", f"The request object would be longer than {_LONGEST} characters.")
    return text


async def _encrypted(services: Services, site: Site, metadata: ProviderMetadata, signed: str) -> str:
    """Return the signed object in an encrypted one.

    Registration 1.0, section 2: with request_object_encryption_alg, the client "declares that it may" encrypt. Where
    the OP publishes no key for it, the OP gets the signed object, and the log says so.
    """
    client = site.client
    if client.request_object_encryption_alg is None:
        return signed
    encryption = Encryption(
        client.request_object_encryption_alg, client.request_object_encryption_enc or DEFAULT_ENCRYPTION
    )
    keys = KeySet()
    if not encryption.symmetric and metadata.jwks_uri is not None:
        keys = await services.op.key_sets.get(metadata.jwks_uri, metadata.reach)
    encrypted = encrypt_token(signed, encryption, keys, site.client_secret)
    if encrypted is None:
        services.log.warning(
            "request_object_not_encrypted",
            message="The OP publishes no key to encrypt request objects to: they are signed only.",
            oxd_id=site.oxd_id,
            algorithm=encryption.alg,
        )
    return encrypted or signed


async def signed_request(
    services: Services, site: Site, metadata: ProviderMetadata, parameters: Mapping[str, str | tuple[str, ...]]
) -> str:
    """Return the parameters of an authorization request as a request object, signed as the site has registered.

    Raises what ``make_request_object`` does.
    """
    algorithm = site.client.request_object_signing_alg
    if algorithm == UNSIGNED:
        # RFC 9101, section 10.5: with require_signed_request_object, one "signed using an algorithm other than none".
        raise CommandError("invalid_algorithm", "Its OP or the site requires signed requests, and none signs nothing.")
    lifetime = min(lifetime_of_request_objects(services), _LONGEST_SECONDS - _EARLIER)
    claims = {**typed(parameters), "nbf": int(services.now()) - _EARLIER}
    return await make_request_object(services, site, metadata, claims, algorithm=algorithm, lifetime=lifetime)


def request_uri_of(host_url: str, name: str) -> str:
    """Return where an OP fetches the request object that is kept under this name."""
    return f"{host_url.rstrip('/')}{_PATH}{name}"


async def keep_request_object(services: Services, site: Site, text: str) -> str:
    """Keep a request object and return its id, which nobody can guess. Raises ``TooBusy`` and ``StoreError``."""
    now, lifetime = services.now(), lifetime_of_request_objects(services)
    services.under_way.request_objects.take(site.oxd_id, len(text), now, lifetime)
    name = encode_base64url(services.random(_ID_BYTES))
    kept = Kept(
        hash=token_hash(_ISSUED_TO, name),
        what=KeptRequestObject(oxd_id=site.oxd_id, request_object=text),
        expires_at=now + lifetime,
    )
    await services.store.change_session(site.oxd_id, lambda session: session, keep=(kept,), now=now)
    return name


def lifetime_of_request_objects(services: Services) -> int:
    """Return how many seconds a request object can be fetched."""
    return services.config.request_object_expiration_in_minutes * _SECONDS_PER_MINUTE


async def find_request_object(services: Services, name: str) -> str | None:
    """Return the request object of this id; None if there is none, or it has expired."""
    kept = await services.store.kept(token_hash(_ISSUED_TO, name), services.now(), KeptRequestObject)
    return None if kept is None else kept.request_object

"""What an OP has encrypted to a site: opened here, so that everybody else sees signed JWTs only.

An application is handed the signed JWT that was inside. It has no key, and as an id_token_hint that is the one that
OpenID Connect Core 1.0 section 3.1.2.1 wants.
"""

from oxd_server.op.errors import IdTokenCheck, IdTokenError
from oxd_server.op.jwe import decrypt_token, is_encrypted
from oxd_server.rp.services import Services
from oxd_server.rp.site_as_client import Encrypted, as_registered, encryption_of
from oxd_server.store.base import Site

__all__ = ["decrypted"]


def decrypted(services: Services, site: Site, what: Encrypted, token: str, *, from_op: bool = True) -> str:
    """Return what is in the token, or the token itself where the site has registered no encryption for it.

    Core section 3.1.3.7 (1): "If encryption was negotiated with the OP at Registration time and the ID Token is not
    encrypted, the RP SHOULD reject it." One that the application shows (``from_op`` is false) has been opened before.

    Raises ``IdTokenError``.
    """
    encryption = encryption_of(as_registered(site), what)
    if encryption is None:
        return token
    if not is_encrypted(token):
        if from_op:
            raise IdTokenError(IdTokenCheck.NOT_ENCRYPTED, f"encrypted with {encryption.alg}", "not encrypted")
        return token
    keys = () if services.key_store is None else services.key_store.decryption_keys
    return decrypt_token(token, encryption, keys, site.client_secret)

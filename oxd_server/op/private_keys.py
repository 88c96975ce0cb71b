"""All private keys of this server: those in PKCS#11 tokens and those in the key store's file."""

from collections.abc import Sequence
from pathlib import Path

from oxd_server.op.errors import KeyFileError
from oxd_server.op.key_store import KeyStore, load_key_store

__all__ = ["load_private_keys"]


def load_private_keys(path: Path | None, password: str | None, uris: Sequence[str], pin: str | None) -> KeyStore | None:
    """The keys in tokens, then those of the file; None if there are neither (blocking).

    Args:
        path: of the file; it alone has keys that decrypt.
        password: of the file.
        uris: of the keys in tokens (RFC 7512).
        pin: of the tokens.

    Raises:
        KeyFileError: one of them cannot be used; says why.
    """
    in_file = None if path is None else load_key_store(path, password)
    if not uris:
        return in_file
    try:
        from oxd_server.op.pkcs11_keys import load_token_keys
    except ModuleNotFoundError:
        raise KeyFileError("crypt_provider_pkcs11_uris needs python-pkcs11: pip install 'oxd-server[pkcs11]'") from None
    in_tokens = KeyStore(load_token_keys(uris, pin))
    return in_tokens if in_file is None else KeyStore((*in_tokens.keys, *in_file.keys), in_file.decryption_keys)

"""The private keys in force."""

from dataclasses import dataclass

from oxd_server.op.key_store import KeyStore

__all__ = ["KeyStoreHolder"]


@dataclass(slots=True)
class KeyStoreHolder:
    """The key store as it was last read, None if none is configured; a reload replaces it as a whole."""

    current: KeyStore | None = None

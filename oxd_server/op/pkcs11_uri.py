"""Where a private key lies in a PKCS#11 token (an HSM, a smart card): its URI, RFC 7512. Pure."""

from urllib.parse import unquote, unquote_to_bytes

import msgspec

from oxd_server.op.errors import KeyFileError

__all__ = ["KeyUri", "parse_key_uri"]

_SCHEME = "pkcs11:"
_PATH = frozenset({"token", "serial", "object", "id", "type"})
_PIN = frozenset({"pin-source", "pin-value"})


class KeyUri(msgspec.Struct, frozen=True):
    """Which key of which token, and the library that talks to it.

    Attributes:
        module: the path of the library (`module-path`).
        token, serial: the token's label and its serial number; None: whichever it is.
        label, key_id: the key's CKA_LABEL (`object`) and CKA_ID (`id`, hexadecimal here); one is there at least.
    """

    module: str
    token: str | None
    serial: bytes | None
    label: str | None
    key_id: str | None

    def __str__(self) -> str:
        """The key for a person to find it by; never with a PIN."""
        names = {"token": self.token, "object": self.label, "id": self.key_id}
        return _SCHEME + ";".join(f"{name}={value}" for name, value in names.items() if value is not None)


def parse_key_uri(text: str) -> KeyUri:
    """Read the URI of a private key.

    What we cannot look for, and what stands there twice, is refused and not ignored: no other key is to be taken than
    the one that was meant.

    Raises:
        KeyFileError: it is none, or says what we do not support; the text never repeats a PIN.
    """
    path, _, query = text.removeprefix(_SCHEME).partition("?")
    if not text.startswith(_SCHEME):
        raise KeyFileError("crypt_provider_pkcs11_uris: a PKCS#11 URI begins with pkcs11:")
    attributes = [part.partition("=") for part in [*path.split(";"), *query.split("&")] if part]
    found = {name: value for name, _, value in attributes}
    if len(found) < len(attributes):
        raise KeyFileError("crypt_provider_pkcs11_uris: an attribute stands twice in a URI")
    if _PIN & found.keys():
        raise KeyFileError("crypt_provider_pkcs11_uris: a PIN belongs in crypt_provider_pkcs11_pin, not in a URI")
    if unknown := sorted(found.keys() - _PATH - {"module-path"}):
        raise KeyFileError(f"crypt_provider_pkcs11_uris: {unknown[0][:50]} is not supported in a URI")
    if found.get("type", "private") != "private":
        raise KeyFileError("crypt_provider_pkcs11_uris: only keys of type=private sign")
    if not found.get("module-path"):
        raise KeyFileError("crypt_provider_pkcs11_uris: a URI needs ?module-path=, the path of the token's library")
    if not (found.get("token") or found.get("serial")) or not (found.get("object") or found.get("id")):
        raise KeyFileError("crypt_provider_pkcs11_uris: a URI needs token= or serial=, and object= or id= of the key")
    return KeyUri(
        module=unquote(found["module-path"]),
        token=unquote(found.get("token", "")) or None,
        serial=unquote_to_bytes(found.get("serial", "")) or None,
        label=unquote(found.get("object", "")) or None,
        key_id=unquote_to_bytes(found.get("id", "")).hex() or None,
    )

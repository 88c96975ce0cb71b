"""New keys that take over from the old ones, so that nobody meets a key that he cannot know yet.

A rotation takes twice the overlap. At once, the new keys are published beside the old ones, and whoever encrypts to us
is to take the new ones. After one overlap the new ones sign. After the second one the old ones are gone: until then
they decrypt what was encrypted to them, and can be found for what they signed.

Everything here blocks; call it in a thread.
"""

import os
from pathlib import Path
from typing import Any

import msgspec

from oxd_server.op.errors import KeyFileError
from oxd_server.op.key_files import read_key_file
from oxd_server.op.key_store import NEW_KEYS, KeyStore, load_key_store, new_jwk, write_new_file

__all__ = ["rotate_keys"]

Jwk = dict[str, Any]


def rotate_keys(path: Path, overlap: int, now: int) -> KeyStore:
    """Put new keys beside those in the private JWK Set at `path`, which are to go; return what there is then.

    Args:
        path: the key store.
        overlap: in seconds. 0: the new keys take over at once, and the old ones are gone.
        now: seconds since the epoch.

    Raises:
        KeyFileError: the file is no JWK Set, cannot be written, or its last rotation has not ended.
    """
    store = load_key_store(path)
    entries = _entries(path)
    if overlap and any(key.not_before > now for key in store.keys):
        raise KeyFileError(f"{path}: a rotation is under way; its new keys do not sign yet")
    ended = now + 2 * overlap
    old = [{**entry, "exp": min(entry.get("exp", ended), ended)} for entry in entries]
    new = [_successor(key_type, curve, use, overlap, now) for key_type, curve, use in _kinds(store)]
    kept = [entry for entry in old if entry["exp"] > now]
    replace_file(path, msgspec.json.encode({"keys": [*new, *kept]}))
    return load_key_store(path).at(now)


def _kinds(store: KeyStore) -> list[tuple[str, str | None, str]]:
    """Type, curve and use of the keys that there are to be: as there are, and those that decrypt in any case."""
    signing = [(key.key_type, key.curve, "sig") for key in store.keys]
    decrypting = [(key.key_type, key.curve, "enc") for key in store.decryption_keys]
    usual = [(key_type, curve, "enc") for key_type, curve in NEW_KEYS]
    return list(dict.fromkeys([*signing, *(decrypting or usual)]))


def _successor(key_type: str, curve: str | None, use: str, overlap: int, now: int) -> Jwk:
    jwk = new_jwk(key_type, curve, use)
    return {**jwk, "nbf": now + overlap} if use == "sig" else jwk


def _entries(path: Path) -> list[Jwk]:
    try:
        document = msgspec.json.decode(read_key_file(path))
        return list(document["keys"])
    except (msgspec.MsgspecError, TypeError, KeyError):
        raise KeyFileError(
            f"{path} is no JWK Set. Only those are rotated: make one with oxd-server keys new, and name it in "
            "crypt_provider_key_store_path"
        ) from None


def replace_file(path: Path, content: bytes) -> None:
    """Put new content in the place of the file's, whole or not at all; it stays its owner's.

    Raises:
        KeyFileError: it cannot be written, or somebody else is at it.
    """
    beside = path.with_name(f"{path.name}.new")
    write_new_file(beside, content)
    try:
        owner = path.stat()
        if os.geteuid() == 0:
            os.chown(beside, owner.st_uid, owner.st_gid)
        beside.replace(path)
        _keep_name(path.parent)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise KeyFileError(f"{path}: {error.strerror}") from error


def _keep_name(folder: Path) -> None:
    """Have the renaming on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

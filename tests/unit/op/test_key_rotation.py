"""New keys take over from old ones: who signs, who is published, who decrypts, and when."""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path

import pytest
from joserfc.jwk import ECKey, OKPKey

from oxd_server.op.errors import KeyFileError
from oxd_server.op.key_rotation import rotate_keys
from oxd_server.op.key_store import KeyStore, load_key_store, new_key_store

DAY = 24 * 3600
NOW = 1_800_000_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The content of a new key store."""
    path = tmp_path_factory.mktemp("made") / "keys.json"
    new_key_store(path)
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path, made: bytes) -> Path:
    """A key store of the test's own."""
    (tmp_path / "keys.json").write_bytes(made)
    (tmp_path / "keys.json").chmod(0o600)
    return tmp_path / "keys.json"


def signer(store: KeyStore) -> str:
    """The id of the key that signs with RS256."""
    return store.select("RS256")[0].kid


def published(store: KeyStore, use: str) -> set[object]:
    """The ids of the published keys for this use."""
    keys = store.public_jwks()["keys"]
    assert isinstance(keys, list)
    return {key["kid"] for key in keys if key["use"] == use}


def test_an_overlap(path: Path) -> None:
    """New keys are published at once, sign after one overlap, and are alone after two."""
    before = load_key_store(path)
    rotate_keys(path, DAY, NOW)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    rotated = load_key_store(path)
    at_once, later, at_last = (rotated.at(NOW + days * DAY) for days in (0, 1, 2))
    old, both = {key.kid for key in before.keys}, {key.kid for key in rotated.keys}
    assert len(both) == 2 * len(old)
    assert published(at_once, "sig") == published(later, "sig") == both
    assert published(at_last, "sig") == both - old
    assert signer(at_once) == signer(before)
    assert signer(later) == signer(at_last) not in old


def test_what_is_encrypted_meanwhile(path: Path) -> None:
    """Whoever reads the keys encrypts to the new ones; what was encrypted to the old ones is opened till the end."""
    old = {key.kid for key in load_key_store(path).decryption_keys}
    rotate_keys(path, DAY, NOW)
    rotated = load_key_store(path)
    assert published(rotated.at(NOW), "enc").isdisjoint(old)
    assert {key.kid for key in rotated.at(NOW + 2 * DAY - 1).decryption_keys} > old
    assert {key.kid for key in rotated.at(NOW + 2 * DAY).decryption_keys}.isdisjoint(old)


def test_an_op_that_was_told_the_keys_by_value(path: Path) -> None:
    """It knows the old key alone: that one signs for it as long as it is there."""
    before = load_key_store(path)
    kids = frozenset(key.kid for key in before.keys)
    rotate_keys(path, DAY, NOW)
    later = load_key_store(path).at(NOW + DAY)
    assert signer(later.known_as(kids)) == signer(before)
    assert signer(load_key_store(path).at(NOW + 2 * DAY).known_as(kids)) not in kids
    assert later.known_as(frozenset({"somebody else's"})) == later
    new = frozenset(key.kid for key in later.keys) - kids
    assert later.at(NOW).known_as(new).keys == later.keys  # they do not sign yet


def test_at_once(path: Path) -> None:
    """Without an overlap the old keys are gone, as after a theft; that does not wait for a rotation that is on."""
    old = {key.kid for key in load_key_store(path).keys}
    rotate_keys(path, DAY, NOW)
    with pytest.raises(KeyFileError, match="under way"):
        rotate_keys(path, DAY, NOW + DAY - 1)
    store = rotate_keys(path, 0, NOW)
    assert old.isdisjoint(key.kid for key in store.keys)
    assert signer(store.at(NOW)) in published(store, "sig")
    assert len(store.keys) == 2


def test_again_and_again(path: Path) -> None:
    """Keys that are gone leave the file, so that it does not grow."""
    for number in range(3):
        rotate_keys(path, DAY, NOW + number * 2 * DAY)
    assert len(json.loads(path.read_bytes())["keys"]) == 8


def test_keys_of_other_kinds(path: Path) -> None:
    """There is a successor of the same kind for each, and decryption keys where there were none."""
    keys: list[ECKey | OKPKey] = [ECKey.generate_key("P-384"), OKPKey.generate_key("Ed25519")]
    path.write_text(json.dumps({"keys": [key.as_dict(private=True) for key in keys]}))
    store = rotate_keys(path, 0, NOW)
    assert [(key.key_type, key.curve) for key in store.keys] == [("EC", "P-384"), ("OKP", "Ed25519")]
    assert [key.key_type for key in store.decryption_keys] == ["RSA", "EC"]
    assert all(key.expires_at == math.inf for key in store.decryption_keys)


def test_what_cannot_be_rotated(path: Path) -> None:
    """A file of another format stays as it is, and so does one that somebody else is at."""
    content = path.read_bytes()
    path.with_name("keys.json.new").write_bytes(b"")
    with pytest.raises(KeyFileError, match="exists already"):
        rotate_keys(path, DAY, NOW)
    assert path.read_bytes() == content
    pem = load_key_store(path).keys[0].key.as_pem(private=True)
    path.write_bytes(pem)
    with pytest.raises(KeyFileError, match="no JWK Set"):
        rotate_keys(path, DAY, NOW)
    assert path.read_bytes() == pem


def test_a_file_that_cannot_be_replaced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new file does not stay behind."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "chown", full)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(KeyFileError, match="No space"):
        rotate_keys(path, DAY, NOW)
    assert [entry.name for entry in path.parent.iterdir()] == ["keys.json"]

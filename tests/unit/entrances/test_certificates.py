"""The certificate that the front makes for itself."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from oxd_server.entrances.certificates import CERT_NAME, KEY_NAME, ensure_self_signed, make_server_context, names_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_it_is_made_once(tmp_path: Path) -> None:
    """The second call finds what the first made; the folder and the key are their owner's alone."""
    folder = tmp_path / "data"
    cert, key = ensure_self_signed(folder, NOW)
    first = cert.read_bytes(), key.read_bytes()
    assert ensure_self_signed(folder, NOW) == (cert, key)
    assert (cert.read_bytes(), key.read_bytes()) == first
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, key)] == [0o700, 0o600]
    assert sorted(path.name for path in folder.iterdir()) == sorted([CERT_NAME, KEY_NAME])


def test_it_is_for_localhost_and_no_ca(tmp_path: Path) -> None:
    """Who trusts it trusts this server by three names, and nothing that its key could sign."""
    cert = x509.load_pem_x509_certificate(ensure_self_signed(tmp_path, NOW)[0].read_bytes())
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    assert not cert.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert cert.not_valid_before_utc < NOW < cert.not_valid_after_utc


@pytest.mark.parametrize("damage", ["expired", "no key", "another key", "half a file"])
def test_what_cannot_be_used_is_made_anew(tmp_path: Path, damage: str) -> None:
    """A pair that has expired, lost a part or does not belong together is replaced as a whole."""
    cert, key = ensure_self_signed(tmp_path, NOW)
    before, now = cert.read_bytes(), NOW
    if damage == "expired":
        now += timedelta(days=3640)
    elif damage == "no key":
        key.unlink()
    elif damage == "another key":
        key.write_bytes(ensure_self_signed(tmp_path / "other", NOW)[1].read_bytes())
    else:
        cert.write_bytes(before[:100])
    ensure_self_signed(tmp_path, now)
    assert cert.read_bytes() != before
    make_server_context(cert, key)


def test_a_key_that_others_could_read_is_closed_again(tmp_path: Path) -> None:
    """Whatever happened to the mode of the key, after the start it is private."""
    _, key = ensure_self_signed(tmp_path, NOW)
    key.chmod(0o644)
    ensure_self_signed(tmp_path, NOW)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_the_suites_are_exactly_these(tmp_path: Path) -> None:
    """With TLS 1.2: ephemeral elliptic-curve keys and AES-GCM or ChaCha20-Poly1305 (RFC 9325, section 4.2)."""
    context = make_server_context(*ensure_self_signed(tmp_path, NOW))
    suites = {suite["name"] for suite in context.get_ciphers() if suite["protocol"] != "TLSv1.3"}
    assert suites == {
        f"ECDHE-{key}-{cipher}"
        for key in ("ECDSA", "RSA")
        for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    }


def test_the_names_of_a_certificate_are_read(tmp_path: Path) -> None:
    """The names and addresses of the certificate count, and what is no certificate has none."""
    cert, key = ensure_self_signed(tmp_path, NOW)
    assert names_of(cert) == ("localhost", "127.0.0.1", "::1")
    assert names_of(key) == ()
    assert names_of(tmp_path / "missing") == ()

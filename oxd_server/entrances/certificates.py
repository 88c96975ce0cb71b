"""TLS for the HTTPS front: the configured certificate, or a self-signed one for localhost that is made once and kept.

Everything here reads or writes files and computes; call it in a thread.
"""

import os
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from oxd_server.config import ConfigError

__all__ = ["CERT_NAME", "KEY_NAME", "ensure_self_signed", "expiry_of", "make_server_context", "names_of"]

CERT_NAME: Final = "https-localhost.crt"
KEY_NAME: Final = "https-localhost.key"

_LIFETIME: Final = timedelta(days=3650)
_RENEW_BEFORE: Final = timedelta(days=30)
# Forward secrecy and authenticated encryption only. TLS 1.3 has no other suites and is not concerned.
_TLS12_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"


def make_server_context(cert_path: Path, key_path: Path) -> ssl.SSLContext:
    """Return the context of a server with this certificate: TLS 1.2 and 1.3.

    Raises ``ConfigError`` naming the key of the configuration if certificate or key cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # RFC 8996, section 4: "TLS 1.0 MUST NOT be used"; section 5: "TLS 1.1 MUST NOT be used".
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(_TLS12_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    for name, path in (("https.cert_path", cert_path), ("https.key_path", key_path)):
        if not os.access(path, os.R_OK):
            raise ConfigError(f"{name}: {path} cannot be read")
    try:
        # Without a password function, OpenSSL would ask for the password on the terminal and wait.
        context.load_cert_chain(cert_path, key_path, password=lambda: "")
    except (ssl.SSLError, OSError, ValueError):
        raise ConfigError(
            f"https.cert_path and https.key_path: {cert_path} and {key_path} are not a PEM certificate and the key "
            "that belongs to it, without a password"
        ) from None
    return context


def names_of(cert_path: Path) -> tuple[str, ...]:
    """Return the names and addresses that the certificate is for (RFC 9525, section 6); () if none can be read."""
    try:
        cert = x509.load_pem_x509_certificate(cert_path.read_bytes())
        named = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return ()
    addresses = named.get_values_for_type(x509.IPAddress)
    return (*named.get_values_for_type(x509.DNSName), *map(str, addresses))


def expiry_of(cert_path: Path) -> float | None:
    """Return when the certificate expires, in seconds since 1970; None if it cannot be read."""
    try:
        return x509.load_pem_x509_certificate(cert_path.read_bytes()).not_valid_after_utc.timestamp()
    except (OSError, ValueError):
        return None


def ensure_self_signed(folder: Path, now: datetime) -> tuple[Path, Path]:
    """Return the paths of a certificate for localhost and its key in ``folder``; both are made if need be.

    The key is readable by its owner only. A pair that is damaged, or expires within a month, is replaced. Raises
    ``OSError`` if the folder cannot be written.
    """
    cert_path, key_path = folder / CERT_NAME, folder / KEY_NAME
    if not _is_usable(cert_path, key_path, now):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _write(key_path, pem, 0o600)
        _write(cert_path, _self_signed(key, now).public_bytes(Encoding.PEM), 0o644)
    os.chmod(key_path, 0o600)
    return cert_path, key_path


def _is_usable(cert_path: Path, key_path: Path, now: datetime) -> bool:
    try:
        make_server_context(cert_path, key_path)
        cert = x509.load_pem_x509_certificate(cert_path.read_bytes())
    except (ConfigError, OSError, ValueError):
        return False
    return now + _RENEW_BEFORE < cert.not_valid_after_utc


def _write(path: Path, data: bytes, mode: int) -> None:
    """Write a file that has its mode from the start and takes its name only when it is whole."""
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _self_signed(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    addresses = [x509.IPAddress(ip_address(text)) for text in ("127.0.0.1", "::1")]
    # It is no CA: whoever trusts it trusts this server and nothing that its key could sign.
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.SubjectAlternativeName([x509.DNSName("localhost"), *addresses]), False),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), False),
    ]
    start = now.astimezone(UTC) - timedelta(hours=1)  # the clocks of clients may be behind
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), start, now + _LIFETIME)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(key, SHA256())

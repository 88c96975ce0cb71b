"""Key material in files: which format a file has, and what to do about a format that we do not read."""

from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import pkcs12

from oxd_server.op.errors import KeyFileError

__all__ = ["convert_command", "is_pem", "load_pkcs12", "pkcs12_certificates", "read_key_file"]

MAX_KEY_FILE_BYTES = 10 * 1024 * 1024
JKS_MAGIC = (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce")


def read_key_file(path: Path) -> bytes:
    """The bytes of a key file (blocking).

    Raises:
        KeyFileError: it cannot be read, is far too large, or is a Java key store.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_KEY_FILE_BYTES + 1)
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from error
    if len(data) > MAX_KEY_FILE_BYTES:
        raise KeyFileError(f"{path}: larger than {MAX_KEY_FILE_BYTES} bytes")
    if data.startswith(JKS_MAGIC):
        raise KeyFileError(f"{path} is a Java key store (JKS); convert it once: {convert_command(path)}")
    return data


def convert_command(path: Path) -> str:
    """The command that turns a Java key store into PKCS#12."""
    target = path.with_suffix(".p12")
    return f"keytool -importkeystore -srckeystore {path} -destkeystore {target} -deststoretype PKCS12"


def is_pem(data: bytes) -> bool:
    """Whether the file is PEM text."""
    return b"-----BEGIN " in data


def load_pkcs12(path: Path, data: bytes, password: str | None) -> pkcs12.PKCS12KeyAndCertificates:
    """The content of a PKCS#12 file.

    Raises:
        KeyFileError: it is no PKCS#12 file, or the password does not open it.
    """
    try:
        return pkcs12.load_pkcs12(data, password.encode() if password is not None else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path}: no PKCS#12 file, or its password is wrong") from error


def pkcs12_certificates(content: pkcs12.PKCS12KeyAndCertificates) -> list[x509.Certificate]:
    """Every certificate of a PKCS#12 file."""
    holders = ([content.cert] if content.cert is not None else []) + list(content.additional_certs)
    return [holder.certificate for holder in holders]

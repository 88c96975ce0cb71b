"""Who we are in TLS: a certificate and its key, shown to OPs (RFC 8705). And the certificates that others have shown.

What reads files blocks; call it in a thread.
"""

import base64
import binascii
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from oxd_protocol.discreet import Discreet
from oxd_server.op.base64url import encode_base64url
from oxd_server.op.errors import KeyFileError
from oxd_server.op.key_files import is_pem, load_pkcs12, pkcs12_certificates, read_key_file

__all__ = ["ClientIdentity", "load_client_identity", "thumbprint_of"]

MAX_CERTIFICATE_CHARACTERS = 32 * 1024


class ClientIdentity(Discreet, frozen=True, eq=False):
    """A certificate that is shown in TLS.

    Attributes:
        subject: its distinguished name (RFC 4514), which OPs may know the client by.
        jwk: its public key with the certificate in it, which OPs may know the client by as well.
        ssl_context: for connections on which it is shown.
    """

    shows = ("subject", "jwk")

    subject: str
    jwk: dict[str, object]
    ssl_context: ssl.SSLContext


def load_client_identity(path: Path, password: str | None, context: ssl.SSLContext) -> ClientIdentity:
    """The identity in a PEM or PKCS#12 file, with the certificates that lead to its authority (blocking).

    Args:
        path: the file.
        password: opens it, if it is locked.
        context: trusts whom a connection is to trust; it becomes the identity's own.

    Raises:
        KeyFileError: the file cannot be used; says why.
    """
    data = read_key_file(path)
    if is_pem(data):
        _load_chain(context, path, path, password)
        certificate = _first_certificate(path, data)
    else:
        content = load_pkcs12(path, data, password)
        if content.cert is None or content.key is None:
            raise KeyFileError(f"{path}: holds no certificate with its key")
        certificate = content.cert.certificate
        with _in_memory(_as_pem(content.key, pkcs12_certificates(content))) as file:
            _load_chain(context, path, file, None)
    return ClientIdentity(certificate.subject.rfc4514_string(), _jwk(path, certificate), context)


def _load_chain(context: ssl.SSLContext, path: Path, file: Path, password: str | None) -> None:
    try:
        context.load_cert_chain(file, password=password or "")
    except (ssl.SSLError, OSError, ValueError) as error:
        raise KeyFileError(f"{path}: holds no certificate with its key that opens with the password") from error


def _first_certificate(path: Path, data: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(data)[0]
    except (ValueError, IndexError) as error:
        raise KeyFileError(f"{path}: holds no certificate that can be read") from error


def _as_pem(key: PrivateKeyTypes, certificates: list[x509.Certificate]) -> bytes:
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


@contextmanager
def _in_memory(content: bytes) -> Iterator[Path]:
    """A file that is on no disk: OpenSSL reads certificates from files only."""
    descriptor = os.memfd_create("client certificate")
    try:
        os.write(descriptor, content)
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _jwk(path: Path, certificate: x509.Certificate) -> dict[str, object]:
    """The certificate's key as a JWK (RFC 7517 section 4.7), which is how RFC 8705 section 2.2.2 registers it."""
    public = certificate.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    members: dict[str, object] | None = None
    for kind in (RSAKey, ECKey):
        try:
            key = kind.import_key(public)
            members = {**key.as_dict(private=False), "kid": key.thumbprint(), "use": "sig"}
        except (JoseError, ValueError, TypeError, AttributeError):
            continue
        break
    if members is None:
        raise KeyFileError(f"{path}: the certificate's key is neither RSA nor EC")
    return {**members, "x5c": [base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()]}


def thumbprint_of(certificate: str) -> str | None:
    """The `x5t#S256` of a certificate (RFC 8705 section 3.1); None if the text is none.

    It may be PEM, PEM in percent-encoding, or base64 of DER: so proxies hand it on.
    """
    if len(certificate) > MAX_CERTIFICATE_CHARACTERS:
        return None
    text = unquote(certificate) if "%" in certificate else certificate
    try:
        if "-----BEGIN" in text:
            parsed = x509.load_pem_x509_certificate(text.encode("ascii"))
        else:
            parsed = x509.load_der_x509_certificate(base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error):
        return None
    return encode_base64url(parsed.fingerprint(SHA256()))

"""The TLS context for every connection to an OP."""

import ssl
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from oxd_server.op.errors import KeyFileError
from oxd_server.op.key_files import is_pem, load_pkcs12, pkcs12_certificates, read_key_file

__all__ = ["make_ssl_context"]


def make_ssl_context(
    trust_store_path: Path | None = None,
    trust_store_password: str | None = None,
    *,
    trust_all: bool = False,
) -> ssl.SSLContext:
    """A client context: TLS 1.2 or newer, certificates and host names verified (blocking: reads files).

    Args:
        trust_store_path: a PEM bundle or PKCS#12 file of certificates to trust besides the system's.
        trust_store_password: opens a PKCS#12 file.
        trust_all: accept any certificate. Insecure: anyone on the way can read and change everything.

    Raises:
        KeyFileError: the trust store cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if trust_all:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    context.load_default_certs()
    if trust_store_path is not None:
        _trust(context, trust_store_path, trust_store_password)
    return context


def _trust(context: ssl.SSLContext, path: Path, password: str | None) -> None:
    data = read_key_file(path)
    if not is_pem(data):
        certificates = pkcs12_certificates(load_pkcs12(path, data, password))
        data = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
    try:
        context.load_verify_locations(cadata=data.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError) as error:
        raise KeyFileError(f"{path}: holds no certificate that can be trusted") from error
    # Trust stores of the legacy server often hold the OP's own certificate and not the CA that signed it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN

"""Tokens that are bound to a certificate (RFC 8705): the certificates that others have shown."""

import hmac
from collections.abc import Mapping

from oxd_protocol.errors import CommandError
from oxd_server.op.client_identity import thumbprint_of

__all__ = ["check_certificate"]


def check_certificate(introspection: Mapping[str, object], certificate: str | None) -> None:
    """Check that a token is bound to the certificate that came with it; pass one that is bound to none and had none.

    RFC 8705, section 3: if the certificate does not match, the protected resource "MUST reject the resource access
    attempt with an error".

    Args:
        introspection: what the authorization server says of the token.
        certificate: as it came, see ``thumbprint_of``.

    Raises ``CommandError``.
    """
    bound = _bound_to(introspection)
    if certificate is None:
        if bound is not None:
            raise CommandError("invalid_client_certificate", "The token is bound to a certificate, and came with none.")
        return
    shown = thumbprint_of(certificate)
    if shown is None:
        raise CommandError("invalid_request", "client_certificate is no certificate: PEM, or base64 of DER.")
    if bound is None:
        raise CommandError("invalid_client_certificate", "The token is not bound to a certificate.")
    if not hmac.compare_digest(bound.encode(), shown.encode()):
        raise CommandError("invalid_client_certificate")


def _bound_to(introspection: Mapping[str, object]) -> str | None:
    """Return the thumbprint of the certificate that the token is bound to (section 3.2)."""
    confirmation = introspection.get("cnf")
    thumbprint = confirmation.get("x5t#S256") if isinstance(confirmation, dict) else None
    return thumbprint if isinstance(thumbprint, str) else None

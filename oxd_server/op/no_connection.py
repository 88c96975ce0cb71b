"""Why there is no connection to an OP, in words for people and in one for figures."""

import socket
import ssl
from collections.abc import Iterator

import httpx2

from oxd_server.op.errors import Failure

__all__ = ["NoConnection"]


class NoConnection(httpx2.ConnectError):
    """There is no connection, nothing was sent; the text says why, `cause` in one word."""

    def __init__(self, reason: str, cause: Failure) -> None:
        super().__init__(reason)
        self.cause = cause

    @classmethod
    def because_of(cls, error: BaseException, *, to: str = "") -> "NoConnection":
        """The error for what the system or the TLS library says; `to` names the other end, if it is not the OP."""
        reason, cause = _reason(error)
        return cls(reason + (f" ({to})" if to else ""), cause)


def _reason(error: BaseException) -> tuple[str, Failure]:
    for cause in _causes(error):
        match cause:
            case ssl.SSLCertVerificationError():
                return f"its TLS certificate is not trusted: {cause.verify_message}", "tls"
            case ssl.SSLError():
                return f"TLS failed: {cause.reason or 'handshake'}", "tls"
            case socket.gaierror() | UnicodeError():
                return "no connection: its name has no address", "dns"
            case ConnectionRefusedError():
                return "no connection: nobody listens there", "refused"
    return "no connection", "other"


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        if isinstance(cause, BaseExceptionGroup):
            for each in cause.exceptions:
                yield from _causes(each)
        cause = cause.__cause__ or cause.__context__

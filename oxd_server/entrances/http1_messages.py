"""What the HTTP front hands to a handler, and takes from it. Pure."""

from collections.abc import Sequence

from oxd_protocol.discreet import Discreet

__all__ = ["Headers", "HttpRequest", "HttpResponse"]

Headers = Sequence[tuple[str, str]]


class HttpRequest(Discreet, frozen=True):
    """A complete request. `repr` leaves out what may hold secrets.

    Attributes:
        path: as sent: still percent-encoded.
        headers: their names are in lower case.
        server: the address that the client connected to.
    """

    shows = ("method", "path", "client", "id")

    method: str
    path: str
    query: str = ""
    headers: Headers = ()
    body: bytes = b""
    http_version: str = "1.1"
    client: str = ""
    server: str = ""
    id: str = ""

    def header(self, name: str) -> str | None:
        """The first value of a header (`name` in any letter case), or None."""
        wanted = name.lower()
        for key, value in self.headers:
            if key == wanted:
                return value
        return None


class HttpResponse(Discreet, frozen=True):
    """An answer; `Date`, `X-Request-Id`, `Content-Length` and `Connection` are added when it is sent."""

    shows = ("status",)

    status: int = 200
    headers: Headers = ()
    body: bytes = b""

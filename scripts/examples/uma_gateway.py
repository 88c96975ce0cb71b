"""A small gateway in front of an API: it asks oxd about every request, and lets through what oxd grants.

What a gateway decides about must be what the API behind it does. So there is one spelling of every path: the request's
path is brought into it, or the request is refused; oxd is asked about that spelling, and that spelling is what the API
gets. A path or method that oxd does not know as protected does not exist here, and whatever goes wrong, nothing is
let through.
"""

import argparse
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import unquote_to_bytes

import httpx2
import trio

from oxd_protocol.client import OxdUnreachable
from oxd_protocol.client.with_trio import OxdClient
from oxd_server.entrances import http1
from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse

MAX_PATH = 1000
MAX_ANSWER_BYTES = 1_000_000
API_SECONDS = 20.0
LIMITS = http1.Limits(max_connections=200)

# Unreserved characters (RFC 3986 2.3) and the slash: what the paths of this API are made of.
_PLAIN_PATH = re.compile(rb"/[A-Za-z0-9._~/-]*")
_ENCODED_SLASH = re.compile(r"%2f", re.IGNORECASE)
_METHOD = re.compile(r"[A-Z]{1,20}")
# The only headers that reach the API: no token of the caller, and nothing that names another method or path, as
# X-HTTP-Method-Override and X-Original-URL do.
_FORWARDED = ("accept", "content-type")
_RETURNED = ("content-type",)


class Refused(Exception):
    """The request is not let through; the answer says why."""

    def __init__(self, status: int, reason: str, *headers: tuple[str, str]) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers


Decide = Callable[[str, str, str | None], Awaitable[None]]
"""``await decide(path, method, token)`` returns if the request may pass, and raises ``Refused`` if not."""


# One spelling of every path


def canonical_path(path: str) -> str:
    """The one spelling of a request's path: decoded once, without empty and dot segments, in lower case.

    Raises ``Refused`` for a path that could mean different things to different readers: with an encoded slash, a
    backslash, a NUL, path parameters (``;``), letters outside ASCII, an escape that is broken or leaves another one,
    or more ``..`` than levels.
    """
    if len(path) > MAX_PATH:
        raise Refused(414, "the path is too long")
    if _ENCODED_SLASH.search(path):
        raise Refused(400, "the path holds an encoded slash")
    decoded = unquote_to_bytes(path)
    if not _PLAIN_PATH.fullmatch(decoded):
        raise Refused(400, "the path holds characters that no path of this API has")
    segments: list[str] = []
    for segment in decoded.decode("ascii").split("/"):
        if segment == "..":
            if not segments:
                raise Refused(400, "the path leads out of the API")
            segments.pop()
        elif segment not in ("", "."):
            segments.append(segment)
    return "/" + "/".join(segments).lower()


def bearer_token(request: HttpRequest) -> str | None:
    """The token of the Authorization header (RFC 6750 2.1). Raises ``Refused`` if there are two such headers."""
    values = [value for name, value in request.headers if name == "authorization"]
    if len(values) > 1:
        raise Refused(400, "more than one Authorization header")
    scheme, _, token = (values[0] if values else "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


# Two ways to decide


async def decide_by_rpt(oxd: OxdClient, oxd_id: str, path: str, method: str, rpt: str | None) -> None:
    """Ask oxd whether the RPT is enough; the caller that has none, or not the right one, gets a ticket."""
    params = {"oxd_id": oxd_id, "path": path, "http_method": method, "rpt": rpt}
    answer = await _ask(oxd, "uma_rs_check_access", params)
    data = answer.get("data", {})
    if answer.get("status") == "ok" and data.get("access") == "granted":
        return
    if data.get("error") == "invalid_request":
        raise Refused(404, "there is nothing here")
    if data.get("access") != "denied":
        raise Refused(502, "oxd could not decide")
    challenge = data.get("www-authenticate_header")
    if challenge is None:
        raise Refused(403, "access is denied", ("Warning", '199 - "UMA Authorization Server Unreachable"'))
    raise Refused(401, "come back with an RPT for this ticket", ("WWW-Authenticate", challenge))


async def decide_by_client(
    oxd: OxdClient, oxd_id: str, client_id: str, path: str, method: str, token: str | None
) -> None:
    """Let the tokens of one client pass, whatever it asks for: a test mode, not for production."""
    del path, method
    challenge = ("WWW-Authenticate", "Bearer")
    if token is None:
        raise Refused(401, "an access token is needed", challenge)
    answer = await _ask(oxd, "introspect_access_token", {"oxd_id": oxd_id, "access_token": token})
    if answer.get("status") != "ok":
        raise Refused(502, "oxd could not decide")
    data = answer.get("data", {})
    if data.get("active") is not True or data.get("client_id") != client_id:
        raise Refused(401, "the access token is not active, or not the test client's", challenge)


async def _ask(oxd: OxdClient, command: str, params: dict[str, str | None]) -> dict[str, Any]:
    try:
        return await oxd.call(command, params)
    except OxdUnreachable:
        raise Refused(503, "oxd cannot be reached") from None


# The gateway


@dataclass(frozen=True)
class Gateway:
    """``decide`` says what passes; ``api`` sends it on."""

    decide: Decide
    api: httpx2.AsyncClient = field(repr=False)

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """Answer one request: with the API's answer, or with the reason why it did not get there."""
        try:
            # RFC 9110 9.1: "The method token is case-sensitive"; oxd compares letter case aside, the API may not.
            if not _METHOD.fullmatch(request.method):
                raise Refused(400, "the method is not in upper case")
            path = canonical_path(request.path)
            await self.decide(path, request.method, bearer_token(request))
            return await self._forward(request, path)
        except Refused as refused:
            answer = http1.plain_error(refused.status, refused.reason)
            return HttpResponse(answer.status, [*answer.headers, *refused.headers], answer.body)

    async def _forward(self, request: HttpRequest, path: str) -> HttpResponse:
        """Send the request on: under the path that was decided about, the query beside it."""
        target = path.encode() + (b"?" + request.query.encode() if request.query else b"")
        url = self.api.base_url.copy_with(raw_path=target)
        headers = [(name, value) for name, value in request.headers if name in _FORWARDED]
        try:
            async with self.api.stream(request.method, url, headers=headers, content=request.body) as answer:
                body = b""
                async for part in answer.aiter_bytes():
                    body += part
                    if len(body) > MAX_ANSWER_BYTES:
                        await answer.aclose()  # the next read fails, and that ends the loop in good order
        except httpx2.HTTPError:
            raise Refused(502, "the API does not answer as it should") from None
        if len(body) > MAX_ANSWER_BYTES:
            raise Refused(502, "the API's answer is too long")
        returned = [(name, answer.headers[name]) for name in _RETURNED if name in answer.headers]
        return HttpResponse(answer.status_code, returned, body)


async def run(options: argparse.Namespace) -> None:
    """Run the gateway until cancelled."""
    oxd = OxdClient(port=options.oxd_port)
    decide: Decide = partial(decide_by_rpt, oxd, options.oxd_id)
    if options.test_client is not None:
        decide = partial(decide_by_client, oxd, options.oxd_id, options.test_client)
    listeners = await trio.open_tcp_listeners(options.port, host="127.0.0.1")
    async with httpx2.AsyncClient(base_url=options.api, timeout=API_SECONDS, trust_env=False) as api:
        await http1.serve(listeners, Gateway(decide, api).handle, LIMITS)


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, required=True, help="where the gateway listens, on 127.0.0.1")
    parser.add_argument(
        "--api", required=True, metavar="URL", help="the API behind it, for example http://127.0.0.1:8080"
    )
    parser.add_argument("--oxd-port", type=int, default=8099, help="default: %(default)s")
    parser.add_argument("--oxd-id", required=True, help="the site that the API is at the oxd server")
    parser.add_argument("--test-client", metavar="CLIENT_ID", help="no UMA: let every access token of this client pass")
    trio.run(run, parser.parse_args())


if __name__ == "__main__":
    main()

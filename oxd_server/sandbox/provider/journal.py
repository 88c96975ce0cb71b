"""What the provider was asked lately, for people to look at. Secrets are shortened; how much is kept is bounded."""

import base64
import binascii
import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from urllib.parse import parse_qsl, unquote

from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse
from oxd_server.sandbox.shown import shortened

__all__ = ["Journal", "Served"]

_KEPT = 100
_MOST_BYTES = 20_000
"""Of a request or an answer; nothing that the provider itself sends is longer."""


@dataclass(frozen=True)
class Served:
    """One request and its answer; `id_token` is the one in the answer, whole."""

    method: str
    path: str
    status: int
    sent: str = field(repr=False)
    answered: str = field(repr=False)
    id_token: str | None = field(repr=False)
    client_id: str | None


class Journal:
    """The latest requests, in order. `count` tells how many there were in all."""

    def __init__(self) -> None:
        self.count = 0
        self._served: deque[Served] = deque(maxlen=_KEPT)

    def note(self, request: HttpRequest, answer: HttpResponse) -> None:
        """Remember a request and its answer."""
        sent, answered = _sent(request), _json(answer.body)
        token = answered.get("id_token") if isinstance(answered, dict) else None
        self._served.append(
            Served(
                request.method,
                request.path,
                answer.status,
                _text(sent),
                _text(answered),
                token if isinstance(token, str) else None,
                sent.get("client_id"),
            )
        )
        self.count += 1

    def since(self, count: int) -> Iterable[Served]:
        """What came after the first `count` requests, as far as it is kept."""
        new = min(self.count - count, len(self._served))
        return list(islice(self._served, len(self._served) - new, None))


def _sent(request: HttpRequest) -> dict[str, Any]:
    """The parameters of the query and of the body; who asks, where the header says it."""
    found: dict[str, Any] = dict(parse_qsl(request.query)) | _credentials(request)
    if len(request.body) > _MOST_BYTES:
        return found
    if (request.header("content-type") or "").startswith("application/x-www-form-urlencoded"):
        return found | dict(parse_qsl(request.body.decode("utf-8", "replace")))
    body = _json(request.body)
    return found | (body if isinstance(body, dict) else {})


def _credentials(request: HttpRequest) -> dict[str, str]:
    scheme, _, rest = (request.header("authorization") or "").partition(" ")
    if scheme.lower() != "basic":
        return {"access_token": rest} if rest else {}
    try:
        text = base64.b64decode(rest, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return {}
    client_id, _, secret = text.partition(":")
    return {"client_id": unquote(client_id), "client_secret": unquote(secret)}


def _json(body: bytes) -> Any:
    if len(body) > _MOST_BYTES:
        return {}
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return {}


def _text(value: Any) -> str:
    return json.dumps(shortened(value), indent=2, ensure_ascii=False) if value else ""

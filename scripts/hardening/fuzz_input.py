"""What the fuzz targets share: turning the fuzzer's bytes into choices, pieces and JSON values; checking an answer."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from oxd_protocol.errors import CommandError, FramingError
from oxd_protocol.messages import encode_response, error_response

__all__ = ["Source", "captured", "check_error", "pieces"]

ROOT = Path(__file__).parent.parent.parent
_DEEPEST = 6
_MOST = 8
_SEED_BYTES = 2
_CUTS = (0, 1, 4, 20)

T = TypeVar("T")

SCALARS: Sequence[Any] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 0.5, 1e308, "", " ", "null", "true", "0", "a b",
    "0001-01-01T00:00:00Z", "https://op.example.org", "https://[", "http://x/#y", "\ud83d\ude00", "\x00", "é", "GET",
    "authorization_code", "\ufffd", "0150", "[]", "{}", "2026-13-45", "99999999999999999999", "-1", "NaN",
)  # fmt: skip


class Source:
    """Bytes that are used up from the front; when there are none left, every choice is the first one."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def byte(self) -> int:
        """The next byte, 0 at the end."""
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def choose(self, among: Sequence[T]) -> T:
        """One of several things."""
        return among[self.byte() % len(among)]

    def rest(self) -> bytes:
        """All that is left."""
        rest, self._at = self._data[self._at :], len(self._data)
        return rest

    def text(self) -> str:
        """A short text of any characters that UTF-8 can express."""
        size = self.byte() % 32
        taken, self._at = self._data[self._at : self._at + size], self._at + size
        return taken.decode("utf-8", "replace")

    def value(self, names: Sequence[str], depth: int = 0) -> Any:
        """A JSON value; objects in it have keys out of ``names``, or made up."""
        kind = self.byte() % (5 if depth < _DEEPEST else 3)
        if kind <= 1:
            return self.choose(SCALARS)
        if kind == 2:
            return self.text()
        if kind == 3:
            return [self.value(names, depth + 1) for _ in range(self.byte() % _MOST)]
        return self.mapping(names, depth)

    def mapping(self, names: Sequence[str], depth: int = 0) -> dict[str, Any]:
        """A JSON object with such keys."""
        count = self.byte() % _MOST
        return {self.name(names): self.value(names, depth + 1) for _ in range(count)}

    def name(self, names: Sequence[str]) -> str:
        """Mostly one of ``names``."""
        return self.choose(names) if self.byte() % 8 else self.text()


def pieces(data: bytes) -> tuple[bytes, list[bytes]]:
    """Split off what says how to cut; return the stream, and the same in pieces."""
    stream, chance = data[_SEED_BYTES:], random.Random(data[:_SEED_BYTES])
    cuts = sorted(chance.randint(0, len(stream)) for _ in range(chance.choice(_CUTS)))
    return stream, [stream[start:end] for start, end in pairwise([0, *cuts, len(stream)]) if start < end]


def check_error(error: CommandError | FramingError) -> None:
    """Fail unless the error can be answered, in a frame that every client can read."""
    frame = encode_response(error_response(error))
    assert re.fullmatch(rb"[0-9]{4}", frame[:4]), frame
    assert len(frame) == 4 + int(frame[:4]), frame
    assert frame.isascii(), frame
    assert frame[:4] not in frame[4:], frame
    answer = json.loads(frame[4:])
    assert answer["status"] == "error", answer
    assert answer["data"].keys() == {"error", "error_description", "details"}, answer


def captured(kind: str) -> list[dict[str, Any]]:
    """The recorded requests of real clients: ``""`` those of the socket, ``"-https"`` those over HTTP."""
    folder = ROOT / "tests" / "captures"
    files = [path for path in sorted(folder.glob("*.jsonl")) if path.stem.endswith("-https") == bool(kind)]
    return [json.loads(line) for path in files for line in path.read_text("utf-8").splitlines()]

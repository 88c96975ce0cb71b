"""Taking secrets out of what is logged.

`redact` is the last thing that touches an event before it becomes text. It hides what lies under a name that secrets
go by, at any depth, what looks like a secret inside any text (tracebacks, URLs, JSON, headers), and every secret that
the command at hand is known to deal with, wherever it turns up. It errs on the side of hiding.

It takes linear time, whatever the text. Every pattern can begin at few places of a text, which a look-behind or a
literal gives, and runs from there to where it ends or fails at once: no two of its repetitions can divide the same
characters between them. What one event holds is bounded: beyond that, texts are cut off and items left out.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, TypeVar

from oxd_server.log.known import known_secrets
from oxd_server.log.names import ENDING, WORD, is_secret_name

__all__ = ["REDACTED", "redact", "redact_text"]

REDACTED: Final = "[redacted]"
_LONGEST_TEXT: Final = 20_000
_LONGEST_EVENT: Final = 60_000
_DEEPEST: Final = 12
_LONGEST_NAME: Final = 40
_LONGEST_NUMBER: Final = 64  # bits; Python refuses to write out very long ones
_SHORTEST_PART: Final = 4

T = TypeVar("T")

# RFC 7518, section 6: the private parts of a JWK; RFC 7517, section 4.1: every JWK has "kty".
_PRIVATE_JWK_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})

_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)", re.DOTALL
)
_SCHEME = re.compile(r"\b(bearer|basic|dpop)(?:\s|%20|\+)+[^\s\"'\\,;&<>]+", re.IGNORECASE)
_DOTTED = re.compile(r"(?<![\w-])[\w-]++(?:\.[\w-]*+)++", re.ASCII)
_URL_PASSWORD = re.compile(r"(?<=://)[^\s/@?#]*@")
_QUOTED = r'"(?:\\.|[^"\\])*+\\?(?:"|\Z)|' + r"'(?:\\.|[^'\\])*+\\?(?:'|\Z)"
_ESCAPED_QUOTED = r"(?P<quote>\\+[\"']).*?(?:(?<!\\)(?P=quote)|\Z)"
_VALUE = rf"(?:b?(?:{_QUOTED})|{_ESCAPED_QUOTED}|\[[^\]]*(?:\]|\Z)|\{{[^}}]*(?:\}}|\Z))"
# Where a name may begin, also in a URL inside a URL, and what may stand between it and its value: in a query, in JSON,
# in JSON inside JSON, in a repr, and in a list of header pairs.
_ASSIGNMENT = re.compile(r"[=:,]|%3")
"""Some of it stands between every name and its value."""
_SUSPICIOUS = re.compile(r"[\s=:,+%]|eyJ")
"""Some of it stands in every text that a pattern here matches: most texts of the log are single words without."""
_START = r"(?:(?<![\w.-])|(?<=%3F)|(?<=%26)|(?<=%23))"
_BETWEEN = r"(?:\\*[\"']?\s*(?:[=:]|%3D|%3A)|\\*[\"']\s*,)\s*"
_NAMED = re.compile(
    rf"(?P<name>{_START}(?:[\w.-]*{ENDING}|{WORD}){_BETWEEN})(?:{_VALUE}|[^\s&;,\"'<>(){{}}\[\]\\]+)",
    re.IGNORECASE | re.DOTALL,
)
_HEADER = re.compile(
    r"((?<![\w-])(?:set-cookie|cookie|(?:proxy-)?authorization)\s*[:=]\s*)[^\"'\s][^\r\n\"']*", re.IGNORECASE
)
_JWK_MEMBER = re.compile(r"((?<!\\)\\*[\"'](?:d|p|q|dp|dq|qi|k)\\*[\"']\s*:\s*\\*[\"'])[^\"'\\]*")


def redact(logger: object, method: str, event_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Return the event without its secrets, as new plain values; a structlog processor.

    The event itself stays as it is. Whatever is not plain (exceptions, structs) becomes the text of its repr, and is
    looked through as text.
    """
    return _Redaction(known_secrets()).mapping(event_dict, 0)


def redact_text(text: str, known: tuple[str, ...] = ()) -> str:
    """Return the text with everything in it that looks like a secret, or is a known one, replaced; cut off if long."""
    text = _hide_known(text, known)
    if len(text) > _LONGEST_TEXT:
        text = f"{text[:_LONGEST_TEXT]}... ({len(text) - _LONGEST_TEXT} more)"
    if _SUSPICIOUS.search(text) is None:
        return text
    text = _PRIVATE_KEY.sub(REDACTED, text)
    if "eyJ" in text:
        text = _DOTTED.sub(lambda match: REDACTED if "eyJ" in match[0] else match[0], text)
    text = _SCHEME.sub(rf"\1 {REDACTED}", text)
    if _ASSIGNMENT.search(text) is None:
        return text
    text = _HEADER.sub(rf"\1{REDACTED}", text)
    text = _URL_PASSWORD.sub(f"{REDACTED}@", text)
    text = _NAMED.sub(rf"\g<name>{REDACTED}", text)
    return _JWK_MEMBER.sub(rf"\1{REDACTED}", text) if "kty" in text else text


def _hide_known(text: str, known: tuple[str, ...]) -> str:
    for secret in known:
        if secret in text:
            text = text.replace(secret, REDACTED)
    if known and text.endswith("..."):  # whoever cut it off may have cut through a secret
        text = _without_beginning(text.removesuffix("..."), known) + "..."
    return text


def _without_beginning(text: str, known: tuple[str, ...]) -> str:
    """Return the text without the beginning of a known secret that it ends with."""
    for secret in known:
        start = text.rfind(secret[:_SHORTEST_PART])
        if start >= 0 and secret.startswith(text[start:]):
            return text[:start] + REDACTED
    return text


class _Redaction:
    """One event's way through redaction: ``left`` is how many characters may still be shown of it."""

    def __init__(self, known: tuple[str, ...]) -> None:
        self._known = known
        self._left = _LONGEST_EVENT

    def mapping(self, values: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        is_jwk = "kty" in values
        redacted = {}
        for key, value in self._as_many_as_fit(values.items()):
            name = key if isinstance(key, str) else repr(key)
            shown, hidden = _judged_name(name) if len(name) <= _LONGEST_NAME else _judge_name(name)
            hidden = hidden or (is_jwk and name in _PRIVATE_JWK_MEMBERS)
            redacted[self._text(shown)] = _hidden(value) if hidden else self._value(value, depth + 1)
        return redacted

    def _value(self, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, (bool, float)):
            return value
        if isinstance(value, int):
            return value if value.bit_length() <= _LONGEST_NUMBER else f"a number of {value.bit_length()} bits"
        if isinstance(value, str):
            return self._text(value)
        if depth > _DEEPEST:
            return "[too deep]"
        if isinstance(value, Mapping):
            return self.mapping(value, depth)
        if isinstance(value, (list, tuple, set, frozenset)):
            if len(value) == 2 and isinstance(value, (list, tuple)) and _names_secret(value[0]):  # a header
                return [self._value(value[0], depth + 1), _hidden(value[1])]
            return [self._value(item, depth + 1) for item in self._as_many_as_fit(value)]
        if isinstance(value, (bytes, bytearray, memoryview)):
            return self._text(bytes(value).decode("utf-8", "backslashreplace"))
        return self._text(repr(value))

    def _text(self, text: str) -> str:
        if len(text) > self._left:
            text = f"{_hide_known(text[: self._left + _LONGEST_TEXT], self._known)[: self._left]}..."
        self._left -= len(text)
        return redact_text(text, self._known)

    def _as_many_as_fit(self, items: Iterable[T]) -> Iterator[T]:
        for item in items:
            if self._left <= 0:
                return
            self._left -= 1
            yield item


def _judge_name(name: str) -> tuple[str, bool]:
    """Return the name as it may be shown, and whether what goes by it is to be hidden."""
    return redact_text(name), is_secret_name(name)


_judged_name = lru_cache(maxsize=1000)(_judge_name)
"""The same, remembered: nearly all names are of those that the code gives."""


def _names_secret(name: Any) -> bool:
    text = name.decode("utf-8", "replace") if isinstance(name, bytes) else name
    return isinstance(text, str) and is_secret_name(text)


def _hidden(value: Any) -> str | None:
    return None if value is None else REDACTED

"""The log: one line an event on stderr, and no secret in it, whoever logged it.

`redact` is the last thing that touches an event before it becomes text. It hides what lies under a name that
secrets go by, at any depth, and what looks like a secret inside any text: tracebacks, URLs, JSON, headers.
It errs on the side of hiding.
"""

import logging
import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

REDACTED = "[redacted]"
_LONGEST_TEXT = 20_000
_DEEPEST = 12
_LONGEST_NAME = 40
_NOISY_LIBRARIES = ("httpx2", "httpcore2", "h11", "trio", "asyncio")

# Names that end like this (access_token, client-secret, X-Api-Key, trust_store_password ...) hold secrets, and so do
# the short ones, but only as whole names.
_ENDING = (
    r"(?:tokens?|secrets?|passwords?|passwd|passphrase|authorization|cookies?|assertion|"
    r"api[_-]?key|private[_-]?key|code[_-]?verifier|credentials?|jwt)"
)
_WORD = (
    r"(?:(?:auth(?:orization)?[_-]|device[_-]|user[_-])?code|(?:session[_-])?state|c?[_-]?nonce|"
    r"tickets?|rpt|pat|pct|aat|id[_-]token[_-]hint)"
)
_SECRET_NAME = re.compile(rf"(?:[\w.-]*{_ENDING}|{_WORD})", re.IGNORECASE)
_CAMEL_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# RFC 7518, section 6: the private parts of a JWK; RFC 7517, section 4.1: every JWK has "kty".
_PRIVATE_JWK_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})

# Every pattern can start at few places of a text and runs through it once from there, so that hostile text costs
# linear time.
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)", re.DOTALL
)
_SCHEME = re.compile(r"\b(bearer|basic|dpop)(?:\s|%20|\+)+[^\s\"'\\,;&<>]+", re.IGNORECASE)
_DOTTED = re.compile(r"[\w-]+(?:\.[\w-]*)+", re.ASCII)
_URL_PASSWORD = re.compile(r"(?<=://)[^\s/@?#]*@")
_QUOTED = r'"(?:\\.|[^"\\])*(?:"|\Z)|' + r"'(?:\\.|[^'\\])*(?:'|\Z)"
_ESCAPED_QUOTED = r"(?P<quote>\\+[\"']).*?(?:(?<!\\)(?P=quote)|\Z)"
_VALUE = rf"(?:b?(?:{_QUOTED})|{_ESCAPED_QUOTED}|\[[^\]]*(?:\]|\Z)|\{{[^}}]*(?:\}}|\Z))"
# Where a name may begin, also in a URL inside a URL, and what may stand between it and its value: in a query, in JSON,
# in JSON inside JSON, in a repr, and in a list of header pairs.
_ASSIGNMENT = re.compile(r"[=:,]|%3")
"""Some of it stands between every name and its value."""
_START = r"(?:(?<![\w.-])|(?<=%3F)|(?<=%26)|(?<=%23))"
_BETWEEN = r"(?:\\*[\"']?\s*(?:[=:]|%3D|%3A)|\\*[\"']\s*,)\s*"
_NAMED = re.compile(
    rf"(?P<name>{_START}(?:[\w.-]*{_ENDING}|{_WORD}){_BETWEEN})(?:{_VALUE}|[^\s&;,\"'<>(){{}}\[\]\\]+)",
    re.IGNORECASE | re.DOTALL,
)
_HEADER = re.compile(
    r"((?<![\w-])(?:set-cookie|cookie|(?:proxy-)?authorization)\s*[:=]\s*)[^\"'\s][^\r\n\"']*", re.IGNORECASE
)
_JWK_MEMBER = re.compile(r"(\\*[\"'](?:d|p|q|dp|dq|qi|k)\\*[\"']\s*:\s*\\*[\"'])[^\"'\\]*")


def redact(logger: WrappedLogger, method: str, event_dict: EventDict) -> EventDict:
    """A structlog processor: the event without its secrets, as new plain values; the event itself stays as it is.

    Whatever is not plain (exceptions, structs) becomes the text of its repr, and is looked through as text.
    """
    return _redact_mapping(event_dict, 0)


def redact_text(text: str) -> str:
    """The text with everything in it that looks like a secret replaced. Very long text is cut off."""
    if len(text) > _LONGEST_TEXT:
        text = f"{text[:_LONGEST_TEXT]}... ({len(text) - _LONGEST_TEXT} more)"
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


def is_secret_name(name: str) -> bool:
    """Whether what goes by this name (of a key, parameter or header) is to be hidden."""
    return _SECRET_NAME.fullmatch(_CAMEL_HUMP.sub("_", name.strip())) is not None


def _redact_mapping(values: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    is_jwk = "kty" in values
    redacted = {}
    for key, value in values.items():
        name = key if isinstance(key, str) else repr(key)
        shown, hidden = _judged_name(name) if len(name) <= _LONGEST_NAME else _judge_name(name)
        hidden = hidden or (is_jwk and name in _PRIVATE_JWK_MEMBERS)
        redacted[shown] = _hidden(value) if hidden else _redact_value(value, depth + 1)
    return redacted


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


def _redact_value(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return redact_text(value)
    if depth > _DEEPEST:
        return "[too deep]"
    if isinstance(value, Mapping):
        return _redact_mapping(value, depth)
    if isinstance(value, (list, tuple, set, frozenset)):
        if len(value) == 2 and isinstance(value, (list, tuple)) and _names_secret(value[0]):  # a header
            return [_redact_value(value[0], depth + 1), _hidden(value[1])]
        return [_redact_value(item, depth + 1) for item in value]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return redact_text(bytes(value).decode("utf-8", "backslashreplace"))
    return redact_text(repr(value))


def configure_logging(level: str = "info", format: str = "auto", stream: TextIO | None = None) -> None:
    """Send structlog's events, and the warnings of libraries, to `stream` (stderr), one line each.

    `level` is a name as in the configuration; `format` is json, console, or auto: console on a terminal.
    The lines of libraries below a warning are left out whatever the level: they show URLs with their queries.
    """
    out = sys.stderr if stream is None else stream
    number = logging.getLevelNamesMapping()[level.upper()]
    on_terminal = out.isatty()
    console = format == "console" or (format == "auto" and on_terminal)
    ending = _ending(console, colors=on_terminal)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *_beginning(), *ending],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    _configure_libraries(max(number, logging.WARNING), out, ending)


def _beginning() -> list[Processor]:
    return [structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True)]


def _ending(console: bool, colors: bool) -> list[Processor]:
    """From an event to a line. Tracebacks become text first, so that they are looked through as well."""
    renderer: Processor = structlog.processors.JSONRenderer()
    if console:
        renderer = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
    stages: list[Processor] = [
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        redact,
    ]
    return [*stages, _escape_controls, renderer] if console else [*stages, renderer]


def _escape_controls(logger: WrappedLogger, method: str, event_dict: EventDict) -> EventDict:
    """Keep what was logged from moving the cursor or making up lines; JSON does so by itself."""
    free = ("exception", "stack")
    return {key: value if key in free else _escaped(value) for key, value in event_dict.items()}


def _escaped(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in value)


def _configure_libraries(level: int, out: TextIO, ending: list[Processor]) -> None:
    """Give the standard library's logging the same lines, with the same redaction."""
    handler = _Handler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *_beginning()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    root = logging.getLogger()
    root.handlers = [other for other in root.handlers if not isinstance(other, _Handler)]
    root.addHandler(handler)
    root.setLevel(level)
    for name in _NOISY_LIBRARIES:
        logging.getLogger(name).setLevel(level)


class _Handler(logging.StreamHandler[TextIO]):
    """Ours among the root logger's handlers, so that configuring twice does not log twice."""

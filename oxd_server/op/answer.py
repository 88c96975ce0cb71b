"""An HTTP answer of the OP, and the first things to ask of it."""

import codecs
import json
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

import msgspec

from oxd_protocol.discreet import Discreet
from oxd_server.op import members
from oxd_server.op.errors import OpErrorResponse, OpInvalidResponse
from oxd_server.op.reach import Zone

__all__ = ["Answer", "decode_json_object", "seconds_member", "text_member", "type_name"]

_MAX_FORM_FIELDS = 100
_FORM_TYPES = ("application/x-www-form-urlencoded", "text/plain")
_CHARSET = re.compile(r'(?i);\s*charset\s*=\s*"?(iso-8859-1|windows-1252)\b')
_ERROR_MEMBERS = ("error", "errors", "error_description", "error_message", "errcode", "errmsg", "message")
"""What an answer that has not what it should have tells its reason in."""

_OAUTH_ERROR = re.compile(r"[a-z_]{3,60}")

_CHALLENGE_ERROR = re.compile(r'(?i)\berror\s*=\s*"?([!#-\[\]-~]{1,100})"?')


class Answer(Discreet, frozen=True):
    """What came back: `headers` with lower-case names, `body` within the size limit, `host` and `step` for reports.

    Attributes:
        zone: where the server lies that answered.
        foreign: it is another server than the one that the OP's metadata came from.
    """

    shows = ("status", "host", "step", "zone", "foreign")

    status: int
    headers: Mapping[str, str]
    body: bytes
    host: str
    step: str
    zone: Zone = Zone.PUBLIC
    foreign: bool = False

    @property
    def content_type(self) -> str:
        """The media type without its parameters, in lower case; empty if none was sent."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def expect(self, *statuses: int) -> None:
        """Pass if the status is one of these.

        Raises:
            OpErrorResponse: the OP reports an error (4xx, 5xx).
            OpInvalidResponse: any other status; a redirect too, for none is followed.
        """
        if self.status in statuses:
            return
        if self.status >= 400:
            raise self.error_response()
        what = "a redirect, which is not followed" if 300 <= self.status < 400 else "unexpected"
        raise self.invalid(f"HTTP status {self.status} is {what}")

    def json_object(self) -> dict[str, object]:
        """The body as a JSON object, whatever content type it was sent with.

        Raises:
            OpInvalidResponse: it is anything else.
        """
        value = self._document()
        if value is None:
            raise self.invalid(f"the answer is not a JSON object ({self.content_type or 'no content type'})")
        return value

    def invalid(self, reason: str, check: str | None = None) -> OpInvalidResponse:
        """The error that says why this answer cannot be used, and which check it failed, where that has a name."""
        return OpInvalidResponse(self.host, self.step, reason, check=check)

    def form_or_json(self) -> dict[str, object]:
        """The body as a JSON object, or as a form, as GitHub and old OAuth servers send it.

        Raises:
            OpInvalidResponse: it is anything else.
        """
        return self._document() or self._form() or self.json_object()

    def _document(self) -> dict[str, object] | None:
        charset = _CHARSET.search(self.headers.get("content-type", ""))
        return decode_json_object(self.body) or _decode_other_json(self.body, charset.group(1) if charset else None)

    def refuse_error(self, body: Mapping[str, object]) -> None:
        """Pass if `body`, which lacks what it should have, tells no reason.

        RFC 6749 section 5.2: "The authorization server responds with an HTTP 400 (Bad Request) status code". Some
        respond with 200, and their words are worth as much.

        Raises:
            OpErrorResponse: it is one.
        """
        if any(body.get(name) for name in _ERROR_MEMBERS):
            raise self.error_response()

    def error_response(self) -> OpErrorResponse:
        """This answer as the OP's error."""
        challenge = _CHALLENGE_ERROR.search(self.headers.get("www-authenticate", ""))
        challenge_error = challenge.group(1) if challenge else None
        text, document = self.body.decode("utf-8", "replace"), decode_json_object(self.body) or self._form()
        if self.foreign:
            # An OP can name any server as an endpoint. What that server says is told only in OAuth's own words.
            text, document = "", _oauth_members(document)
        return OpErrorResponse(self.host, self.step, self.status, text, document, challenge_error=challenge_error)

    def _form(self) -> dict[str, object] | None:
        if self.content_type not in _FORM_TYPES:
            return None
        try:
            return dict(parse_qsl(self.body.decode("ascii"), max_num_fields=_MAX_FORM_FIELDS)) or None
        except ValueError:
            return None


def decode_json_object(data: bytes) -> dict[str, object] | None:
    """The JSON object in `data`, or None if there is anything else. The last of equal names wins."""
    try:
        # RFC 8259 section 8.1: a parser may ignore a byte order mark; files that became an OP's documents have one.
        value = msgspec.json.decode(data.removeprefix(codecs.BOM_UTF8))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _decode_other_json(data: bytes, charset: str | None) -> dict[str, object] | None:
    """The object in what most readers take for JSON, though RFC 8259 does not.

    That is: other encodings, boundless numbers, and a NUL at the end, as programs in C send it.
    """
    try:
        value = json.loads(data.decode(charset or json.detect_encoding(data)).rstrip("\0"))
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair cannot be handed on
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _oauth_members(document: Mapping[str, object] | None) -> dict[str, object] | None:
    """The members of an error answer by RFC 6749 section 5.2; None if it is no such answer."""
    if document is None or not _OAUTH_ERROR.fullmatch(str(document.get("error"))):
        return None
    return {name: document[name] for name in ("error", "error_description", "error_uri") if name in document}


def text_member(answer: Answer, body: Mapping[str, object], name: str) -> str | None:
    """A member that the step needs as a text; None if it is absent or empty.

    Raises:
        OpInvalidResponse: it is of another type.
    """
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise answer.invalid(f"{name} is not a text but {type_name(value)}")
    return value or None


def seconds_member(answer: Answer, body: Mapping[str, object], name: str) -> int | None:
    """A member that is a date in seconds since 1970; None if it is absent or no such date."""
    return members.date(body.get(name))


def type_name(value: object) -> str:
    """What JSON calls a value of this type, for a person."""
    if isinstance(value, bool):
        return "true or false"
    names = {dict: "an object", list: "a list", str: "a text", int: "a number", float: "a number"}
    return names.get(type(value), "null")

"""What holds for all bytes, all chunks and all JSON."""

import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oxd_protocol.catalog import COMMANDS
from oxd_protocol.connection import CLOSED, Connection, Wait
from oxd_protocol.errors import CommandError, FramingError
from oxd_protocol.framing import MAX_RESPONSE_BYTES, FrameReader, FrameTooLong, encode_frame
from oxd_protocol.json_text import decode_object
from oxd_protocol.messages import Response, claims_as_lists, decode_request, encode_response, error_response
from oxd_protocol.params import AnyCommand, decode_params

pytestmark = pytest.mark.hardening

CAP = 200
MAX_CHUNK = 40
HEADER_DIGITS = 6

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)
portable_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)
any_text = st.text(st.characters(exclude_categories=()))  # halves of surrogate pairs included
objects = st.dictionaries(st.text(max_size=5), portable_json, max_size=4)
wire_bytes = st.lists(
    st.binary(max_size=8)
    | st.sampled_from([b"{", b"}", b'"', b"\\", b" ", b"\n", b"0002", b"12", b'{"a":"', b"{}", b'"}']),
    max_size=60,
).map(b"".join)


def _bodies(draw: st.DrawFn, size: int) -> list[bytes]:
    values = draw(st.lists(objects, max_size=size))
    encode = json.JSONEncoder(ensure_ascii=draw(st.booleans()), separators=draw(st.sampled_from([None, (",", ":")])))
    return [body for value in values if len(body := encode.encode(value).encode("utf-8", "replace")) <= CAP]


@st.composite
def frames(draw: st.DrawFn) -> list[tuple[bytes, bytes]]:
    """Draw valid frames and their bodies, with every kind of length that libraries send."""
    result = []
    for body in _bodies(draw, 5):
        text = body.decode()
        length = draw(st.sampled_from([len(body), len(text), len(text.encode("utf-16-le")) // 2]))
        header = draw(st.sampled_from(["", f"{length:03d}", f"{length:04d}", f"{length:05d}"]))
        before, behind = draw(st.sampled_from(["", " ", "\r\n"])), draw(st.sampled_from(["", "\n"]))
        result.append(((before + header).encode() + body + behind.encode(), body))
    return result


@st.composite
def chunks_of(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    """Draw a way of cutting the stream into chunks."""
    chunks = []
    while stream:
        size = draw(st.integers(1, MAX_CHUNK))
        chunks.append(stream[:size])
        stream = stream[size:]
    return chunks


def _drain(reader: FrameReader) -> list[bytes]:
    bodies = []
    while (body := reader.next_frame()) is not None:
        bodies.append(body)
    return bodies


def _read(chunks: list[bytes]) -> tuple[list[bytes], str | None]:
    """Return the bodies and, if the stream broke, the error's code; check the reader's memory on the way."""
    reader = FrameReader(CAP)
    bodies: list[bytes] = []
    for chunk in chunks:
        reader.receive_data(chunk)
        assert len(reader._buffer) <= HEADER_DIGITS + CAP + len(chunk)
        try:
            while (body := reader.next_frame()) is not None:
                assert len(body) <= CAP
                bodies.append(body)
        except FramingError as error:
            assert len(reader._buffer) == 0
            return bodies, error.code
        assert len(reader._buffer) <= HEADER_DIGITS + CAP
    return bodies, None


@given(st.data(), wire_bytes)
@example(None, b'{"a":"\\')
@example(None, b'0009{"a":"}')
def test_any_bytes(data: st.DataObject | None, stream: bytes) -> None:
    """No bytes crash the reader or make it keep more than its cap, and chunks do not change what it reads."""
    whole = _read([stream])
    assert _read([stream[i : i + 1] for i in range(len(stream))]) == whole
    if data is not None:
        assert _read(data.draw(chunks_of(stream))) == whole


@given(st.data(), frames())
def test_valid_frames(data: st.DataObject, sent: list[tuple[bytes, bytes]]) -> None:
    """Valid frames are read one for one, whatever their lengths count and however they are cut."""
    stream = b"".join(frame for frame, _ in sent)
    assert _read(data.draw(chunks_of(stream))) == ([body for _, body in sent], None)


@given(st.data(), frames(), wire_bytes)
def test_valid_frames_before_anything(data: st.DataObject, sent: list[tuple[bytes, bytes]], rest: bytes) -> None:
    """What follows valid frames cannot take them back or change them."""
    stream = b"".join(frame for frame, _ in sent) + rest
    bodies, _ = _read(data.draw(chunks_of(stream)))
    assert bodies[: len(sent)] == [body for _, body in sent]


@given(st.data(), frames())
def test_a_connection_runs_what_it_got(data: st.DataObject, sent: list[tuple[bytes, bytes]]) -> None:
    """A connection runs each frame once and in order, if its peer waits; if it closes, only copies are dropped."""
    connection, now, ran = Connection(CAP), 0.0, []
    for chunk in data.draw(chunks_of(b"".join(frame for frame, _ in sent))):
        connection.receive_data(chunk)
        while not isinstance(event := connection.next_event(now), Wait) or event.until is not None:
            if isinstance(event, bytes):
                ran.append(event)
            else:
                assert isinstance(event, Wait)
                assert event.until is not None
                now = event.until
    assert ran == [body for _, body in sent]
    connection.receive_data(b"")
    assert connection.next_event(now) is CLOSED


@given(wire_bytes, st.booleans())
def test_a_connection_never_crashes(stream: bytes, closes: bool) -> None:
    """Whatever arrives, a connection comes to a wait, a close or a framing error."""
    connection = Connection(CAP, frame_timeout=5, idle_timeout=10)
    connection.receive_data(stream)
    if closes:
        connection.receive_data(b"")
    now = 0.0
    for _ in range(len(stream) + 10):
        try:
            event = connection.next_event(now)
        except FramingError:
            return
        if event is CLOSED:
            return
        if isinstance(event, Wait):
            assert not closes
            assert event.until is not None
            assert event.until > now
            now = event.until
    raise AssertionError("the connection did not come to an end")


@given(objects)
def test_encode_and_decode_are_inverse(value: dict[str, Any]) -> None:
    """What encode_frame makes, the reader takes apart, and the object in it is the same."""
    reader = FrameReader(65536)
    reader.receive_data(encode_frame(json.dumps(value).encode()) * 2)
    first, second = _drain(reader)
    assert first == second
    assert decode_object(first) == value


@st.composite
def bodies_full_of_lengths(draw: st.DrawFn) -> bytes:
    """Draw a body of up to a few bytes too many that contains some of the lengths it could have."""
    size = draw(st.integers(0, 300) | st.integers(9900, MAX_RESPONSE_BYTES + 5))
    near = draw(st.lists(st.integers(size, size + 9), max_size=8))
    return "".join(f"{length:04d}" for length in near).encode().ljust(size, b"x")


@given(st.binary(max_size=100) | bodies_full_of_lengths())
def test_the_length_never_occurs_in_the_body(body: bytes) -> None:
    """A frame's header is its body's length, which the body does not contain; only spaces are added."""
    try:
        frame = encode_frame(body)
    except FrameTooLong:
        assert len(body) > 9000
        return
    header, sent = frame[:4], frame[4:]
    assert int(header) == len(sent) <= MAX_RESPONSE_BYTES
    assert header not in body
    assert sent.rstrip(b" ") == body.rstrip(b" ")


def _is_text_lists(claims: Any) -> bool:
    return all(isinstance(items, list) and all(isinstance(item, str) for item in items) for items in claims.values())


def _check_answer(frame: bytes) -> Any:
    assert re.fullmatch(rb"[0-9]{4}", frame[:4])
    assert int(frame[:4]) == len(frame) - 4 <= MAX_RESPONSE_BYTES
    assert frame[:4] not in frame[4:]
    assert frame.isascii()
    envelope = json.loads(frame[4:])
    assert envelope.keys() == {"status", "data"}
    assert isinstance(envelope["data"], dict)
    return envelope


@given(st.dictionaries(any_text, json_values | any_text | st.lists(any_text), max_size=5))
def test_any_ok_answer(data: dict[str, Any]) -> None:
    """Any data leaves as a frame that every library can read, or as the error that it is too long."""
    envelope = _check_answer(encode_response(Response("ok", data)))
    assert envelope["status"] == "ok"


@given(any_text, st.none() | st.dictionaries(any_text, json_values, max_size=3), st.integers(0, 5000))
def test_any_error_answer(description: str, details: dict[str, Any] | None, times: int) -> None:
    """Any error keeps its code, has a text and nothing but the three keys, and fits."""
    error = CommandError("http_status_400", description * times, details)
    envelope = _check_answer(encode_response(error_response(error)))
    assert envelope["status"] == "error"
    assert envelope["data"].keys() == {"error", "error_description", "details"}
    assert envelope["data"]["error"] == "http_status_400"


@given(portable_json)
def test_an_answer_says_what_was_said(value: Any) -> None:
    """Data that fits arrives unchanged."""
    assert _check_answer(encode_response(Response("ok", {"x": value})))["data"] == {"x": value}


@given(st.dictionaries(st.text(), json_values | any_text, max_size=5))
def test_any_claims(claims: dict[str, Any]) -> None:
    """Any claims become lists of texts, those that are null left out."""
    lists = claims_as_lists(claims)
    assert lists.keys() == {name for name, value in claims.items() if value is not None}
    assert _is_text_lists(lists)


@given(st.binary(max_size=100) | wire_bytes | json_values.map(lambda value: json.dumps(value).encode()))
@example(b'{"command":"x","params":{"a":NaN}}')
@example(b'{"a":"\\ud800","b":NaN}')
@example(b'{"a":' + b"9" * 5000 + b"}")
@example(b'{"a":"\xff","b":-1e999}')
def test_any_body(body: bytes) -> None:
    """Any body is a request, no request, or no JSON object: never anything else."""
    try:
        request = decode_request(body)
    except (FramingError, CommandError) as error:
        _check_answer(encode_response(error_response(error)))
    else:
        assert request.command.strip()


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.unsupported is None], ids=lambda command: command.name)
@given(data=st.data())
def test_any_params(command: AnyCommand, data: st.DataObject) -> None:
    """Any JSON as params is typed params or an error with a code."""
    keys = sorted(command.fields.readers)
    structs = st.dictionaries(
        st.sampled_from(["path", "conditions", "httpMethods", "scopes", "ticketScopes", "scope_expression"]),
        json_values,
    )
    values = json_values | any_text | structs | st.lists(structs, max_size=3)
    raw = data.draw(st.dictionaries(st.sampled_from([*keys, "unknown"]) | st.text(max_size=3), values, max_size=8))
    for name in command.fields.required:
        raw.setdefault(name, data.draw(st.text(min_size=1, max_size=5) | json_values))
    try:
        params = decode_params(command, raw)
    except CommandError as error:
        _check_answer(encode_response(error_response(error)))
    else:
        assert isinstance(params, command.params)

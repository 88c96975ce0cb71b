"""The golden frames in ``protocol/vectors``, both directions, all of them."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from oxd_protocol.catalog import find_command
from oxd_protocol.connection import CLOSED, Connection, Wait
from oxd_protocol.errors import CommandError, FramingError
from oxd_protocol.messages import Request, Response, decode_request, encode_response
from oxd_protocol.params import decode_params

VECTORS = Path(__file__).parents[3] / "protocol" / "vectors"


def _load(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text("ascii"))


REQUESTS, CONNECTIONS, RESPONSES = _load("requests"), _load("connections"), _load("responses")


def _each(document: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", document["vectors"], ids=[v["name"] for v in document["vectors"]])


def _given(struct: msgspec.Struct) -> dict[str, Any]:
    """Return what was given: the fields that differ from their defaults, under their names on the wire."""
    given = {}
    for field in msgspec.structs.fields(struct):
        value = getattr(struct, field.name)
        if field.required or value not in (field.default, (), {}):
            given[field.encode_name] = _plain(value)
    return given


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return _given(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _understood(request: Request) -> dict[str, Any]:
    command = find_command(request.command)
    if command is None or command.unsupported:
        return {"error": "unsupported_operation"}
    return {"command": command.name, "params": _given(decode_params(command, request.params))}


def _run(data: bytes, max_frame_bytes: int) -> tuple[list[Any], str | None]:
    """Return what the requests come to, and the code of the error with which the connection closes, if it does."""
    connection = Connection(max_frame_bytes)
    connection.receive_data(data)
    requests: list[Any] = []
    now = 0.0
    try:
        while not isinstance(event := connection.next_event(now), Wait) or event.until is not None:
            if isinstance(event, bytes):
                try:
                    requests.append(_understood(decode_request(event)))
                except CommandError as error:
                    requests.append({"error": error.code})
            else:
                assert isinstance(event, Wait)
                assert event.until is not None
                now = event.until  # the peer stays: copies run
    except FramingError as error:
        return requests, error.code
    return requests, None


@_each(REQUESTS)
def test_requests(vector: Any) -> None:
    """The bytes come to the commands, typed params and errors that the vector says, and close the connection or not."""
    given = vector["input"]
    data = given["text"].encode("ascii") if "text" in given else bytes.fromhex(given["hex"])
    assert _run(data, REQUESTS["max_frame_bytes"]) == (vector["requests"], vector["closes"])


def _described(connection: Connection, now: float) -> dict[str, Any]:
    try:
        event = connection.next_event(now)
    except FramingError as error:
        return {"time": now, "server": "fails", "error": error.code}
    if event is CLOSED:
        return {"time": now, "server": "closes"}
    if isinstance(event, Wait):
        return {"time": now, "server": "waits", "until": event.until}
    assert isinstance(event, bytes)
    return {"time": now, "server": "runs", "oxd_id": decode_request(event).params["oxd_id"]}


@_each(CONNECTIONS)
def test_connections(vector: Any) -> None:
    """The conversation goes as the vector says, step by step."""
    connection = Connection(REQUESTS["max_frame_bytes"])
    for step in vector["steps"]:
        if step.get("peer") == "sends":
            connection.receive_data(step["data"].encode("ascii"))
        elif step.get("peer") == "closes":
            connection.receive_data(b"")
        else:
            assert _described(connection, step["time"]) == step


@_each(RESPONSES)
def test_responses(vector: Any) -> None:
    """The envelope leaves as exactly these bytes."""
    response = Response(vector["status"], vector["data"], vector.get("recomputable"))
    assert encode_response(response).decode("ascii") == vector["frame"]


@_each(RESPONSES)
def test_a_client_reads_responses(vector: Any) -> None:
    """A client that reads four digits and as many bytes finds an envelope, and the whole one where it fitted."""
    frame = vector["frame"]
    assert len(frame) == 4 + int(frame[:4])
    envelope = json.loads(frame[4:])
    assert envelope["status"] in ("ok", "error")
    if vector["name"] not in ("claims_left_out", "too_long", "long_error"):
        assert envelope == {"status": vector["status"], "data": vector["data"]}


@pytest.mark.parametrize("document", [REQUESTS, CONNECTIONS, RESPONSES], ids=["requests", "connections", "responses"])
def test_vectors_are_named(document: Any) -> None:
    """Each vector has a name of its own and a sentence about it."""
    names = [vector["name"] for vector in document["vectors"]]
    assert len(names) == len(set(names))
    assert all(vector["about"].endswith((".", ".)")) for vector in document["vectors"])

"""What the libraries really sent, byte for byte: every recorded socket frame is understood."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from oxd_protocol.catalog import find_command
from oxd_protocol.connection import CLOSED, Connection
from oxd_protocol.errors import CommandError
from oxd_protocol.framing import FrameReader
from oxd_protocol.json_text import decode_object
from oxd_protocol.messages import decode_request
from oxd_protocol.params import Params, decode_params
from oxd_protocol.uma import Condition, Resource

CAPTURES = Path(__file__).parents[2] / "captures"
CAP = 65536
SITE_ID = "6F9619FF-8B86-D011-B42D-00CF4FC964FF"


class Recorded(NamedTuple):
    library: str
    command: str
    raw: bytes
    connection: int


def _records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _load(path: Path) -> list[Recorded]:
    return [
        Recorded(
            path.stem,
            record["command"],
            bytes.fromhex(record["raw_hex"]) if record.get("raw_hex") else record["raw"].encode(),
            record["conn"],
        )
        for record in _records(path)
        if "http" not in record  # some libraries use the socket here and there in their HTTPS mode, too
    ]


FRAMES = [frame for path in sorted(CAPTURES.glob("*.jsonl")) for frame in _load(path)]


def _connections() -> dict[str, list[Recorded]]:
    connections: dict[str, list[Recorded]] = {}
    for frame in FRAMES:
        connections.setdefault(f"{frame.library}-{frame.connection}", []).append(frame)
    return connections


CONNECTIONS = _connections()
each_frame = pytest.mark.parametrize(
    "frame", FRAMES, ids=[f"{frame.library}-{frame.connection}-{frame.command}" for frame in FRAMES]
)
each_connection = pytest.mark.parametrize("frames", CONNECTIONS.values(), ids=CONNECTIONS)


def _body(frame: Recorded) -> bytes:
    return frame.raw[frame.raw.index(b"{") :]


def _read(chunks: Iterable[bytes]) -> list[bytes]:
    reader = FrameReader(CAP)
    bodies = []
    for chunk in chunks:
        reader.receive_data(chunk)
        while (body := reader.next_frame()) is not None:
            bodies.append(body)
    assert not reader.mid_frame
    return bodies


def _params(frame: Recorded) -> Params:
    request = decode_request(_body(frame))
    command = find_command(request.command)
    assert command is not None
    params: Params = decode_params(command, request.params)
    return params


def test_every_library_is_there() -> None:
    """The recordings of all six libraries are read."""
    assert {frame.library for frame in FRAMES} == {"go", "java", "node", "php", "php-https", "python", "ruby"}
    assert len(FRAMES) > 130


@each_frame
def test_whole(frame: Recorded) -> None:
    """The frame as recorded is one frame, and its body is all of its JSON object."""
    assert _read([frame.raw]) == [_body(frame)]


@each_frame
def test_split_at_every_byte(frame: Recorded) -> None:
    """Wherever it is split, and byte by byte, the frame is the same."""
    step = 1 if len(frame.raw) < 2000 else 97
    for cut in range(1, len(frame.raw), step):
        assert _read([frame.raw[:cut], frame.raw[cut:]]) == [_body(frame)]
    assert _read(frame.raw[i : i + 1] for i in range(len(frame.raw))) == [_body(frame)]


@each_connection
def test_with_its_neighbours(frames: list[Recorded]) -> None:
    """All frames of a connection are read in their order, from one segment and from overlapping ones."""
    stream = b"".join(frame.raw for frame in frames)
    bodies = [_body(frame) for frame in frames]
    assert _read([stream]) == bodies
    for size in (1, 7, 1460):
        assert _read(stream[i : i + size] for i in range(0, len(stream), size)) == bodies


@each_connection
def test_its_connection(frames: list[Recorded]) -> None:
    """Each command of a connection runs once, in order; the copies that PHP sends never run."""
    connection = Connection(CAP)
    for frame in frames:
        connection.receive_data(frame.raw)
    connection.receive_data(b"")
    ran = []
    while isinstance(event := connection.next_event(0.0), bytes):
        ran.append(event)
    assert event is CLOSED
    bodies = [_body(frame) for frame in frames]
    assert ran == list(dict.fromkeys(bodies))
    assert len(ran) < len(bodies) or not frames[0].library.startswith("php")


@each_frame
def test_the_command_is_known(frame: Recorded) -> None:
    """The recorded command is found, its params are those that were recorded, and all of them are understood."""
    request = decode_request(_body(frame))
    assert request.command == frame.command
    assert request.params == json.loads(_body(frame)).get("params", {})
    if request.command == "get_user_info" and "oxd_id" not in request.params:
        with pytest.raises(CommandError, match="'oxd_id' is missing or blank"):
            _params(frame)
    else:
        assert _params(frame)


@pytest.mark.parametrize("path", sorted(CAPTURES.glob("*-https.jsonl")), ids=lambda path: path.stem)
def test_https_bodies(path: Path) -> None:
    """What the libraries send over HTTPS are the same params, for the command that the path names."""
    requests = [record for record in _records(path) if record.get("http") == "POST"]
    for request in requests:
        command = find_command(request["path"].strip("/").replace("-", "_"))
        assert command is not None, request["path"]
        raw = decode_object(request["raw"].encode())
        if command.name == "get_user_info" and "oxd_id" not in raw:
            with pytest.raises(CommandError, match="'oxd_id' is missing or blank"):
                decode_params(command, raw)
        else:
            assert decode_params(command, raw)
    assert requests


def _first(library: str, command: str, containing: bytes = b"") -> Any:
    return _params(
        next(f for f in FRAMES if (f.library, f.command) == (library, command) and containing in f.raw)
    )  # fmt: skip


def test_go_register_site() -> None:
    """Go's client_logout_uris arrive under the documented name (row 18)."""
    params = _first("go", "register_site", b"client_logout_uris")
    assert params.client_frontchannel_logout_uris == ("https://rp/l",)
    assert params.scope == ("openid",)


def test_go_setup_client() -> None:
    """Go's blank texts and nulls are absent, its escapes and raw UTF-8 are text (rows 9, 10)."""
    params = _first("go", "setup_client")
    assert params.authorization_redirect_uri == "https://rp.example.com/cb?a=1&b=2"
    assert params.client_name == "Jörg Ж"
    assert params.oxd_rp_programming_language == "GO"
    assert (params.client_id, params.client_secret, params.application_type, params.contacts) == (None, None, None, ())


def test_go_update_site() -> None:
    """Go's zero date for client_secret_expires_at is absent (row 19)."""
    assert _first("go", "update_site", b"0001-01-01").client_secret_expires_at == 0


def test_go_custom_parameters() -> None:
    """Go's CustomParameters are custom_parameters (row 13)."""
    assert _first("go", "get_authorization_url", b'"CustomParameters":{').custom_parameters == {"a": "b"}


def test_go_rpt() -> None:
    """Go's access_token is the rpt in uma_rp_get_rpt (row 14)."""
    params = _first("go", "uma_rp_get_rpt", b"access_token")
    assert (params.ticket, params.rpt, params.scope) == ("t", "old", ("s",))


def test_go_conditions() -> None:
    """Go's nulls within UMA conditions are absent (row 21)."""
    assert _first("go", "uma_rs_protect").resources == (
        Resource(
            path="/p",
            conditions=(
                Condition(http_methods=("GET",), scopes=("s",)),
                Condition(http_methods=("PUT",), scope_expression={"rule": {"and": []}, "data": ["s"]}),
            ),
        ),
        Resource(path="/q"),
    )


def test_go_beyond_four_digits() -> None:
    """Go's frame with a five-digit length is read to its end (row 5)."""
    assert len(_first("go", "get_user_info", b"12133{").access_token) == 12_000


def test_java_nulls() -> None:
    """Java's nulls are absent, its emoji is text, though its length counts UTF-16 units (rows 6, 9)."""
    params = _first("java", "setup_client")
    assert params.client_name == "Jörg Ж 😀"
    assert params.trusted_client is False
    assert params.op_discovery_path is None
    assert _first("java", "update_site").client_secret_expires_at == 0
    assert _first("java", "uma_rs_check_access").rpt is None


def test_node_settings() -> None:
    """Node's host and port among the params are ignored (row 25)."""
    params = _first("node", "update_site", b'"port"')
    assert (params.oxd_id, params.scope) == (SITE_ID, ("openid",))


def test_php_blanks() -> None:
    """PHP's [""], nulls and blank texts are absent (rows 9, 10, 11)."""
    params = _first("php", "setup_client")
    assert (params.acr_values, params.client_jwks_uri, params.contacts, params.client_id) == ((), None, (), None)
    assert params.client_name == "Jörg"
    assert _first("php", "uma_rs_protect").overwrite is None


def test_php_date() -> None:
    """PHP's client_secret_expires_at is taken as milliseconds (row 19)."""
    assert _first("php", "update_site").client_secret_expires_at == 3080736637943


def test_php_three_digits() -> None:
    """PHP's three-digit length is read (row 2)."""
    assert _first("php", "introspect_rpt", b"099{").rpt == "rpt"


def test_python_lists() -> None:
    """Python's list of sector identifiers gives its first, and params before the command are found (rows 8, 16)."""
    params = _first("python", "setup_client")
    assert params.client_sector_identifier_uri == "https://rp.example.com/sector"
    assert params.acr_values == ("basic", "duo")
    assert params.claims_redirect_uri == ("https://rp.example.com/claims",)


def test_python_custom_parameters() -> None:
    """Python's numbers among the custom parameters become text."""
    params = _first("python", "get_authorization_url", b"custom_parameters")
    assert params.custom_parameters == {"a": "é", "n": "1"}
    assert params.scope == ("openid", "profïle")


def test_python_overwrite() -> None:
    """Python's true is true (row 20)."""
    assert _first("python", "uma_rs_protect", b"overwrite").overwrite is True


def test_ruby_text() -> None:
    """Ruby's raw UTF-8 is text, though its length counts code points (row 6)."""
    assert _first("ruby", "register_site").client_name == "Jörg Ж 😀 <a&b>"


def test_ruby_blanks() -> None:
    """Ruby's blank texts and empty lists are absent (rows 10, 11)."""
    params = _first("ruby", "register_site")
    assert (params.client_jwks_uri, params.client_request_uris, params.ui_locales) == (None, (), ())
    assert _first("ruby", "uma_rs_check_access").rpt is None

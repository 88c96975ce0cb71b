"""``protocol/README.md`` is true: its frames, commands, parameters and error codes are those of the package."""

import json
import re
import types
import typing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from oxd_protocol.catalog import COMMANDS, find_command
from oxd_protocol.errors import ERROR_CODES
from oxd_protocol.framing import FrameReader
from oxd_protocol.messages import Response, decode_request, encode_response
from oxd_protocol.params import AnyCommand, Milliseconds, decode_params
from oxd_protocol.site_metadata import SiteMetadata
from oxd_protocol.uma import Resource

README = (Path(__file__).parents[3] / "protocol" / "README.md").read_text("utf-8")
COMMAND_HEADER = "| Command | What it does | Required | Optional | Response |"
PARAMETER_HEADER = "| Parameter | Type | Meaning |"
SITE_METADATA = "*site metadata*"
PROTECTION = {"protection_access_token", "authorization_oxd_id"}

LINES = [line for block in re.findall(r"```frames\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
EXCHANGES = list(zip(LINES[::2], LINES[1::2], strict=True))


def _tables(header: str) -> list[list[list[str]]]:
    """Return the rows of each table with this header, as lists of cells."""
    tables = []
    for part in README.split(header + "\n")[1:]:
        rows = re.match(r"\|[-|]+\|\n((?:\|.*\|\n)+)", part)
        assert rows is not None
        tables.append([[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[1].splitlines()])
    return tables


def _names(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


COMMAND_ROWS = {row[0].strip("`"): row[1:] for table in _tables(COMMAND_HEADER) for row in table}
METADATA_TABLE, OTHER_TABLE = (
    {row[0].strip("`"): row[1] for row in table} for table in _tables(PARAMETER_HEADER)
)  # fmt: skip
SUPPORTED = [command for command in COMMANDS if command.unsupported is None]
each_supported = pytest.mark.parametrize("command", SUPPORTED, ids=lambda command: command.name)


def _type(hint: Any) -> str:
    """Return the README's word for a field's type."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (hint,) = (arm for arm in typing.get_args(hint) if arm is not type(None))
    if typing.get_origin(hint) is typing.Annotated:
        milliseconds = set(typing.get_args(Milliseconds)[1:])
        return "integer" if milliseconds & set(hint.__metadata__) else _type(hint.__origin__)
    words: dict[Any, str] = {
        int: "integer",
        str: "text",
        bool: "flag",
        dict[str, Any]: "object",
        tuple[str, ...]: "list",
        tuple[Resource, ...]: "resources",
    }
    return words.get(hint, "map" if hint == dict[str, str] else "")


def _metadata_names() -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(SiteMetadata)} - PROTECTION


@pytest.mark.parametrize(("sent", "answered"), EXCHANGES)
def test_frames(sent: str, answered: str) -> None:
    """Every example is a request with valid params and an answer, each exactly as it would be on the wire."""
    assert (sent[:3], answered[:3]) == ("C: ", "S: ")
    frame = sent[3:].encode("ascii")
    assert len(frame) == 4 + int(frame[:4])
    reader = FrameReader(65536)
    reader.receive_data(frame)
    body = reader.next_frame()
    assert body == frame[4:]
    request = decode_request(body)
    command = find_command(request.command)
    assert command is not None
    assert decode_params(command, request.params)
    envelope = json.loads(answered[7:])
    assert encode_response(Response(envelope["status"], envelope["data"])).decode("ascii") == answered[3:]
    if envelope["status"] == "ok":
        assert set(envelope["data"]) <= {field.encode_name for field in msgspec.structs.fields(command.result)}
        assert msgspec.convert(envelope["data"], command.result)
    else:
        assert envelope["data"].keys() == {"error", "error_description", "details"}
        assert envelope["data"]["error"] in ERROR_CODES


def test_there_are_frames() -> None:
    """The examples are found."""
    assert len(EXCHANGES) >= 10


def test_all_commands() -> None:
    """The command tables name every command, and the last one those that are no more, with what to use instead."""
    assert COMMAND_ROWS.keys() == {command.name for command in SUPPORTED}
    (gone,) = _tables("| Command | Instead |")
    assert {row[0].strip("`"): row[1] for row in gone} == {
        command.name: command.unsupported for command in COMMANDS if command.unsupported
    }


@each_supported
def test_params(command: AnyCommand) -> None:
    """A command's row names its required and optional params, all of them and no others."""
    _, required, optional, _ = COMMAND_ROWS[command.name]
    fields = msgspec.structs.fields(command.params)
    assert _names(required) == {field.encode_name for field in fields if field.required}
    expected = {field.encode_name for field in fields if not field.required} - PROTECTION
    is_metadata = issubclass(command.params, SiteMetadata)
    assert (SITE_METADATA in optional) is is_metadata
    assert _names(optional) | (_metadata_names() if is_metadata else set()) == expected


@each_supported
def test_answers(command: AnyCommand) -> None:
    """A command's row names the keys of its answer."""
    assert _names(COMMAND_ROWS[command.name][3]) == {
        field.encode_name for field in msgspec.structs.fields(command.result)
    }  # fmt: skip


@each_supported
def test_types(command: AnyCommand) -> None:
    """Each parameter's type is the one in the tables."""
    is_metadata = issubclass(command.params, SiteMetadata)
    hints = typing.get_type_hints(command.params, include_extras=True)
    for field in msgspec.structs.fields(command.params):
        table = METADATA_TABLE if is_metadata and field.encode_name in _metadata_names() else OTHER_TABLE
        own = f"{field.encode_name}` of `{command.name}"
        assert table.get(own, table[field.encode_name]) == _type(hints[field.name])


def test_parameter_tables() -> None:
    """The parameter tables name nothing that no command takes."""
    assert METADATA_TABLE.keys() == _metadata_names()
    taken = {field.encode_name for command in SUPPORTED for field in msgspec.structs.fields(command.params)}
    assert {name.partition("`")[0] for name in OTHER_TABLE} <= taken


def test_error_codes() -> None:
    """The error table is the package's."""
    (rows,) = _tables("| Code | Description, where nothing better is known |")
    assert {code.strip("`"): description for code, description in rows} == dict(ERROR_CODES)


def test_aliases() -> None:
    """Every alias of a parameter is on the page."""
    aliases = {alias for command in COMMANDS for alias in command.aliases}
    assert {alias for alias in aliases if f"`{alias}`" not in README} == set()

"""Fuzz target: the params of every command, from JSON to typed params.

Whatever JSON comes: nothing but ``FramingError`` and ``CommandError`` is raised, every error can be answered, and typed
params never show what they hold.
"""

from __future__ import annotations

import json

from oxd_protocol.catalog import COMMANDS
from oxd_protocol.errors import CommandError, FramingError
from oxd_protocol.json_text import decode_object
from oxd_protocol.params import AnyCommand, decode_params
from scripts.hardening.fuzz_input import Source, captured, check_error

__all__ = ["DICTIONARY", "check", "seeds"]

DICTIONARY = sorted({f'"{key}":'.encode() for command in COMMANDS for key in command.fields.readers})
_COMMANDS = [command for command in COMMANDS if command.unsupported is None]
_AS_JSON, _AS_VALUES = 0, 1
# What stands inside of parameters: UMA resources with their conditions and expressions.
_INNER = ("path", "conditions", "httpMethods", "scopes", "ticketScopes", "scope_expression", "rule", "data", "var",
          "and", "or", "!")  # fmt: skip


def seeds() -> list[bytes]:
    """What real clients send, as JSON; and a few bytes for every command, from which values are made."""
    names = [command.name for command in _COMMANDS]
    found = [capture for capture in captured("") if capture["command"] in names and "raw" in capture]
    bodies = [json.loads(capture["raw"][capture["raw"].index("{") :]) for capture in found]
    sent = {json.dumps([body["command"].lower(), body["params"]]) for body in bodies if "params" in body}
    as_json = [
        bytes((names.index(name), _AS_JSON)) + json.dumps(params).encode()
        for name, params in map(json.loads, sorted(sent))
        if name in names
    ]
    as_values = [bytes((number, _AS_VALUES)) + bytes(range(60)) for number in range(len(names))]
    return as_json + as_values


def check(data: bytes) -> None:
    """Run one input; anything raised is a finding."""
    source = Source(data)
    command = source.choose(_COMMANDS)
    try:
        params = decode_object(source.rest()) if source.byte() % 2 == _AS_JSON else source.mapping(_keys(command))
        decoded = decode_params(command, params)
    except (FramingError, CommandError) as error:
        check_error(error)
        return
    assert repr(decoded) == f"{type(decoded).__name__}(...)", "params show what they hold"
    assert decode_params(command, params) == decoded


def _keys(command: AnyCommand) -> list[str]:
    return [*command.fields.readers, *_INNER]

"""Params as a command decodes them, the required ones filled in."""

from typing import Any

import pytest

from oxd_protocol.catalog import find_command
from oxd_protocol.errors import CommandError
from oxd_protocol.params import Params, decode_params

__all__ = ["decoded", "fields_of", "refused"]

REQUIRED: dict[str, dict[str, Any]] = {
    "get_client_token": {"client_id": "c", "op_host": "https://op"},
    "uma_rs_protect": {"resources": [{"path": "/p"}]},
    "uma_rs_check_access": {"path": "/p", "http_method": "GET"},
    "uma_rp_get_rpt": {"ticket": "t"},
    "introspect_access_token": {"access_token": "at"},
}


def decoded(command: str, **raw: Any) -> Any:
    """Decode params, the required ones filled in where the test does not name them."""
    found = find_command(command)
    assert found is not None
    ids = {"oxd_id": "id"} if "oxd_id" in found.params.__struct_fields__ else {}
    return decode_params(found, {**ids, **REQUIRED.get(command, {}), **raw})


def fields_of(params: Params) -> dict[str, Any]:
    return {name: getattr(params, name) for name in params.__struct_fields__}


def refused(command: str, **raw: Any) -> CommandError:
    with pytest.raises(CommandError) as caught:
        decoded(command, **raw)
    return caught.value

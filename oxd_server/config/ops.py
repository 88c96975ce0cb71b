"""The kinds of what is set for single OPs."""

from typing import Any, Final

import msgspec

from oxd_server.config.kinds import Kind
from oxd_server.op.settings import EXCEPTIONS, OpException, OpSettings

__all__ = ["OP_EXCEPTIONS", "OP_SETTINGS"]


def _settings(value: Any) -> OpSettings:
    try:
        return msgspec.convert(value, OpSettings)
    except msgspec.ValidationError as error:
        raise ValueError from error


def _exceptions(value: Any) -> tuple[OpException, ...]:
    try:
        return msgspec.convert(value, tuple[OpException, ...])
    except msgspec.ValidationError as error:
        raise ValueError from error


OP_SETTINGS: Final = Kind(
    "an object with any of issuer (a text), assertion_audience (token_endpoint or issuer), fapi_enabled (true or "
    "false), trusted_audiences (a list of texts), logout_parameters (an object of texts), exceptions (as in "
    "op_exceptions)",
    _settings,
)
OP_EXCEPTIONS: Final = Kind(f"a list of {' and '.join(EXCEPTIONS)}", _exceptions)

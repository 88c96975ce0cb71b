"""A command to the HTTPS front: the same as over the socket, as a POST request."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import trio

from oxd_server.cli.errors import CliError
from oxd_server.op.errors import OpError
from oxd_server.op.tls import make_ssl_context
from oxd_server.op.transport import Transport, TransportSettings

__all__ = ["call_over_https"]

_MAX_BYTES: Final = 1_000_000
_BAD_REQUEST: Final = 400


async def call_over_https(
    url: str, command: str, params: Mapping[str, Any], *, token: str | None, ca_file: Path | None, timeout: float
) -> tuple[Any, bool]:
    """Send a command to the front at ``url``; return its answer, and whether the command succeeded.

    Args:
        url: where the front is, with ``https://``.
        command: as in the protocol, for example ``get_rp``.
        params: its params.
        token: a protection access token.
        ca_file: certificates to trust besides the system's.
        timeout: seconds for everything.

    Raises:
        CliError: there is no answer, or it is none of a front.
        KeyFileError: ``ca_file`` cannot be used.
    """
    settings = TransportSettings(
        ssl_context=await trio.to_thread.run_sync(make_ssl_context, ca_file),
        connect_timeout=timeout,
        read_timeout=timeout,
        total_timeout=timeout,
        max_response_bytes=_MAX_BYTES,
    )
    headers = None if token is None else {"Authorization": f"Bearer {token}"}
    target = f"{url.rstrip('/')}/{command.replace('_', '-')}"
    try:
        async with Transport(settings) as transport:
            answer = await transport.send("POST", target, step=command, headers=headers, json=params)
        value = json.loads(answer.body)
    except OpError as error:
        raise CliError(str(error)) from None
    except (ValueError, RecursionError):
        raise CliError(
            f"{target} answered with HTTP status {answer.status} and no JSON: no oxd server is there"
        ) from None
    failed = answer.status >= _BAD_REQUEST or (isinstance(value, dict) and value.get("status") == "error")
    return value, not failed

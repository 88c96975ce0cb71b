"""``health``: whether the server on this machine answers."""

import argparse
from typing import Final

import trio

from oxd_server.cli.errors import CliError
from oxd_server.cli.options import Commands, add_config, loaded

__all__ = ["add"]

_SECONDS: Final = 5.0
_NOBODY: Final = "00000000-0000-0000-0000-000000000000"
_UNFIT: Final = ("server_busy", "storage_unavailable", "internal_error")


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "health",
        help="tell whether the server on this machine answers",
        description="Ask the server's socket for a site that there is not. Exit code 0: it answered, and its store "
        "with it. 1: it did not, or it is not fit for work; one line says why.",
    )
    add_config(parser)
    parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    parser.add_argument("--port", type=int, help="default: that of the configuration")
    parser.add_argument("--timeout", type=float, default=_SECONDS, metavar="SECONDS", help="default: %(default)g")
    parser.set_defaults(run=_health)


def _health(options: argparse.Namespace) -> int:
    from oxd_protocol.client import OxdUnreachable
    from oxd_protocol.client.with_trio import OxdClient

    port = options.port or loaded(options).config.port
    try:
        client = OxdClient(options.host, port, options.timeout)
        answer = trio.run(client.call, "get_rp", {"oxd_id": _NOBODY})
    except OxdUnreachable as error:
        raise CliError(str(error)) from None
    data = answer.get("data")
    code = data.get("error") if isinstance(data, dict) else None
    if code in _UNFIT:
        raise CliError(f"the server answers {code}")
    print("The server answers.")
    return 0

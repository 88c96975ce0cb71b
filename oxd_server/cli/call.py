"""``call``: sends one command to a running server."""

import argparse
import json
import sys

import trio

from oxd_server.cli.errors import CliError
from oxd_server.cli.options import DEFAULT_PORT, Commands
from oxd_server.cli.output import print_json

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "call",
        help="send one command to a running server",
        description="Send one command to a running server and print its answer. Exit code 0 if its status is ok.",
        epilog="example: oxd-server call get_rp '{\"list\": true}'",
    )
    parser.add_argument("command", metavar="COMMAND", help="for example get_authorization_url")
    parser.add_argument("params", metavar="PARAMS", nargs="?", default="{}", help="the params as a JSON object")
    parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="default: %(default)s")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="default: %(default)g")
    parser.set_defaults(run=_call)


def _call(options: argparse.Namespace) -> int:
    from oxd_protocol.client import OxdUnreachable
    from oxd_protocol.client.with_trio import OxdClient

    try:
        params = json.loads(options.params)
    except (ValueError, RecursionError) as error:
        raise CliError(f"PARAMS is not JSON: {error}") from None
    if not isinstance(params, dict):
        raise CliError("PARAMS must be a JSON object")
    try:
        client = OxdClient(options.host, options.port, options.timeout)
        answer = trio.run(client.call, options.command, params)
    except OxdUnreachable as error:
        raise CliError(str(error)) from None
    print_json(answer, sys.stdout)
    return 0 if answer.get("status") == "ok" else 1

"""``call``: sends one command to a running server."""

import argparse
import sys
from pathlib import Path
from typing import Any

import trio

from oxd_server.cli.errors import CliError
from oxd_server.cli.options import DEFAULT_PORT, Commands
from oxd_server.cli.output import add_output, output_of, print_json
from oxd_server.cli.params import FORMS, read_params, read_secret, secrets_typed

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "call",
        help="send one command to a running server",
        description="Send one command to a running server and print its answer. Exit code 0 if the command succeeded.",
        epilog="example: oxd-server call get_rp list:=true",
    )
    parser.add_argument("command", metavar="COMMAND", help="for example get_authorization_url")
    parser.add_argument("params", metavar="PARAM", nargs="*", default=[], help=FORMS)
    parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="default: %(default)s")
    elsewhere = parser.add_mutually_exclusive_group()
    elsewhere.add_argument("--unix", type=Path, metavar="PATH", help="the server's Unix socket, instead of a port")
    elsewhere.add_argument("--https", metavar="URL", help="the HTTPS front: https://oxd.example.org:8443")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="holds a protection access token")
    parser.add_argument(
        "--ca-file", type=Path, metavar="FILE", help="certificates to trust besides the system's, with --https"
    )
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="default: %(default)g")
    add_output(parser)
    parser.set_defaults(run=_call)


def _call(options: argparse.Namespace) -> int:
    params = read_params(options.params, sys.stdin.buffer)
    if secrets := secrets_typed(options.params):
        print(
            f"warning: everybody on this machine can read a command line, and with it {', '.join(secrets)}: "
            f"write {secrets[0]}=@FILE, or give the params over standard input (-)",
            file=sys.stderr,
        )
    token = None if options.token_file is None else read_secret(options.token_file)
    with output_of(options) as stream:
        answer, succeeded = (
            _over_socket(options, params, token) if options.https is None else _over_https(options, params, token)
        )
        print_json(answer, stream)
    return 0 if succeeded else 1


def _over_socket(options: argparse.Namespace, params: dict[str, Any], token: str | None) -> tuple[Any, bool]:
    from oxd_protocol.client import OxdUnreachable
    from oxd_protocol.client.with_trio import OxdClient

    if token is not None:
        params["protection_access_token"] = token
    client = OxdClient(options.host, options.port, options.timeout, options.unix)
    try:
        exchange = trio.run(client.exchange, options.command, params)
    except OxdUnreachable as error:
        raise CliError(str(error)) from None
    return exchange.envelope, exchange.ok


def _over_https(options: argparse.Namespace, params: dict[str, Any], token: str | None) -> tuple[Any, bool]:
    from functools import partial

    from oxd_server.cli.over_https import call_over_https

    if not options.https.startswith("https://") or "@" in options.https:
        raise CliError("--https takes a URL such as https://oxd.example.org:8443; tokens come from --token-file")
    return trio.run(
        partial(
            call_over_https,
            options.https,
            options.command,
            params,
            token=token,
            ca_file=options.ca_file,
            timeout=options.timeout,
        )
    )

"""``sandbox``: runs an OP and a demo application for trying things out."""

import argparse
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import trio

from oxd_server.cli.errors import CliError, text_of_first
from oxd_server.cli.options import DEFAULT_PORT, Commands
from oxd_server.log import configure_logging

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "sandbox",
        help="run an OpenID provider and a demo application for trying things out",
        description="Run an OpenID provider with ready-made users, and a demo application that logs in through a "
        "running server. On loopback only, in memory only: for trying things out.",
    )
    parser.add_argument("--port", type=int, default=8100, help="of the OpenID provider; default: %(default)s")
    parser.add_argument("--demo-port", type=int, default=8101, help="of the demo application; default: %(default)s")
    parser.add_argument(
        "--bind", default="127.0.0.1", metavar="ADDRESS", help="a loopback address; default: %(default)s"
    )
    parser.add_argument("--oxd-host", default="127.0.0.1", help="where the server is; default: %(default)s")
    parser.add_argument("--oxd-port", type=int, default=DEFAULT_PORT, help="default: %(default)s")
    parser.add_argument("--jwt-tokens", action="store_true", help="access tokens and RPTs are JWTs")
    parser.add_argument(
        "--certificate",
        type=Path,
        metavar="PATH",
        help="PEM with a certificate for localhost and its key: the provider speaks TLS",
    )
    parser.set_defaults(run=_sandbox)


def _sandbox(options: argparse.Namespace) -> int:
    from oxd_server.sandbox import SandboxError, SandboxSettings, run_sandbox

    configure_logging("info", "auto", sys.stderr)
    settings = SandboxSettings(
        bind_address=options.bind,
        port=options.port,
        demo_port=options.demo_port,
        oxd_host=options.oxd_host,
        oxd_port=options.oxd_port,
        jwt_tokens=options.jwt_tokens,
        certificate=options.certificate,
    )
    try:
        trio.run(_until_terminated, partial(run_sandbox, settings))
    except* SandboxError as group:
        raise CliError(text_of_first(group)) from None
    return 0


async def _until_terminated(run: Callable[[], Awaitable[None]]) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            async for _ in signals:
                nursery.cancel_scope.cancel()
                break

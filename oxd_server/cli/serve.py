"""``serve``: runs the server."""

import argparse
import os
import socket
from functools import partial

import trio

from oxd_server.cli.errors import CliError
from oxd_server.cli.options import Commands, add_config, add_flags, sources_of
from oxd_server.config import load_settings
from oxd_server.log import configure_logging
from oxd_server.process.uncollected import uncollected

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "serve",
        help="run the server",
        description="Run the server until SIGTERM or SIGINT. SIGHUP reloads the configuration.",
    )
    add_config(parser)
    add_flags(parser)
    parser.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> int:
    with uncollected():
        # Imported late: the other subcommands start faster without the whole server.
        from oxd_server.app import serve, supervise
        from oxd_server.process.listen_fds import inherited_from

    inherited = inherited_from(os.environ, os.getpid())  # first: what it takes out sets no key
    sources = sources_of(options)
    config = load_settings(sources).config
    names = {"host": socket.gethostname()} | ({} if inherited.worker is None else {"worker": inherited.worker})
    try:
        log = configure_logging(config.log_level, config.log_format, file=config.log_file, names=names)
    except ModuleNotFoundError:
        raise CliError("log_format journal needs a library: pip install 'oxd-server[journal]'") from None
    if inherited.https_sockets and not config.https.enabled:
        raise CliError("a socket named https was handed over, but https.enabled is false")
    if config.workers > 1 and inherited.lifeline is None:
        trio.run(supervise, config, sources, inherited, log)
    else:
        trio.run(partial(serve, config, sources, output=log, inherited=inherited))
    return 0

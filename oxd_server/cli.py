"""The command line: ``oxd-server serve | check-config | config | sites | backup | restore | keys | call | sandbox``.

Exit codes: 0 done; 1 it failed, with one line that says why; 2 wrong usage.
"""

import argparse
import io
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TextIO

import trio

from oxd_protocol.errors import FramingError
from oxd_server import __version__
from oxd_server.config import Config, ConfigError, StorageConfig, convert, is_yaml, load_config, load_default_site
from oxd_server.log import configure_logging
from oxd_server.log.plain import plain_json, plain_text
from oxd_server.op.errors import KeyFileError
from oxd_server.store.base import StoreError

__all__ = ["main"]

DEFAULT_PORT: Final = 8099
_SHOWN_SITES: Final = 20


class CliError(Exception):
    """What was asked for cannot be done; the text is one line that says why."""


_EXPECTED_ERRORS: Final = (
    CliError,
    ConfigError,
    KeyFileError,
    StoreError,
    FramingError,
    OSError,
    trio.TooSlowError,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a character stops nothing
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except* _EXPECTED_ERRORS as group:
        print(f"oxd-server: {plain_text(_first(group))}", file=sys.stderr)
    except* KeyboardInterrupt:
        pass
    return 1


def _first(group: BaseExceptionGroup[Any]) -> str:
    error = group.exceptions[0]
    if isinstance(error, BaseExceptionGroup):
        return _first(error)
    return str(error) or type(error).__name__


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="oxd-server", description="OpenID Connect and UMA 2.0 for the application beside it."
    )
    parser.add_argument("--version", action="version", version=f"oxd-server {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_serve(commands)
    _add_check_config(commands)
    _add_config_commands(commands)
    _add_sites(commands)
    _add_backup(commands)
    _add_keys(commands)
    _add_call(commands)
    _add_sandbox(commands)
    return parser


_Commands = Any  # argparse keeps the type of its subparsers action to itself


def _add_serve(commands: _Commands) -> None:
    parser = commands.add_parser(
        "serve",
        help="run the server",
        description="Run the server until SIGTERM or SIGINT. SIGHUP reloads the default site configuration.",
    )
    _add_config(parser)
    parser.set_defaults(run=_serve)


def _add_check_config(commands: _Commands) -> None:
    parser = commands.add_parser(
        "check-config", help="check the configuration files", description="Check both configuration files and exit."
    )
    _add_config(parser)
    parser.set_defaults(run=_check_config)


def _add_config_commands(commands: _Commands) -> None:
    parser = commands.add_parser("config", help="bring an old configuration into the form of today")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    action = actions.add_parser(
        "convert",
        help="print what an oxd-server.yml of oxd 4.x is as oxd-conf.json",
        description="Print what an oxd-server.yml of oxd 4.x is as oxd-conf.json, with its secrets. What has no effect "
        "is named on stderr.",
    )
    action.add_argument("file", type=Path, metavar="FILE", help="the oxd-server.yml")
    action.add_argument(
        "--default-site",
        action="store_true",
        help="print its defaultSiteConfig instead, for oxd-default-site-config.json",
    )
    action.set_defaults(run=_config_convert)


def _add_sites(commands: _Commands) -> None:
    parser = commands.add_parser("sites", help="look at the stored sites, or remove one")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, run, help_text in (
        ("list", _sites_list, "list oxd_id and client_name of every site"),
        ("show", _sites_show, "show one site, its secrets masked"),
        ("remove", _sites_remove, "forget one site here; the client at the OP stays"),
        ("export", _sites_export, "write sites as JSON, with their secrets"),
        ("import", _sites_import, "add the sites of an old server, or of an export"),
    ):
        action = actions.add_parser(name, help=help_text, description=help_text.capitalize() + ".")
        _add_config(action)
        if name in ("show", "remove"):
            action.add_argument("oxd_id", help="the site")
        if name == "export":
            action.add_argument("oxd_id", nargs="?", help="only this site")
        if name == "import":
            action.add_argument(
                "source",
                metavar="SOURCE",
                help="a JSON file or a folder of them, an H2 database (*.mv.db) or its script, a dump of Redis "
                "values, redis://[user@]host:port/database of its Redis (rediss: with TLS), or tcp://host:port of an "
                "old server that runs; the command finds out which it is",
            )
            action.add_argument("--password-path", type=Path, metavar="FILE", help="holds the password of that Redis")
            action.add_argument("--password-variable", metavar="NAME", help="environment variable that holds it")
            action.add_argument("--dry-run", action="store_true", help="only say what would be added")
        action.set_defaults(run=run)
    copy = actions.add_parser(
        "copy",
        help="copy all sites to another store",
        description="Copy all sites from the store of one configuration to that of another, while servers run, until "
        "both are the same. When it was cut off, run it again.",
    )
    copy.add_argument("--from", dest="source", type=Path, required=True, metavar="CONFIG", help="of the one store")
    copy.add_argument("--to", dest="target", type=Path, required=True, metavar="CONFIG", help="of the other store")
    copy.add_argument("--replace", action="store_true", help="replace sites that are there already and differ")
    copy.set_defaults(run=_sites_copy)


def _add_backup(commands: _Commands) -> None:
    for name, run, help_text, description in (
        (
            "backup",
            _backup,
            "copy the store to one file, also while a server runs",
            "Write a consistent copy of the store to FILE, secrets included, and check it. A server may run meanwhile.",
        ),
        (
            "restore",
            _restore,
            "put a backup in the place of the store",
            "Put what a backup holds in the place of what the store holds, all or nothing. Stop the server first. "
            "Logins under way start again.",
        ),
    ):
        parser = commands.add_parser(name, help=help_text, description=description)
        _add_config(parser)
        parser.add_argument("file", type=Path, metavar="FILE", help="the backup")
        replaced = "a FILE that is there" if name == "backup" else "a store that holds sites"
        parser.add_argument("--replace", action="store_true", help=f"replace {replaced}")
        parser.set_defaults(run=run)


def _add_keys(commands: _Commands) -> None:
    parser = commands.add_parser("keys", help="make a key store, or show its public keys")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    new = actions.add_parser(
        "new",
        help="make a key store for private_key_jwt",
        description="Make a key store with an RSA and an EC key, readable by its owner only, and print the public "
        "keys. Name it as crypt_provider_key_store_path in oxd-conf.json.",
    )
    new.add_argument("file", type=Path, help="where to write it; an existing file is never overwritten")
    new.set_defaults(run=_keys_new)
    public = actions.add_parser(
        "public",
        help="print the public keys to give to an OP",
        description="Print the public JWK Set of the configured key store, to give to an OP.",
    )
    _add_config(public)
    public.set_defaults(run=_keys_public)


def _add_call(commands: _Commands) -> None:
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


def _add_sandbox(commands: _Commands) -> None:
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
    parser.set_defaults(run=_sandbox)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        metavar="PATH",
        help="oxd-conf.json; oxd-default-site-config.json is read from the same folder. Or oxd-server.yml of oxd 4.x. "
        "Every key has a default.",
    )


def _serve(options: argparse.Namespace) -> int:
    # Imported late: the other subcommands start faster without the whole server.
    from oxd_server.app import serve, supervise
    from oxd_server.process.listen_fds import inherited_from

    config = load_config(options.config)
    configure_logging(config.log_level, config.log_format, sys.stderr)
    inherited = inherited_from(os.environ, os.getpid())
    if inherited.https_sockets and not config.https.enabled:
        raise CliError("a socket named https was handed over, but https.enabled is false")
    if config.workers > 1 and inherited.lifeline is None:
        trio.run(supervise, config, options.config, inherited)
    else:
        trio.run(partial(serve, config, inherited=inherited))
    return 0


def _check_config(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    default_site = load_default_site(config.default_site_path)
    if options.config is not None and is_yaml(options.config):
        for line in convert(options.config).became:
            print(plain_text(line))
    for warning in (*config.warnings, *default_site.warnings):
        print(f"warning: {plain_text(warning)}")
    print("The configuration is valid.")
    return 0


def _config_convert(options: argparse.Namespace) -> int:
    if not is_yaml(options.file):
        raise CliError(f"{options.file} is no oxd-server.yml: its name must end with .yml or .yaml")
    load_config(options.file)
    load_default_site(options.file)
    converted = convert(options.file)
    for warning in converted.without_effect:
        print(f"warning: {plain_text(warning)}", file=sys.stderr)
    _print_json(converted.default_site if options.default_site else converted.node, sys.stdout)
    return 0


def _sites_list(options: argparse.Namespace) -> int:
    from oxd_server.admin import list_sites

    sites = trio.run(list_sites, _config_of_sites(options))
    print("oxd_id  client_name")
    for oxd_id, client_name in sites:
        print(plain_text(f"{oxd_id}  {client_name}"))
    return 0


def _sites_show(options: argparse.Namespace) -> int:
    from oxd_server.admin import show_site

    return _print_sites(show_site, options)


def _sites_remove(options: argparse.Namespace) -> int:
    from oxd_server.admin import remove_site

    trio.run(remove_site, _config_of_sites(options), options.oxd_id)
    print(plain_text(f"Removed {options.oxd_id}."))
    return 0


def _sites_export(options: argparse.Namespace) -> int:
    from oxd_server.admin import export_sites

    return _print_sites(export_sites, options)


def _print_sites(read: Callable[[Config, Any], Awaitable[object]], options: argparse.Namespace) -> int:
    _print_json(trio.run(read, _config_of_sites(options), options.oxd_id), sys.stdout)
    return 0


def _sites_import(options: argparse.Namespace) -> int:
    from oxd_server.admin import import_sites

    password = StorageConfig(password_path=options.password_path, password_variable=options.password_variable)
    run = partial(import_sites, _config_of_sites(options), options.source, dry_run=options.dry_run, password=password)
    done = trio.run(run)
    print(f"Read {options.source}: {done.source.kind}, {_counted(len(done.source.sites), 'site')}.")
    print(f"{'Would add' if options.dry_run else 'Added'} {done.added}; {len(done.known)} were there already.")
    for line in (
        *(f"{oxd_id}: is there already, and stays as it is" for oxd_id in done.known[:_SHOWN_SITES]),
        *(f"not taken: {site}" for site in done.source.not_taken),
    ):
        print(f"  {line}")
    return 1 if done.source.not_taken else 0


def _sites_copy(options: argparse.Namespace) -> int:
    from oxd_server.admin import copy_between

    source, target = _stored_config(options.source), _stored_config(options.target)
    progress = _show_progress if sys.stderr.isatty() else _show_nothing
    copied = trio.run(partial(copy_between, source, target, replace=options.replace, progress=progress))
    print(
        f"Added {copied.added}, changed {copied.changed}, removed {copied.removed}; in the last of {copied.passes} "
        f"passes both had {_counted(copied.sites, 'site')} and the same sha256 over them: {copied.sha256}"
    )
    return 0


def _show_progress(number: int, done: int, total: int) -> None:
    print(f"\rpass {number}: {done} of {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)


def _show_nothing(_number: int, _done: int, _total: int) -> None:
    pass


def _backup(options: argparse.Namespace) -> int:
    from oxd_server.admin import store_file
    from oxd_server.store.backup import back_up

    content = back_up(store_file(_config_of_sites(options)), options.file, replace=options.replace)
    print(f"Backed up {_counted(content.sites, 'site')} to {options.file}; sha256 of the rows: {content.sha256}")
    return 0


def _restore(options: argparse.Namespace) -> int:
    from oxd_server.admin import store_file
    from oxd_server.store.backup import restore

    content = restore(options.file, store_file(_config_of_sites(options)), replace=options.replace)
    print(f"Restored {_counted(content.sites, 'site')} from {options.file}.")
    return 0


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _config_of_sites(options: argparse.Namespace) -> Config:
    return _stored_config(options.config)


def _stored_config(path: Path | None) -> Config:
    config = load_config(path)
    if config.storage == "memory":
        raise CliError("storage is memory: there is no file; use oxd-server call get_rp '{\"list\": true}'")
    return config


def _keys_new(options: argparse.Namespace) -> int:
    from oxd_server.op.key_store import new_key_store

    _print_json(new_key_store(options.file).public_jwks(), sys.stdout)
    return 0


def _keys_public(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    if config.crypt_provider_key_store_path is None:
        raise CliError("no key store is configured: crypt_provider_key_store_path is not set")
    from oxd_server.op.key_store import load_key_store

    key_store = load_key_store(config.crypt_provider_key_store_path, config.crypt_provider_key_store_password)
    _print_json(key_store.public_jwks(), sys.stdout)
    return 0


def _call(options: argparse.Namespace) -> int:
    from oxd_server.oxd_client import OxdClient, OxdUnreachable

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
    _print_json(answer, sys.stdout)
    return 0 if answer.get("status") == "ok" else 1


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
    )
    try:
        trio.run(_until_terminated, partial(run_sandbox, settings))
    except* SandboxError as group:
        raise CliError(_first(group)) from None
    return 0


async def _until_terminated(run: Callable[[], Awaitable[None]]) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            async for _ in signals:
                nursery.cancel_scope.cancel()
                break


def _print_json(value: object, stream: TextIO) -> None:
    text = plain_json(json.dumps(value, indent=2, ensure_ascii=False))
    print(_coloured(text) if stream.isatty() else text, file=stream)


_KEY, _TEXT, _OTHER, _RESET = "\x1b[36m", "\x1b[32m", "\x1b[33m", "\x1b[0m"


def _coloured(text: str) -> str:
    """Colour indented JSON line by line: keys, texts, everything else."""
    return "\n".join(_coloured_line(line) for line in text.split("\n"))


def _coloured_line(line: str) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    rest = line[len(indent) :]
    key, separator, value = rest.partition('": ') if rest.startswith('"') and '": ' in rest else ("", "", rest)
    coloured_key = f'{_KEY}{key}"{_RESET}: ' if separator else ""
    if value.rstrip(",") in ("{", "[", "}", "]", "{}", "[]"):
        return indent + coloured_key + value
    colour = _TEXT if value.startswith('"') else _OTHER
    comma = "," if value.endswith(",") else ""
    return f"{indent}{coloured_key}{colour}{value.removesuffix(',')}{_RESET}{comma}"

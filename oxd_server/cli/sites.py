"""``sites``: looks at the stored sites, moves them, removes one."""

import argparse
import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from oxd_server.cli.errors import CliError
from oxd_server.cli.options import Commands, add_config, sources_of, stored_config
from oxd_server.cli.output import counted, print_json
from oxd_server.config import Config, Sources
from oxd_server.config.given import Given
from oxd_server.config.kinds import SECRET
from oxd_server.log.plain import plain_text

__all__ = ["add"]

_SHOWN_SITES: Final = 20


def add(commands: Commands) -> None:
    """Declare the commands."""
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
        add_config(action)
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


def _sites_list(options: argparse.Namespace) -> int:
    from oxd_server.admin import list_sites

    sites = trio.run(list_sites, stored_config(sources_of(options)))
    print("oxd_id  client_name")
    for oxd_id, client_name in sites:
        print(plain_text(f"{oxd_id}  {client_name}"))
    return 0


def _sites_show(options: argparse.Namespace) -> int:
    from oxd_server.admin import show_site

    return _print_sites(show_site, options)


def _sites_remove(options: argparse.Namespace) -> int:
    from oxd_server.admin import remove_site

    trio.run(remove_site, stored_config(sources_of(options)), options.oxd_id)
    print(plain_text(f"Removed {options.oxd_id}."))
    return 0


def _sites_export(options: argparse.Namespace) -> int:
    from oxd_server.admin import export_sites

    return _print_sites(export_sites, options)


def _print_sites(read: Callable[[Config, Any], Awaitable[object]], options: argparse.Namespace) -> int:
    print_json(trio.run(read, stored_config(sources_of(options)), options.oxd_id), sys.stdout)
    return 0


def _sites_import(options: argparse.Namespace) -> int:
    from oxd_server.admin import import_sites

    password = _password(options)
    run = partial(
        import_sites, stored_config(sources_of(options)), options.source, dry_run=options.dry_run, password=password
    )
    done = trio.run(run)
    print(f"Read {options.source}: {done.source.kind}, {counted(len(done.source.sites), 'site')}.")
    print(f"{'Would add' if options.dry_run else 'Added'} {done.added}; {len(done.known)} were there already.")
    for line in (
        *(f"{oxd_id}: is there already, and stays as it is" for oxd_id in done.known[:_SHOWN_SITES]),
        *(f"not taken: {site}" for site in done.source.not_taken),
    ):
        print(f"  {line}")
    return 1 if done.source.not_taken else 0


def _password(options: argparse.Namespace) -> str | None:
    """Return the password of the source, from where the options say that it is."""
    if options.password_path is not None:
        password: str = Given(str(options.password_path), "file", "--password-path", "flag").read(SECRET)
        return password
    if options.password_variable is None:
        return None
    if (found := os.environ.get(options.password_variable)) is None:
        raise CliError(f"the environment variable {options.password_variable} with Redis's password is not set")
    return found


def _sites_copy(options: argparse.Namespace) -> int:
    from oxd_server.admin import copy_between

    source, target = stored_config(Sources(options.source)), stored_config(Sources(options.target))
    progress = _show_progress if sys.stderr.isatty() else _show_nothing
    copied = trio.run(partial(copy_between, source, target, replace=options.replace, progress=progress))
    print(
        f"Added {copied.added}, changed {copied.changed}, removed {copied.removed}; in the last of {copied.passes} "
        f"passes both had {counted(copied.sites, 'site')} and the same sha256 over them: {copied.sha256}"
    )
    return 0


def _show_progress(number: int, done: int, total: int) -> None:
    print(f"\rpass {number}: {done} of {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)


def _show_nothing(_number: int, _done: int, _total: int) -> None:
    pass

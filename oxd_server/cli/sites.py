"""``sites``: looks at the stored sites, moves them, removes one."""

import argparse
import os
import sys
from functools import partial
from pathlib import Path
from typing import Final

import trio

from oxd_server.cli.errors import CliError
from oxd_server.cli.options import Commands, add_config, sources_of, stored_config
from oxd_server.cli.output import add_output, counted, output_of, print_json
from oxd_server.cli.progress import progress
from oxd_server.config import Sources
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
        if name in ("list", "show", "export"):
            add_output(action)
        if name == "list":
            action.add_argument("--json", action="store_true", help="as a JSON array")
            action.add_argument("--limit", type=_count, metavar="N", help="at most N sites")
            action.add_argument("--after", metavar="OXD_ID", help="only sites after this one, in the order of oxd_id")
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

    with output_of(options) as stream:
        sites = trio.run(list_sites, stored_config(sources_of(options)))
        found = [site for site in sites if options.after is None or site[0] > options.after]
        page = found[: options.limit]
        if options.json:
            print_json([{"oxd_id": oxd_id, "client_name": name} for oxd_id, name in page], stream)
        else:
            for line in ("oxd_id  client_name", *(f"{oxd_id}  {name}" for oxd_id, name in page)):
                print(plain_text(line), file=stream)
    if len(page) < len(found):
        print(plain_text(f"{len(found) - len(page)} more: --after {page[-1][0]}"), file=sys.stderr)
    return 0


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _sites_show(options: argparse.Namespace) -> int:
    from oxd_server.admin import show_site

    with output_of(options) as stream:
        print_json(trio.run(show_site, stored_config(sources_of(options)), options.oxd_id), stream)
    return 0


def _sites_remove(options: argparse.Namespace) -> int:
    from oxd_server.admin import remove_site

    trio.run(remove_site, stored_config(sources_of(options)), options.oxd_id)
    print(plain_text(f"Removed {options.oxd_id}."))
    return 0


def _sites_export(options: argparse.Namespace) -> int:
    from oxd_server.admin import export_sites

    config = stored_config(sources_of(options))
    with output_of(options) as stream:
        with progress("exporting") as shown:
            sites = trio.run(partial(export_sites, config, options.oxd_id, partial(shown, "exporting")))
        print_json(sites, stream)
    return 0


def _sites_import(options: argparse.Namespace) -> int:
    from oxd_server.admin import import_sites

    password = _password(options)
    run = partial(
        import_sites, stored_config(sources_of(options)), options.source, dry_run=options.dry_run, password=password
    )
    with progress("importing"):
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
    with progress("copying") as shown:
        copied = trio.run(
            partial(
                copy_between,
                source,
                target,
                replace=options.replace,
                progress=lambda number, done, total: shown(f"pass {number}", done, total),
            )
        )
    print(
        f"Added {copied.added}, changed {copied.changed}, removed {copied.removed}; in the last of {copied.passes} "
        f"passes both had {counted(copied.sites, 'site')} and the same sha256 over them: {copied.sha256}"
    )
    return 0

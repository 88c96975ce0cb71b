"""``backup`` and ``restore``: the store as one file."""

import argparse
from pathlib import Path

from oxd_server.cli.options import Commands, add_config, sources_of, stored_config
from oxd_server.cli.output import counted
from oxd_server.cli.progress import progress

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Declare the commands."""
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
        add_config(parser)
        parser.add_argument("file", type=Path, metavar="FILE", help="the backup")
        replaced = "a FILE that is there" if name == "backup" else "a store that holds sites"
        parser.add_argument("--replace", action="store_true", help=f"replace {replaced}")
        parser.set_defaults(run=run)


def _backup(options: argparse.Namespace) -> int:
    from oxd_server.config.store_place import store_file
    from oxd_server.store.backup import back_up

    store = store_file(stored_config(sources_of(options)))
    with progress("backing up"):
        content = back_up(store, options.file, replace=options.replace)
    print(f"Backed up {counted(content.sites, 'site')} to {options.file}; sha256 of the rows: {content.sha256}")
    return 0


def _restore(options: argparse.Namespace) -> int:
    from oxd_server.config.store_place import store_file
    from oxd_server.store.backup import restore

    store = store_file(stored_config(sources_of(options)))
    with progress("restoring"):
        content = restore(options.file, store, replace=options.replace)
    print(f"Restored {counted(content.sites, 'site')} from {options.file}.")
    return 0

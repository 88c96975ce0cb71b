"""``check-config`` and ``config``: looks at configuration files, without a server."""

import argparse
import sys
from pathlib import Path

import trio

from oxd_server.cli.errors import CliError
from oxd_server.cli.options import Commands, add_config, add_flags, sources_of
from oxd_server.cli.output import add_output, output_of, print_json
from oxd_server.config import (
    ConfigError,
    Loaded,
    Sources,
    convert,
    default_site_path,
    is_yaml,
    load_config,
    load_default_site,
    load_settings,
)
from oxd_server.config.effective import effective_values
from oxd_server.log.plain import plain_text

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Declare the commands."""
    _add_check_config(commands)
    _add_config_commands(commands)


def _add_check_config(commands: Commands) -> None:
    parser = commands.add_parser(
        "check-config",
        help="check the configuration",
        description="Read what `serve` would read: both configuration files, the environment, the files that they "
        "name, the ports. Name everything that is wrong, and exit with 1 if there is anything.",
    )
    add_config(parser)
    parser.add_argument("--show", action="store_true", help="print every value and where it comes from")
    add_flags(parser)
    parser.set_defaults(run=_check_config)


def _add_config_commands(commands: Commands) -> None:
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
    add_output(action)
    action.set_defaults(run=_config_convert)


def _check_config(options: argparse.Namespace) -> int:
    from oxd_server.app.checking import check  # late: it needs the whole server

    sources = sources_of(options)
    problems: list[str] = []
    warnings: list[str] = []
    try:
        warnings += load_default_site(default_site_path(sources.path)).warnings
    except ConfigError as error:
        problems += error.problems
    try:
        found = load_settings(sources)
    except ConfigError as error:
        problems += error.problems
    else:
        started = trio.run(check, found.config)
        problems += started.problems
        warnings = [*found.config.warnings, *warnings, *started.notes]
        _explain(sources, found, show=options.show)
    for warning in warnings:
        print(f"warning: {plain_text(warning)}")
    for problem in problems:
        print(f"oxd-server: {plain_text(problem)}", file=sys.stderr)
    if not problems:
        print("The configuration is valid.")
    return 1 if problems else 0


def _explain(sources: Sources, found: Loaded, *, show: bool) -> None:
    if sources.path is not None and is_yaml(sources.path):
        for line in convert(sources.path).became:
            print(plain_text(line))
    for name, value, origin in effective_values(found) if show else ():
        print(plain_text(f"{name}  {value}  ({origin})"))


def _config_convert(options: argparse.Namespace) -> int:
    if not is_yaml(options.file):
        raise CliError(f"{options.file} is no oxd-server.yml: its name must end with .yml or .yaml")
    load_config(options.file)
    load_default_site(options.file)
    converted = convert(options.file)
    for warning in converted.without_effect:
        print(f"warning: {plain_text(warning)}", file=sys.stderr)
    with output_of(options) as stream:
        print_json(converted.default_site if options.default_site else converted.node, stream)
    return 0

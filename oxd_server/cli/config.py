"""``check-config`` and ``config``: looks at configuration files, without a server."""

import argparse
import sys
from pathlib import Path

from oxd_server.cli.errors import CliError
from oxd_server.cli.options import Commands, add_config
from oxd_server.cli.output import print_json
from oxd_server.config import convert, is_yaml, load_config, load_default_site
from oxd_server.log.plain import plain_text

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Declare the commands."""
    _add_check_config(commands)
    _add_config_commands(commands)


def _add_check_config(commands: Commands) -> None:
    parser = commands.add_parser(
        "check-config", help="check the configuration files", description="Check both configuration files and exit."
    )
    add_config(parser)
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
    action.set_defaults(run=_config_convert)


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
    print_json(converted.default_site if options.default_site else converted.node, sys.stdout)
    return 0

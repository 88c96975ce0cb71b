"""The command ``oxd-protocol``."""

import argparse
import sys

from oxd_protocol.check.runner import check

__all__ = ["main"]

_ABOUT = """\
Runs a client program against a scripted server, once for each rule of the wire, and says which rules it breaks.
The program is to send one command, to print what it reads of the answer, and to end with 0 after an ok answer only.
It finds the server in OXD_HOST and OXD_PORT; {host} and {port} in its arguments are replaced, too."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return 0 if no rule is broken, 1 if one is, 2 if the program cannot be started."""
    parser = argparse.ArgumentParser(prog="oxd-protocol", description="For authors of clients of the oxd protocol.")
    commands = parser.add_subparsers(required=True)
    checking = commands.add_parser(
        "check", help="say which wire rules a client program breaks", description=_ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    checking.add_argument("--seconds", type=float, default=10.0, help="that one run may take (default: 10)")
    checking.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND...", help="the program")
    options = parser.parse_args(arguments)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        checking.error("name the program to run: oxd-protocol check COMMAND...")
    broken = 0
    try:
        for verdict in check(command, options.seconds):
            broken += verdict.outcome == "broken"
            print(f"{verdict.outcome:6}  {verdict.name:17} {verdict.rule}", flush=True)
            if verdict.reason:
                print(f"        {verdict.reason}", flush=True)
    except OSError as error:
        print(f"oxd-protocol: {command[0]}: {error.strerror}", file=sys.stderr)
        return 2
    print("No rule is broken." if not broken else f"Rules broken: {broken}.")
    return 1 if broken else 0

"""The command line: ``oxd-server serve | check-config | config | health | sites | backup | restore | keys | ...``.

A module for each group of commands. Each has an ``add`` that declares them, and imports what they need only when one
of them runs: so every command starts as fast as it can.

Exit codes: 0 done; 1 it failed, with one line that says why; 2 wrong usage.
"""

from oxd_server.cli.command_line import main

__all__ = ["main"]

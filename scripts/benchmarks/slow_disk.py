"""Starts a server as on a disk whose commits take 5 ms longer, as those of many do. Not started by hand.

Where commits are nearly free, sharing them gains nothing that could be measured.
"""

import sqlite3
import sys
import time
from functools import partial
from typing import Any

from oxd_server.cli import main

COMMIT_SECONDS = 0.005


class _SlowConnection(sqlite3.Connection):
    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if sql == "COMMIT":
            time.sleep(COMMIT_SECONDS)
        return super().execute(sql, *parameters)


if __name__ == "__main__":
    setattr(sqlite3, "connect", partial(sqlite3.connect, factory=_SlowConnection))  # noqa: B010 - mypy: it has overloads
    sys.exit(main(sys.argv[1:]))

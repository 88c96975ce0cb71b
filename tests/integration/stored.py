"""What lies in a server's store, read from its file while the server runs."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

TABLES = ("site", "site_session", "secret", "spent", "issued")


def stored_rows(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table of the store in a test's folder."""
    path = folder / "data" / "oxd.db"
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        return {table: sorted(connection.execute(f"SELECT * FROM {table}")) for table in TABLES}
    finally:
        connection.close()

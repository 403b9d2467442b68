"""SQLite: the default database, one file in the run directory that all client processes share.

In write-ahead mode readers never wait, and of several writers one waits for the other, `BUSY_S` at most. Nothing is
forced to the disk (`synchronous = OFF`): a killed process loses nothing by that, only a machine without power does.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chaos.databases import Row
from chaos.operation import Doubtful, Refused

BUSY_S = 0.1
"""How long a writer waits for another one: long beside a write, and short beside the timeout of an operation."""


class Sqlite:
    """Implements `chaos.databases.Database`. Every statement is a transaction of its own."""

    def __init__(self, path: Path, table: str) -> None:
        # Clients in virtual time are made by one thread and run in another, never both at a time.
        self._connection = sqlite3.connect(path, BUSY_S, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = OFF")
        self._load = f"SELECT value, version FROM {table} WHERE id = ?"
        self._store = f"UPDATE {table} SET value = ?, version = version + 1 WHERE id = ? RETURNING version"
        self._table = table

    def create(self, items: Sequence[str]) -> None:
        """See `Database`."""
        connection = self._connection
        connection.execute("BEGIN")
        connection.execute(f"CREATE TABLE {self._table} (id TEXT PRIMARY KEY, value INTEGER, version INTEGER NOT NULL)")
        connection.executemany(f"INSERT INTO {self._table} VALUES (?, NULL, 0)", ((item,) for item in items))
        connection.execute("COMMIT")

    def load(self, item: str) -> Row | None:
        """See `Database`."""
        found = self._rows(self._load, item)
        return Row(*found[0]) if found else None

    def store(self, item: str, value: int) -> int:
        """See `Database`. A statement that fails is rolled back as a whole, so nothing is ever in doubt."""
        found = self._rows(self._store, value, item)
        if not found:
            raise Refused(f"the database has no item {item}")
        if not isinstance(found[0][0], int):
            raise Doubtful(f"the database says that {item} has version {found[0][0]!r}")
        return found[0][0]

    def drop(self) -> None:
        """The file stays with the run."""

    def close(self) -> None:
        """See `Database`."""
        self._connection.close()

    def _rows(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(statement, arguments).fetchall()
        except sqlite3.Error as error:
            raise Refused(f"SQLite: {error}") from error

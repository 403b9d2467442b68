"""PostgreSQL, by URL and through psycopg (`pip install 'cachequake[postgres]'`).

User and password come from libpq's own variables (`PGUSER`, `PGPASSWORD`) or its file of passwords (`PGPASSFILE`), are
read by each process for itself, and are written nowhere. Each run has a table of its own, which it removes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chaos.databases import Row
from chaos.errors import BadInput
from chaos.operation import Doubtful, Refused

TIMEOUT_S = 2
"""How long a statement, or connecting, may take."""


class Postgres:
    """Implements `chaos.databases.Database`. Every statement is a transaction of its own."""

    def __init__(self, url: str, table: str) -> None:
        """Connects when it is first asked. Raises BadInput without psycopg."""
        try:
            import psycopg
        except ImportError as error:
            raise BadInput(f"{url} needs psycopg: pip install 'cachequake[postgres]'") from error
        self._psycopg: Any = psycopg
        self._url = url
        self._table = table
        self._connection: Any = None

    def create(self, items: Sequence[str]) -> None:
        """See `Database`."""
        self._run(f"CREATE TABLE {self._table} (id text PRIMARY KEY, value bigint, version bigint NOT NULL)")
        self._run(f"INSERT INTO {self._table} SELECT unnest(%s::text[]), NULL, 0", list(items))

    def load(self, item: str) -> Row | None:
        """See `Database`."""
        try:
            found = self._run(f"SELECT value, version FROM {self._table} WHERE id = %s", item)
        except Doubtful as error:  # reading has no effect
            raise Refused(str(error)) from error
        return Row(*found[0]) if found else None

    def store(self, item: str, value: int) -> int:
        """See `Database`."""
        statement = f"UPDATE {self._table} SET value = %s, version = version + 1 WHERE id = %s RETURNING version"
        found = self._run(statement, value, item)
        if not found:
            raise Refused(f"the database has no item {item}")
        return int(found[0][0])

    def drop(self) -> None:
        """See `Database`."""
        self._run(f"DROP TABLE IF EXISTS {self._table}")

    def close(self) -> None:
        """See `Database`."""
        if self._connection is not None:
            self._connection.close()

    def _connected(self) -> Any:
        """The connection; a new one where the last was lost. Raises Refused: nothing was asked yet."""
        if self._connection is None or self._connection.closed:
            options = f"-c statement_timeout={TIMEOUT_S * 1000}"
            try:
                self._connection = self._psycopg.connect(
                    self._url, autocommit=True, connect_timeout=TIMEOUT_S, options=options
                )
            except self._psycopg.Error as error:
                raise Refused(f"PostgreSQL: {str(error).strip()}") from error
        return self._connection

    def _run(self, statement: str, *arguments: object) -> list[Any]:
        connection = self._connected()
        try:
            cursor = connection.execute(statement, arguments or None)
            return list(cursor.fetchall()) if cursor.description else []
        except self._psycopg.Error as error:
            # A server that said what was wrong has rolled back. One that said nothing may have committed.
            kind = Refused if error.sqlstate is not None and not connection.broken else Doubtful
            raise kind(f"PostgreSQL: {str(error).strip()}") from error

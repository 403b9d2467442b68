"""The databases that a cache can stand in front of: one table of items, each with a value and a version.

A database is the truth: it counts the versions of an item, one a write, so what a cache holds can be compared with it.
Its calls are made where the clients run, and while one lasts the other machines of its process stand still. For SQLite
that is right because a call takes some tens of microseconds; of a server elsewhere it means that they ask it one after
the other, so that more at once need more processes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

import msgspec

SQLITE = "sqlite"
"""How a scenario names a file in the run directory."""
POSTGRES = ("postgresql", "postgres")
"""Schemes of URLs."""
FILE = "database.sqlite"
MOST_NAMED = 50
"""Letters of a run's name in that of its table, from the end: PostgreSQL tells names apart by 63."""


class Row(NamedTuple):
    """An item as the database has it."""

    value: int | None
    """None until somebody writes it."""
    version: int
    """How many writes it has had."""


class Database(Protocol):
    """A connection to the table of a run.

    All calls raise `chaos.operation.Refused` when they certainly had no effect, and `Doubtful` when nobody knows.
    """

    def create(self, items: Sequence[str]) -> None:
        """Make the table, with these items in version 0."""

    def load(self, item: str) -> Row | None:
        """The item; None when there is none of that name."""

    def store(self, item: str, value: int) -> int:
        """Write an item, committed when this returns; returns its new version. Refused when there is no such item."""

    def drop(self) -> None:
        """Remove what was made on a server; a file in the run directory stays."""

    def close(self) -> None:
        """Close the connection. May be called twice."""


class DatabaseSpec(msgspec.Struct, frozen=True):
    """Where the table of a run is. Has no secret in it."""

    url: str
    """`sqlite:PATH`, or `postgresql://HOST/NAME` without user and password."""
    table: str

    @property
    def on_disk(self) -> bool:
        """Whether it is a file, and no server has to be asked."""
        return self.url.startswith(f"{SQLITE}:")

    @property
    def host(self) -> str | None:
        """The host of a server that is asked over a network; None for a file, or a socket on this machine."""
        return None if self.on_disk else urlsplit(self.url).hostname


def spec_of(url: str, run_dir: Path) -> DatabaseSpec:
    """Where a run has its table, if its scenario names the database by this URL."""
    table = re.sub("[^a-z0-9]", "_", run_dir.name.lower())[-MOST_NAMED:]
    return DatabaseSpec(f"{SQLITE}:{run_dir.absolute() / FILE}" if url == SQLITE else url, f"cachequake_{table}")


def wrong(url: str) -> str | None:
    """Why a scenario cannot name a database like this, in words; None when it can."""
    if url == SQLITE:
        return None
    if "@" in url:  # not quoted: what stands there is a secret
        return "database: a URL has no user and no password here; set PGUSER and PGPASSWORD, or PGPASSFILE"
    parts = urlsplit(url)
    if parts.scheme not in POSTGRES or "password" in parts.query:
        return f"database: {parts.scheme or url}: write {SQLITE}, or postgresql://HOST/NAME without a password"
    return None


def connect(spec: DatabaseSpec) -> Database:
    """A connection to the database of a run. Raises BadInput when its driver is not installed."""
    if spec.on_disk:
        from chaos.databases.sqlite import Sqlite

        return Sqlite(Path(spec.url.removeprefix(f"{SQLITE}:")), spec.table)
    from chaos.databases.postgres import Postgres

    return Postgres(spec.url, spec.table)

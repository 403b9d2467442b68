"""The database behind a cache, as the controller sees it: made before the load, and asked last when all is at rest.

What is lost is decided by the database alone, since a write is acknowledged when it has committed. The cache holds
copies, which are never "lost"; what it is left with is recorded beside it, so that the checker can say which entries
are old, and whether they will ever go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from chaos import databases
from chaos.databases import Database, DatabaseSpec
from chaos.errors import RunFailed
from chaos.finals import OWNER
from chaos.operation import Doubtful, Refused
from chaos.topologies.rest import info, offered
from chaos.workloads.cachefill import NAME, CacheFill, entry_of
from checkers.events import Event
from nemeses.system import System, SystemFault

Record = Callable[[Event], None]
COUNTED = ("evicted_keys", "expired_keys", "keyspace_hits", "keyspace_misses")
"""What nodes count themselves since they were started, by its name in INFO."""


LOOKED_AT = 1_000
"""Entries of each node that are read in the end: value, version and time to live."""


def backed_by(workloads: Mapping[str, Mapping[str, Any]], run_dir: Path) -> DatabaseSpec | None:
    """Where the database of a run is, if one of its workloads (options by name) has one."""
    options = workloads.get(NAME)
    return None if options is None else databases.spec_of(options["database"], run_dir)


class Backing:
    """The database of one run."""

    def __init__(self, workload: CacheFill, spec: DatabaseSpec, record: Record) -> None:
        """`record` puts an event into the history. Raises BadInput without the database's driver."""
        self._workload = workload
        self._url = spec.url
        self._record = record
        self._database: Database = databases.connect(spec)

    def create(self) -> None:
        """Make the items. Raises RunFailed when the database does not let us."""
        try:
            self._database.create(self._workload.items)
        except (Refused, Doubtful) as error:
            raise RunFailed(f"the database {self._url} cannot be used: {error}") from error

    def final_reads(self, now: Callable[[], int]) -> None:
        """Read every item once more. One that cannot be read is recorded as a read that failed."""
        for item in self._workload.items:
            about: dict[str, Any] = {"f": "read", "process": OWNER, "key": item, "final": True}
            self._record(Event(type="invoke", time=now(), via="database", **about))
            done = Event(type="ok", **about)
            try:
                row = self._database.load(item)
                done.value = None if row is None else row.value
                done.fill = {} if row is None else {"version": row.version}
            except Refused as error:
                done.type, done.error = "fail", str(error)
            done.time = now()
            self._record(done)

    def left(self, system: System, holds: Mapping[str, Sequence[str]], stored: Callable[[str], str]) -> None:
        """Record what each node still holds of the items (`holds` are keys by node), and its first entries whole."""
        items = set(self._workload.items)
        for node, keys in holds.items():
            held = [key for key in keys if key in items]
            entries = [_entry(system, node, key, stored(key)) for key in held[:LOOKED_AT]]
            value = {"node": node, "held": len(held), "entries": [entry for entry in entries if entry is not None]}
            self._record(Event(type="info", f="cached", process="controller", time=system.now_ns(), value=value))

    def counted(self, system: System) -> None:
        """Record what each node says that it evicted, expired, and answered."""
        if not offered(system, "INFO", "STATS"):
            return
        for node in system.nodes:
            try:
                said = info(system, node, "stats")
            except SystemFault:
                continue
            counts = {name: int(said[name]) for name in COUNTED if name in said}
            if counts:
                value = {"node": node, **counts}
                self._record(Event(type="info", f="stats", process="controller", time=system.now_ns(), value=value))

    def close(self) -> None:
        """Remove what was made elsewhere, and close. What cannot be removed now stays."""
        try:
            self._database.drop()
        except (Refused, Doubtful):
            return
        finally:
            self._database.close()


def _entry(system: System, node: str, key: str, stored: str) -> list[Any] | None:
    """Key, value, version and milliseconds to live (-1: for good); None when it is gone, or not to be had there."""
    try:
        entry = entry_of(system.call(node, "GET", stored))
        left_ms = system.call(node, "PTTL", stored)
    except (SystemFault, Doubtful):
        return None
    return None if entry is None or entry.row is None else [key, entry.row.value, entry.row.version, left_ms]

"""What clients did with a cache that they fill from a database, as columns: reads, loads, entries and commits.

Workload `cachefill` tells with each operation (`fill`): the `version` of the item, when the database was asked for it
(`load`: begin and end) or changed (`commit`), what became of the entry in the cache (`entry`: ok, fail or info) and for
how long it was to live (`ttl_ms`). Times are nanoseconds since the run began.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers.events import OK
from checkers.history import Operations
from checkers.zones import FILLED

HITS = ("hit", "negative")
LOADS = ("load", "database")
"""Ways to read for which the client itself asked the database."""
NO_VERSION = -1
"""Stands for an item that does not exist."""

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Reads:
    """Answered reads of the load, in order of start."""

    row: Numbers
    via: list[str]
    start: Numbers
    key: Numbers
    version: Numbers
    """`NO_VERSION` for an item that does not exist."""

    def by(self, *ways: str) -> NDArray[np.bool_]:
        """Which of them were answered in one of these ways."""
        return np.array([via in ways for via in self.via], np.bool_)


@dataclass(frozen=True)
class Spans:
    """Things that took effect at some moment between two times, each for one key."""

    row: Numbers
    key: Numbers
    begin: Numbers
    end: Numbers
    figure: Numbers
    """Loads and commits: the version. Entries: how long they were to live (ns; 0 for good)."""

    def __len__(self) -> int:
        """How many there are."""
        return len(self.row)


@dataclass(frozen=True)
class Fillings:
    """All that is known of one history."""

    reads: Reads
    loads: Spans
    entries: Spans
    """Put into the cache, acknowledged, by whoever: after a load, or a write that sets."""
    commits: Spans
    """Acknowledged by the database."""
    writes: dict[str, int]
    """Acknowledged writes by what became of their entry: ok, fail, info, or `none` when nobody asked the cache."""
    fallbacks: int
    """Reads for which the database was asked because the cache failed."""

    def __bool__(self) -> bool:
        """Whether the history tells of a cache that is filled at all."""
        return bool(len(self.reads.row) or len(self.commits))


def fillings(operations: Operations) -> Fillings:
    """Read what the operations of the load tell."""
    told = sorted(
        (row, detail)
        for row, detail in operations.details.items()
        if "fill" in detail and operations.type[row] == OK and not operations.final[row]
    )
    reads = [(row, detail) for row, detail in told if detail.get("via") in FILLED]
    writes = [(row, detail["fill"]) for row, detail in told if "commit" in detail["fill"]]
    rows = _numbers([row for row, _ in reads])
    outcomes = [str(fill.get("entry", "none")) for _, fill in writes]
    return Fillings(
        reads=Reads(
            row=rows,
            via=[detail["via"] for _, detail in reads],
            start=operations.start[rows],
            key=operations.key[rows].astype(np.int64),
            version=_numbers([_version(detail["fill"]) for _, detail in reads]),
        ),
        loads=_spans(
            operations,
            [
                (row, *detail["fill"]["load"], _version(detail["fill"]))
                for row, detail in reads
                if detail["via"] in LOADS
            ],
        ),
        entries=_spans(
            operations,
            [
                (row, moment[1], int(operations.end[row]), detail["fill"]["ttl_ms"] * 1_000_000)
                for row, detail in told
                if detail["fill"].get("entry") == "ok" and "ttl_ms" in detail["fill"]
                if (moment := detail["fill"].get("load") or detail["fill"].get("commit"))
            ],
        ),
        commits=_spans(operations, [(row, *fill["commit"], fill["version"]) for row, fill in writes]),
        writes={outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))},
        fallbacks=sum(detail["via"] == "database" for _, detail in reads),
    )


def _version(fill: dict[str, Any]) -> int:
    return int(fill.get("version", NO_VERSION))


def _spans(operations: Operations, found: list[tuple[int, int, int, int]]) -> Spans:
    """From tuples of row, begin, end and figure; sorted by key and begin."""
    row, begin, end, figure = np.array(found, np.int64).reshape(-1, 4).T
    key = operations.key[row].astype(np.int64)
    order = np.lexsort((begin, key))
    return Spans(row[order], key[order], begin[order], end[order], figure[order])


def _numbers(values: list[int]) -> Numbers:
    return np.array(values, np.int64)

"""One page of the operations of a history that may have ten million of them: by key, client, node, outcome and time."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chaos.store import HISTORY
from checkers.events import NEVER, TYPES
from checkers.history import History, Operations, load

PAGE = 100
"""Operations on a page."""
BUCKETS = 120
_KEPT = 2
"""Histories that are kept in memory, the last ones that were asked for."""


@dataclass(frozen=True)
class Query:
    """What is asked for; None and "" stand for all. Times are in milliseconds since the run began."""

    index: tuple[int, ...] = ()
    """Only these operations, by their index in the history: those of an anomaly, for example."""
    key: str = ""
    client: int | None = None
    node: str = ""
    f: str = ""
    outcome: str = ""
    since_ms: float | None = None
    until_ms: float | None = None
    page: int = 1

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Query:
        """Read the parameters of a request. Raises ValueError, which names the one that is wrong."""
        numbers: dict[str, float | None] = {}
        for name in ("client", "since_ms", "until_ms", "page"):
            text = given.get(name, "").strip()
            try:
                numbers[name] = float(text) if text else None
            except ValueError:
                raise ValueError(f"{name}: {text!r} is no number") from None
            if not math.isfinite(numbers[name] or 0):
                raise ValueError(f"{name}: {text!r} is no number")
        outcome = given.get("outcome", "")
        if outcome and outcome not in TYPES:
            raise ValueError(f"outcome: {outcome!r} is none of {', '.join(TYPES)}")
        client = numbers["client"]
        try:
            index = tuple(int(number) for number in given.get("index", "").split(",") if number.strip())
        except ValueError:
            raise ValueError(f"index: {given['index']!r} is no list of numbers") from None
        return cls(
            index,
            given.get("key", ""),
            None if client is None else int(client),
            given.get("node", ""),
            given.get("f", ""),
            outcome,
            numbers["since_ms"],
            numbers["until_ms"],
            max(1, int(numbers["page"] or 1)),
        )

    def asked(self) -> dict[str, str]:
        """The parameters of a request that asks for this: the opposite of `of`."""
        given = {name: value for name, value in vars(self).items() if value != getattr(Query, name)}
        return {name: ",".join(map(str, value)) if name == "index" else str(value) for name, value in given.items()}


@dataclass(frozen=True)
class Page:
    """What was found."""

    rows: NDArray[np.int64]
    """Row numbers of the operations of this page, in the order of their beginnings."""
    found: int
    """How many there are on all pages."""
    pages: int
    starts_ns: NDArray[np.int64]
    """Beginnings of `BUCKETS` stretches of the whole run."""
    density: dict[str, NDArray[np.int64]]
    """How many operations that were found began in each of them, by outcome."""


class Explorer:
    """Reads histories, and keeps the last ones. May be asked by several threads at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Path, tuple[int, History]] = OrderedDict()

    def history(self, run_dir: Path) -> History:
        """The history of a run. Raises HistoryError, and FileNotFoundError before the run has ended."""
        file = run_dir / HISTORY
        stamp = file.stat().st_mtime_ns
        with self._lock:  # a second one who asks waits, and finds it here
            known = self._kept.pop(file, None)
            if known is None or known[0] != stamp:
                known = stamp, load(file)
            self._kept[file] = known
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return known[1]


def explore(history: History, query: Query) -> Page:
    """The page of a query."""
    operations = history.operations
    rows = _matching(operations, query, int(history.header.get("clients") or 0))
    pages = max(1, -(-len(rows) // PAGE))
    first = (min(query.page, pages) - 1) * PAGE
    last = int(operations.start.max(initial=0)) + 1
    bucket = -(-last // BUCKETS)
    when, kind = np.maximum(operations.start[rows], 0) // bucket, operations.type[rows]
    density = {name: np.bincount(when[kind == code], minlength=BUCKETS) for code, name in enumerate(TYPES)}
    return Page(rows[first : first + PAGE], len(rows), pages, np.arange(BUCKETS) * bucket, density)


def _matching(operations: Operations, query: Query, clients: int) -> NDArray[np.int64]:
    """Row numbers; each condition looks only at what the ones before have left."""
    rows = np.flatnonzero(np.isin(operations.index, query.index)) if query.index else np.arange(len(operations))
    for wanted, names, column in (
        (query.key, operations.keys, operations.key),
        (query.f, operations.functions, operations.f),
        (query.node, operations.nodes, operations.node),
        (query.outcome, list(TYPES), operations.type),
    ):
        if wanted:
            rows = rows[column[rows] == (names.index(wanted) if wanted in names else -2)]
    if query.client is not None:
        process = operations.process[rows]
        own = (process % clients if clients else process) == query.client
        rows = rows[own & ~operations.final[rows]]
    if query.since_ms is not None:
        end = operations.end[rows]
        rows = rows[(end == NEVER) | (end >= query.since_ms * 1e6)]
    if query.until_ms is not None:
        rows = rows[operations.start[rows] <= query.until_ms * 1e6]
    return rows

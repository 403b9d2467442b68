"""Did a lock ever have two holders at once? For locks by `SET key token NX PX`, which a failover can hand out twice.

An acquisition certainly holds from the moment its client knew of it until that client began to release it, or until
its time to live may have run out, which the server counts from some moment after the acquisition was sent. If another
client was granted the lock in between, both held it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Any, NamedTuple

from checkers.context import Timeline, seconds
from checkers.events import FAIL, NEVER, OK
from checkers.finding import Anomaly, Collector, Finding
from checkers.history import History, Operations
from checkers.linearizability import name_key
from checkers.models import freeze, shown

CHECKER = "locks"
KIND = "two-holders"


class Hold(NamedTuple):
    """One acquisition that was granted, in nanoseconds since the run began."""

    row: int
    who: Any
    """The token, or the process where the history has no tokens."""
    asked: int
    granted: int
    """When its client knew."""
    until: int
    """Up to here it certainly holds; `NEVER` when it was not released and does not expire."""


def check_locks(history: History, *, ttl_ms: float | None = None) -> Finding:
    """Find grants of a lock that another client certainly held: kind `two-holders`.

    Operations are `acquire` and `release` of a token, or of `[token, milliseconds]` where the lock expires; `ttl_ms`,
    or `lock_ttl_ms` in the history's header, is the time to live where the operation names none. A release of unknown
    outcome may have released. Equal times contradict nothing.
    """
    operations = history.operations
    default = history.header.get("lock_ttl_ms") if ttl_ms is None else ttl_ms
    found, timeline = Collector(CHECKER), Timeline.of(history)
    granted = 0
    for key, rows in history.groups.items():
        holds = holds_of(operations, rows.tolist(), default)
        granted += len(holds)
        for first, second in clashes(holds):
            if found.wants(KIND):
                found.add(_anomaly(operations, timeline, key, first, second))
            else:
                found.count(KIND)
    return found.finding({"checked": granted})


def holds_of(operations: Operations, rows: list[int], ttl_ms: float | None) -> list[Hold]:
    """The acquisitions that were granted, by the time they were known."""
    acquire, release = operations.code("acquire"), operations.code("release")
    releases: dict[Any, list[int]] = {}
    for row in rows:
        if operations.f[row] == release and operations.type[row] != FAIL:
            releases.setdefault(_holder(operations, row)[0], []).append(row)
    holds = []
    for row in rows:
        if operations.f[row] == acquire and operations.type[row] == OK:
            who, own_ttl = _holder(operations, row)
            asked, granted = int(operations.start[row]), int(operations.end[row])
            freed = [int(operations.start[r]) for r in releases.get(who, ()) if operations.end[r] >= asked]
            life = ttl_ms if own_ttl is None else own_ttl
            expiry = NEVER if life is None else asked + int(life * 1e6)
            holds.append(Hold(row, who, asked, granted, min([*freed, expiry])))
    return sorted(holds, key=lambda hold: hold.granted)


def clashes(holds: list[Hold]) -> Iterator[tuple[Hold, Hold]]:
    """Each grant that another one contradicts, with that other one first; O(n log n).

    Of two that overlap, the one known later was granted while the other was held: either it was asked for after the
    other was known, or it, too, still held when it was known.
    """
    granted = [hold.granted for hold in holds]
    longest: list[list[Hold]] = [[]]  # of the first 0, 1, ... grants the two that hold longest, by different holders
    for place, hold in enumerate(holds):
        before = place if hold.until > hold.granted else bisect_left(granted, hold.asked, 0, place)
        for other in longest[before]:
            if other.who != hold.who and other.until > hold.granted:
                yield other, hold
                break
        best: dict[Any, Hold] = {}
        for candidate in sorted([*longest[-1], hold], key=lambda held: -held.until):
            best.setdefault(candidate.who, candidate)
        longest.append(list(best.values())[:2])


def is_expiring(history: History) -> bool:
    """Whether the history says that its locks expire by themselves."""
    operations = history.operations
    if "lock_ttl_ms" in history.header:
        return True
    return any(isinstance(operations.value[row], list) for row in operations.rows("acquire").tolist())


def _holder(operations: Operations, row: int) -> tuple[Any, float | None]:
    """Who acquires or releases, and the time to live in ms if the operation names one."""
    value = operations.value[row]
    token, ttl = value if isinstance(value, list) and len(value) == 2 else (value, None)
    return (("process", int(operations.process[row])) if token is None else freeze(token)), ttl


def _anomaly(operations: Operations, timeline: Timeline, key: str, first: Hold, second: Hold) -> Anomaly:
    together = min(first.until, second.until)
    until = "to the end" if first.until == NEVER else f"until {seconds(first.until)}"
    words = (
        f"{name_key(key)} had two holders at once: {_named(operations, first)} held it from {seconds(first.granted)} "
        f"{until}, and {_named(operations, second)} was granted it between {seconds(second.asked)} and "
        f"{seconds(second.granted)}"
    )
    return Anomaly(
        kind=KIND,
        explanation=f"{words}; {timeline.describe(second.asked, second.granted)}",
        operations=[int(operations.index[second.row]), int(operations.index[first.row])],
        key=key or None,
        fault=timeline.fault_at(second.asked, second.granted),
        measured={} if together == NEVER else {"overlap_ms": max(0, together - second.granted) / 1e6},
    )


def _named(operations: Operations, hold: Hold) -> str:
    who = (
        f"process {hold.who[1]}"
        if isinstance(hold.who, tuple) and hold.who[0] == "process"
        else f"token {shown(hold.who)}"
    )
    return f"{who} (operation {operations.index[hold.row]})"

"""Groups of keys that are always written together, and operations that cross slots.

Did a read see half of a write, and did the server ever agree to an operation whose keys lie in several slots?

A group is judged when every `mset` that names it writes the same keys; then a read of those keys must return the
values of one `mset`, or none at all before the first. MSET, MULTI/EXEC and scripts are atomic on their node at any
time, also while a slot is open (the server has to answer TRYAGAIN) and on replicas (replicated as a unit), with one
documented weakness: on Redis up to 7 a replica of the source of a slot migration loses the keys MIGRATE by MIGRATE.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from checkers.context import Timeline, seconds
from checkers.finding import Anomaly, Collector, Finding
from checkers.history import FAIL, OK, History, Operations

REFUSABLE = "cross-slot"
"""`via` of operations that the server must refuse: all keys are declared, and lie in several slots."""
TOLERATED = "undeclared"
"""`via` of scripts that touch a key they did not declare: accepted by design, and only counted."""

_AMBIGUOUS = -1
_WEAK_REPLICA = re.compile(r"redis (\d+)")


def check_multikey(history: History) -> Finding:
    """Find reads that mix several writes of their group, and cross-slot operations that were accepted.

    Kinds: `torn-read`, `cross-slot-accepted`, and `phantom-value` for a value in a group that nobody wrote there.
    """
    operations = history.operations
    timeline = Timeline.of(history)
    found = Collector("multikey")
    groups = _groups(operations)
    torn_by_answerer: Counter[str] = Counter()
    reads = 0
    for row, group in _readings(operations, groups):
        reads += 1
        writers = _writers(group, operations.value[row])
        if None in writers.values():
            found.add(_phantom(operations, timeline, row, writers))
        elif len(set(writers.values()) - {_AMBIGUOUS}) > 1:
            torn_by_answerer["replica" if _via(operations, row) == "replica" else "owner"] += 1
            found.add(_torn(history, timeline, row, writers))
    crossing = _cross_slot(operations, timeline, found)
    uneven = sorted(group.name for group in groups.values() if group.uneven)
    metrics: dict[str, Any] = {
        "checked": reads + crossing["cross_slot_attempts"],
        "reads": reads,
        "groups": len(groups) - len(uneven),
        "torn_by_answerer": dict(torn_by_answerer),
        **crossing,
    }
    if uneven:
        doubt = f"not every mset writes the whole group, so its reads cannot be judged: {', '.join(uneven[:5])}"
        metrics["undecided"] = doubt
    return found.finding(metrics, metrics.get("undecided"))


@dataclass
class _Group:
    """The keys of one hash tag, and which `mset` wrote which of their values."""

    name: str
    keys: frozenset[str]
    uneven: bool = False
    writers: dict[tuple[str, Any], int] = field(default_factory=dict)
    """Row of the `mset` that wrote a value of a key; `_AMBIGUOUS` when there were several."""


def _groups(operations: Operations) -> dict[int, _Group]:
    groups: dict[int, _Group] = {}
    for row in operations.rows("mset").tolist():
        if _via(operations, row) in (REFUSABLE, TOLERATED):
            continue
        code, written = int(operations.key[row]), operations.value[row]
        group = groups.setdefault(code, _Group(operations.key_name(row) or "", frozenset(written)))
        group.uneven |= group.keys != written.keys()
        for pair in written.items():
            group.writers[pair] = _AMBIGUOUS if pair in group.writers else row
    return groups


def _readings(operations: Operations, groups: dict[int, _Group]) -> Iterator[tuple[int, _Group]]:
    rows = operations.rows("mget")
    for row in rows[operations.type[rows] == OK].tolist():
        group = groups.get(int(operations.key[row]))
        if group and not group.uneven and _via(operations, row) not in (REFUSABLE, TOLERATED):
            yield row, group


_NOT_WRITTEN_YET = -2


def _writers(group: _Group, returned: dict[str, Any]) -> dict[str, int | None]:
    """Which `mset` each returned value is from; None for a value that nobody wrote."""
    return {
        key: _NOT_WRITTEN_YET if value is None else group.writers.get((key, value))
        for key, value in returned.items()
        if key in group.keys
    }


def _via(operations: Operations, row: int) -> str | None:
    via = operations.details.get(row, {}).get("via")
    return None if via is None else str(via)


def _torn(history: History, timeline: Timeline, row: int, writers: dict[str, int | None]) -> Anomaly:
    operations = history.operations
    parts = []
    for writer in sorted(set(writers.values()) - {None, _AMBIGUOUS}, key=lambda known: known or 0):
        names = " and ".join(key for key, by in writers.items() if by == writer)
        if writer == _NOT_WRITTEN_YET:
            parts.append(f"{names} absent")
        elif writer is not None:
            parts.append(
                f"{names} of the mset (operation {operations.index[writer]}) begun at "
                f"{seconds(int(operations.start[writer]))}"
            )
    start, end = int(operations.start[row]), int(operations.end[row])
    node = operations.node_name(row)
    words = (
        f"mget of {operations.key_name(row)}{f' from {node}' if node else ''} at {seconds(start)} "
        f"saw {', '.join(parts)}, though each mset writes the whole group at once; {timeline.describe(start, end)}"
    )
    if _via(operations, row) == "replica" and _replicas_are_weak(history):
        words += (
            "; it was read from a replica, and on this server a replica of the source of a slot migration loses the "
            "keys one MIGRATE after the other"
        )
    proof = [row, *sorted({by for by in writers.values() if by is not None and by >= 0})]
    return _anomaly("torn-read", operations, timeline, words, proof)


def _replicas_are_weak(history: History) -> bool:
    version = _WEAK_REPLICA.match(str(history.header.get("server", "")))
    return version is not None and int(version[1]) <= 7


def _phantom(operations: Operations, timeline: Timeline, row: int, writers: dict[str, int | None]) -> Anomaly:
    values = operations.value[row]
    strange = ", ".join(f"{key}={values[key]}" for key, by in writers.items() if by is None)
    words = (
        f"mget of {operations.key_name(row)} at {seconds(int(operations.start[row]))} returned {strange}, "
        f"which no mset wrote there, {timeline.describe(int(operations.start[row]), int(operations.end[row]))}"
    )
    return _anomaly("phantom-value", operations, timeline, words, [row])


def _cross_slot(operations: Operations, timeline: Timeline, found: Collector) -> dict[str, int]:
    """Report the accepted ones; returns the metrics."""
    outcomes: dict[str, Counter[int]] = {REFUSABLE: Counter(), TOLERATED: Counter()}
    for row, detail in sorted(operations.details.items()):
        via = detail.get("via")
        if via not in outcomes:
            continue
        kind = int(operations.type[row])
        outcomes[via][kind] += 1
        if via == REFUSABLE and kind == OK:
            start, end = int(operations.start[row]), int(operations.end[row])
            f, keys = operations.functions[operations.f[row]], " and ".join(operations.value[row] or {})
            words = (
                f"{f} of {keys}, which lie in different slots, was accepted by {operations.node_name(row) or 'a node'} "
                f"at {seconds(start)} instead of refused with CROSSSLOT, {timeline.describe(start, end)}"
            )
            found.add(_anomaly("cross-slot-accepted", operations, timeline, words, [row]))
    return {
        "cross_slot_attempts": outcomes[REFUSABLE].total(),
        "cross_slot_refused": outcomes[REFUSABLE][FAIL],
        "undeclared_accepted": outcomes[TOLERATED][OK],
        "undeclared_refused": outcomes[TOLERATED][FAIL],
    }


def _anomaly(kind: str, operations: Operations, timeline: Timeline, words: str, rows: list[int]) -> Anomaly:
    fault = timeline.fault_at(int(operations.start[rows[0]]), int(operations.end[rows[0]]))
    return Anomaly(kind, words, [int(operations.index[row]) for row in rows], operations.key_name(rows[0]), fault)

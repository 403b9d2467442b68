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
from functools import cached_property
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers.context import Timeline, in_cluster, keys_have_slots, seconds
from checkers.events import FAIL, OK
from checkers.finding import Anomaly, Collector, Finding
from checkers.history import History, Operations

REFUSABLE = "cross-slot"
"""`via` of operations that the server must refuse: all keys are declared, and lie in several slots."""
TOLERATED = "undeclared"
"""`via` of scripts that touch a key they did not declare: accepted by design, and only counted."""

Rows = NDArray[np.int64]

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
    doubtful: list[tuple[int, _Group]] = []
    for group, rows in _readings(operations, groups):
        reads += len(rows)
        doubtful += [(row, group) for row in rows.tolist() if not group.shows(operations.value[row])]
    for row, group in sorted(doubtful, key=itemgetter(0)):
        writers = _writers(group, operations.value[row])
        if None in writers.values():
            found.add(_phantom(operations, timeline, row, writers))
        elif len(set(writers.values()) - {_AMBIGUOUS}) > 1:
            torn_by_answerer["replica" if _via(operations, row) == "replica" else "owner"] += 1
            found.add(_torn(history, timeline, row, writers))
    crossing = _cross_slot(operations, timeline, found, refusable=keys_have_slots(history) and in_cluster(history))
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


class _Group:
    """The keys of one hash tag, and which `mset` wrote which of their values."""

    def __init__(self, name: str, rows: list[int], written: list[dict[str, Any]]) -> None:
        self.name = name
        self.keys = frozenset(written[0])
        self.uneven = any(values.keys() != self.keys for values in written)
        self._rows, self._written = rows, written
        self._first = min(self.keys, default="")
        self._whole = {values.get(self._first): values for values in written} | {None: dict.fromkeys(self.keys)}

    def shows(self, returned: dict[str, Any]) -> bool:
        """Whether these are the values of one `mset`, or none at all. Most reads are, so this is looked at first."""
        return self._whole.get(returned.get(self._first)) == returned

    @cached_property
    def writers(self) -> dict[tuple[str, Any], int]:
        """Row of the `mset` that wrote a value of a key; `_AMBIGUOUS` when there were several."""
        writers: dict[tuple[str, Any], int] = {}
        for row, values in zip(self._rows, self._written, strict=True):
            for pair in values.items():
                writers[pair] = _AMBIGUOUS if pair in writers else row
        return writers


def _groups(operations: Operations) -> dict[int, _Group]:
    groups: dict[int, _Group] = {}
    for code, rows in _by_key(operations, "mset"):
        written = [operations.value[row] for row in rows.tolist()]
        groups[code] = _Group(operations.keys[code] if code >= 0 else "", rows.tolist(), written)
    return groups


def _readings(operations: Operations, groups: dict[int, _Group]) -> Iterator[tuple[_Group, Rows]]:
    """The groups that can be judged, with the rows of their answered reads."""
    for code, rows in _by_key(operations, "mget"):
        group = groups.get(code)
        if group and not group.uneven:
            yield group, rows[operations.type[rows] == OK]


def _by_key(operations: Operations, f: str) -> Iterator[tuple[int, Rows]]:
    """Code of each key and rows of its operations named `f`, but for those that are to cross slots."""
    rows = operations.rows(f)
    crossing = [row for row, detail in operations.details.items() if detail.get("via") in (REFUSABLE, TOLERATED)]
    rows = rows[~np.isin(rows, crossing)]
    order = np.argsort(operations.key[rows], kind="stable")
    codes, first = np.unique(operations.key[rows[order]], return_index=True)
    return zip(codes.tolist(), np.split(rows[order], first[1:]), strict=False)


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


def _cross_slot(operations: Operations, timeline: Timeline, found: Collector, *, refusable: bool) -> dict[str, int]:
    """Report the accepted ones, where there is a rule to refuse them; returns the metrics."""
    outcomes: dict[str, Counter[int]] = {REFUSABLE: Counter(), TOLERATED: Counter()}
    for row, detail in sorted(operations.details.items()):
        via = detail.get("via")
        if via not in outcomes:
            continue
        kind = int(operations.type[row])
        outcomes[via][kind] += 1
        if via == REFUSABLE and kind == OK and refusable:
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

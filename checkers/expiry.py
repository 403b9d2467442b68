"""Whether entries with a time to live stayed for their time, and no longer.

An entry is written for so many milliseconds, which its server counts from the moment the write took effect: some
moment between the write's start and its end, or the end of the first read that saw it, if that was earlier. So a read
that began later than that end plus the time to live, and still returned the value, is an *expired read*, wherever in
its interval the write took effect. And a read that found nothing is too early when the last write, whichever of those
it can have been, cannot have been due by the end of the read.

Nothing may be there for other reasons than an early expiry: the node that answered may never have had the entry, or
have lost it. It *expired early* where the answering node had acknowledged or shown it in the same reign (see
`checkers.reigns`: it lost nothing in between); elsewhere the value is *missing*, and that is all that can be said.

Servers count in whole milliseconds, when they write down a deadline and when they look at the clock, and may go by a
clock reading that is a little old: `GRANULARITY_NS` covers that. Times are those of the recording machine's monotonic
clock; when that machine stood still, servers on others did not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from checkers.context import Timeline, seconds
from checkers.events import FAIL, NEVER, OK
from checkers.finding import Anomaly, Collector, Finding
from checkers.history import History, Operations
from checkers.linearizability import name_key
from checkers.models import freeze, shown
from checkers.reigns import reigns
from checkers.zones import SECOND_HAND, ways

CHECKER = "expiry"
EXPIRED, EARLY, MISSING = "expired-read", "early-expiry", "missing-value"
GRANULARITY_NS = 5_000_000


@dataclass
class Write:
    """One write of an entry that did not fail. Times in nanoseconds since the run began."""

    row: int
    value: Any
    life_ns: int
    start: int
    known: int
    """By then it had taken effect; `NEVER` when nobody knows whether it did."""
    proof: int
    """Row of the operation that made it known."""
    repeated: bool
    """A client sent it several times: it may take effect again after it was known."""

    @property
    def done(self) -> int:
        """It takes no effect after that; `NEVER` when it may at any time."""
        return NEVER if self.repeated else self.known


@dataclass
class Early:
    """A read that found nothing although an entry had to be there."""

    row: int
    writes: list[Write]
    """The newest write that had taken effect before the read began, and those that may have replaced it."""
    due_ns: int
    """The earliest time at which any of them may have been due."""


class Entry:
    """An object that is written for a time and read."""

    def __init__(self, operations: Operations, writes: list[int], reads: list[int]) -> None:
        """Rows of the writes that did not fail and of the reads that returned, each by start."""
        self.operations = operations
        self.reads = reads
        self.writes = [_write(operations, row) for row in writes]
        self.writers: dict[Any, list[Write]] = {}
        """By value."""
        for write in self.writes:
            self.writers.setdefault(write.value, []).append(write)
        for row in reads:
            writers = self.writers.get(freeze(operations.value[row]), [])
            if len(writers) == 1 and operations.end[row] < writers[0].known:
                writers[0].known, writers[0].proof = int(operations.end[row]), row

    def expired(self) -> Iterator[tuple[int, Write | None]]:
        """Each read of a value with the write whose time, of all that wrote it, is up last.

        None when the time of one of them is not known.
        """
        for row in self.reads:
            writers = self.writers.get(freeze(self.operations.value[row]))
            if writers:
                last = max(writers, key=lambda write: write.done + write.life_ns if write.done != NEVER else NEVER)
                yield row, None if last.done == NEVER else last

    def early(self) -> Iterator[Early]:
        """Each read from an owner that found nothing and was too early, whichever write was the last."""
        via = ways(self.operations)
        coming = sorted((write for write in self.writes if write.known != NEVER), key=lambda write: write.known)
        place = {write.row: number for number, write in enumerate(self.writes)}
        overlapping = _overlapping(self.writes)
        newest, taken = -1, 0
        for row in self.reads:
            start, end = int(self.operations.start[row]), int(self.operations.end[row])
            while taken < len(coming) and coming[taken].known < start:
                newest, taken = max(newest, place[coming[taken].row]), taken + 1
            if newest < 0 or self.operations.value[row] is not None or via.get(row) in SECOND_HAND:
                continue
            last = self.writes[newest]
            later = [last]
            for write in self.writes[newest + 1 :]:
                if write.start > end:
                    break
                later.append(write)
            due = min([*(write.start + write.life_ns for write in later), last.start + overlapping[newest]])
            if end + GRANULARITY_NS < due:
                yield Early(row, later, due)


def is_entry(value: Any) -> bool:
    """Whether a written value has the form [value, milliseconds]."""
    if not isinstance(value, list) or len(value) != 2:
        return False
    what, life_ms = value
    return isinstance(life_ms, int | float) and not isinstance(life_ms, bool) and not isinstance(what, list | dict)


def entries_of(history: History) -> Iterator[tuple[str, Entry]]:
    """The objects of a history that are only read and written for a time, by key."""
    operations = history.operations
    write, read = operations.code("write"), operations.code("read")
    if not any(is_entry(operations.value[row]) for row in operations.rows("write").tolist()):
        return
    for key, rows in history.groups.items():
        kept = {
            code: rows[(operations.f[rows] == code) & wanted].tolist()
            for code, wanted in ((write, operations.type[rows] != FAIL), (read, operations.type[rows] == OK))
        }
        plain = np.isin(operations.f[rows], (write, read)).all()
        if plain and kept[write] and all(is_entry(operations.value[row]) for row in kept[write]):
            yield key, Entry(operations, kept[write], kept[read])


def check_expiry(history: History) -> Finding:
    """Judge every read of every entry (`write` [v, milliseconds], `read` v or null).

    Kinds: `expired-read`, `early-expiry` and `missing-value`. Metrics: `checked` reads, `entries`, and `max_late_ms`
    and `max_early_ms`, how far beyond its time a value was read and how long before it one was gone.

    Unknown when nothing was proved and some value may have been written again at a time that nobody knows.
    """
    operations, timeline = history.operations, Timeline.of(history)
    found = Collector(CHECKER)
    checked = entries = unbounded = 0
    worst = dict.fromkeys((EXPIRED, EARLY, MISSING), 0.0)
    for key, entry in entries_of(history):
        entries += 1
        checked += len(entry.reads)
        for row, write in entry.expired():
            if write is None:
                unbounded += 1
                continue
            late_ns = int(operations.start[row]) - write.done - write.life_ns
            if late_ns > GRANULARITY_NS:
                worst[EXPIRED] = max(worst[EXPIRED], late_ns / 1e6)
                if found.wants(EXPIRED):
                    found.add(_expired(operations, timeline, key, row, write, late_ns))
                else:
                    found.count(EXPIRED)
        for early in entry.early():
            witness = _witness(operations, timeline, entry, early)
            kind = EARLY if witness is not None or not timeline.observed else MISSING
            early_ns = early.due_ns - int(operations.end[early.row])
            worst[kind] = max(worst[kind], early_ns / 1e6)
            if found.wants(kind):
                found.add(_early(operations, timeline, key, kind, early, witness))
            else:
                found.count(kind)
    metrics = {
        "checked": checked,
        "entries": entries,
        "max_late_ms": worst[EXPIRED],
        "max_early_ms": worst[EARLY],
        "max_missing_ms": worst[MISSING],
    }
    unknown = f"{unbounded} reads returned values that may have been written again at any time" if unbounded else None
    return found.finding(metrics, unknown)


def _write(operations: Operations, row: int) -> Write:
    value, life_ms = operations.value[row]
    known = int(operations.end[row]) if operations.type[row] == OK else NEVER
    repeated = len(operations.details.get(row, {}).get("attempts") or ()) > 1
    return Write(row, freeze(value), int(life_ms * 1e6), int(operations.start[row]), known, row, repeated)


def _overlapping(writes: list[Write]) -> list[int]:
    """For each write the shortest life of those that began before it and may have taken effect after it did."""
    shortest = []
    forever = NEVER
    active: list[tuple[int, int]] = []
    for write in writes:
        active = [(done, life) for done, life in active if done >= write.start]
        shortest.append(min([forever, *(life for _, life in active)]))
        if write.done == NEVER:
            forever = min(forever, write.life_ns)
        else:
            active.append((write.done, write.life_ns))
    # NEVER is added to a start; half of it is long enough, and the sum still fits.
    return [min(life, NEVER // 2) for life in shortest]


def _witness(operations: Operations, timeline: Timeline, entry: Entry, early: Early) -> int | None:
    """An operation that shows that the answering node had one of the writes in the reign in which it answered."""
    node = operations.node_name(early.row)
    if node is None:
        return None
    values = {write.value for write in early.writes}
    own = {write.row for write in early.writes}
    start = int(operations.start[early.row])
    via = ways(operations)
    shown_by = [
        row
        for row in [*own, *(row for row in entry.reads if freeze(operations.value[row]) in values)]
        if operations.type[row] == OK
        and operations.end[row] < start
        and operations.node[row] == operations.node[early.row]
        and via.get(row) not in SECOND_HAND
    ]
    times = np.array([start, *(int(operations.end[row]) for row in shown_by)])
    reign, *then = reigns(timeline, node, times).tolist()
    return next((row for row, other in zip(shown_by, then, strict=True) if other == reign >= 0), None)


def _expired(operations: Operations, timeline: Timeline, key: str, row: int, write: Write, late_ns: int) -> Anomaly:
    start, end = int(operations.start[row]), int(operations.end[row])
    words = (
        f"{name_key(key)} still held {shown(write.value)} for a read that began at {seconds(start)} "
        f"({_answered(operations, row)}): written for {write.life_ns / 1e9:g} s by {seconds(write.done)} "
        f"(operation {operations.index[write.row]}), it had been due for {late_ns / 1e6:.0f} ms"
    )
    return Anomaly(
        kind=EXPIRED,
        explanation=f"{words}; {timeline.describe(start, end)}",
        operations=[int(operations.index[one]) for one in dict.fromkeys((row, write.row, write.proof))],
        key=key or None,
        fault=timeline.fault_at(start, end),
        measured={"late_ms": late_ns / 1e6},
    )


def _early(
    operations: Operations, timeline: Timeline, key: str, kind: str, early: Early, witness: int | None
) -> Anomaly:
    start, end = int(operations.start[early.row]), int(operations.end[early.row])
    early_ns, write = early.due_ns - end, early.writes[0]
    words = (
        f"{name_key(key)} held nothing for a read that ended at {seconds(end)} ({_answered(operations, early.row)}): "
        f"{shown(write.value)}, written for {write.life_ns / 1e9:g} s after {seconds(write.start)} "
        f"(operation {operations.index[write.row]}), or what replaced it, had {early_ns / 1e6:.0f} ms to stay at least"
    )
    if kind == MISSING:
        words += "; the node never showed it in this reign, so it may have expired, be lost, or not have arrived"
    proof = [early.row, write.row, write.proof, *([] if witness is None else [witness])]
    return Anomaly(
        kind=kind,
        explanation=f"{words}; {timeline.describe(start, end)}",
        operations=[int(operations.index[one]) for one in dict.fromkeys(proof)],
        key=key or None,
        fault=timeline.fault_at(start, end),
        measured={"early_ms": early_ns / 1e6},
    )


def _answered(operations: Operations, row: int) -> str:
    node = operations.node_name(row)
    return f"operation {operations.index[row]}" + (f", answered by {node}" if node is not None else "")

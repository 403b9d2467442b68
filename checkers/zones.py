"""Unique-value registers, prepared once for every question asked about them.

When no value is written twice to a key, each read names its write, and a key's operations fall into *clusters*: one
write and the reads that returned its value. Gibbons and Korach ("Testing shared memories", 1997) call the stretch
between the earliest end and the latest start of a cluster its *zone*; two clusters can be ordered unless each of them
has an operation that ended before one of the other began, and a key is linearizable exactly when no two clusters
contradict each other like that (a longer cycle always contains such a pair, because "ended before began" compares
two numbers only).

What does not fit that picture at first is made to fit, without losing or inventing a contradiction:

* A write that failed did not happen. One of unknown outcome that nobody read may not have happened, and is dropped;
  one that was read had taken effect when its first reader ended, so it ends there at the latest.
* The value before the first write is a write before everything.
* A read of a value without a writer, and a read that ended before its write began, have no place in any order. They
  are set apart (`phantoms`, `early`) and take no further part.
* A key on which a value was written twice, or compared and set, is not decidable this way: see `undecided`.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers.events import FAIL, NEVER, OK
from checkers.history import History, HistoryError, Operations

Ints = NDArray[np.int64]

FILLED = {
    "hit": "entry of the cache",
    "negative": "entry of the cache",
    "load": "database",
    "flight": "database, asked by another client",
    "database": "database, for the cache failed",
}
"""Ways to read an item that a cache has from a database, and who answers then: an entry, or a load of it."""

SECOND_HAND = {"replica": "replica", "cache": "local cache", "copy": "copy of the key", **FILLED}
"""Ways (`via`) to read that do not ask the owner of the key, and who answers then."""

PROMISED_NOTHING = frozenset({"replica"})
"""Those of which nobody claims that they read registers: a cache and copies are the client's own, and pass for them."""

_REGISTER_FUNCTIONS = ("read", "write", "cas")
_LARGEST = 2**62


@dataclass(frozen=True)
class Registers:
    """The clusters of all registers of a history, sorted by key and value, and the reads sorted by cluster.

    Times marked *line* are nanoseconds on one line on which the keys lie end to end, so that no interval of one key
    overlaps one of another and a single pass serves all keys. Differences within a key are true nanoseconds.
    """

    operations: Operations
    keys: list[str]
    """Names of the keys that are decided here, "" for the object without a key, by number of the key."""
    base: Ints
    """Line: where each key begins, by number of the key."""
    key: Ints
    """Number of the key of each cluster."""
    writer: Ints
    """Row of the write of each cluster, -1 for the value before the first write."""
    write_start: Ints
    """Line: when the write began."""
    first_end: Ints
    """Line: the earliest end of a cluster's operations; by then the write had taken effect."""
    last_read: Ints
    """Line: the latest start of a read, or the start of the write when it was not read."""
    read_row: Ints
    read_cluster: Ints
    read_start: Ints
    """Line."""
    read_slice: Ints
    """The reads of cluster c are `read_slice[c]` to `read_slice[c + 1]`."""
    phantoms: Ints
    """Rows of reads of a value that no write can have written."""
    early: Ints
    """Rows of reads that ended before the write of their value began."""
    undecided: dict[str, str]
    """Keys that this preparation cannot decide, and why."""
    second_hand: int
    """Reads that did not ask the owner of the key and were left out."""

    @property
    def last_start(self) -> Ints:
        """Line: the latest start of a cluster's operations."""
        return np.maximum(self.write_start, self.last_read)

    @property
    def checked(self) -> int:
        """Number of operations that take part."""
        writes = int(np.count_nonzero(self.writer >= 0))
        return writes + len(self.read_row) + len(self.phantoms) + len(self.early)

    def members(self, cluster: int) -> list[int]:
        """Rows of a cluster: the write, unless it is the initial value, and the reads."""
        reads = self.read_row[self.read_slice[cluster] : self.read_slice[cluster + 1]].tolist()
        writer = int(self.writer[cluster])
        return reads if writer < 0 else [writer, *reads]

    def first_ender(self, cluster: int) -> int | None:
        """The row that proves when the write of a cluster had taken effect; None for the initial value."""
        if self.writer[cluster] < 0:
            return None
        rows = np.array(self.members(cluster))
        return int(rows[np.argmin(self.operations.end[rows])])

    def first_after(self, cluster: int, time_ns: int) -> int:
        """The row of the first operation of a cluster to begin after a time; one is known to."""
        rows = np.array(self.members(cluster))
        rows = rows[self.operations.start[rows] > time_ns]
        return int(rows[np.argmin(self.operations.start[rows])])


def prepare(history: History, *, second_hand: bool, initial: Any = None) -> Registers:
    """Sort the reads and writes of a history's registers into clusters; O(n log n) in NumPy.

    A register is an object that is only read, written, or compared and set, with plain values. `second_hand` says
    whether reads of replicas take part (those taken after convergence never do), and `initial` is the value before
    the first write.

    Raises HistoryError when there are so many keys in so long a run that their times do not fit on one line.
    """
    operations = history.operations
    undecided: dict[str, str] = {}
    rows, left_out = _relevant(operations, second_hand, undecided, counted=_has_counters(history))
    values = operations.value
    if len(rows) < len(operations):
        values = list(map(values.__getitem__, rows.tolist()))
    if {list, dict} & set(map(type, values)):
        rows, values = _plain(operations, rows, values)
    code = codes_of(values, initial)
    while True:
        number, keys = _numbered(operations, rows)
        order, bounds = _sorted(number, code)
        writes = operations.f[rows[order]] == operations.code("write")
        written = np.add.reduceat(writes, bounds[:-1], dtype=np.int64) if len(rows) else bounds[:-1]
        twice = written + (code[order[bounds[:-1]]] == 0) > 1  # the initial value was written before everything
        if not twice.any():
            break
        bad = np.zeros(len(keys), np.bool_)
        bad[number[order[bounds[:-1]][twice]]] = True
        for name in np.array(keys)[bad].tolist():
            undecided[name] = "a value was written twice, so a read does not name its write"
        kept = ~bad[number]
        rows, code = rows[kept], code[kept]
    return _clusters(operations, rows[order], number[order], code[order], writes, keys, undecided, left_out)


def clashes(first_end: Ints, last_start: Ints) -> tuple[Ints, Ints]:
    """Clusters that cannot be ordered, each with one it contradicts; O(m log m).

    Of clusters i and j one must come first; i must when `first_end[i] < last_start[j]`. They clash when both must.
    So two zones that are stretches of time (end before start: *forward*) clash when they overlap, and a *backward*
    zone clashes with the forward one that contains it. Two backward zones never clash.
    """
    forward = first_end < last_start
    zones = np.flatnonzero(forward)
    zones = zones[np.argsort(first_end[zones], kind="stable")]
    if not len(zones):
        return zones, zones
    low, high = first_end[zones], last_start[zones]
    reach = np.maximum.accumulate(high)
    leader = zones[np.maximum.accumulate(np.where(high == reach, np.arange(len(zones)), 0))]
    overlap = np.flatnonzero(low[1:] < reach[:-1])
    others = np.flatnonzero(~forward)
    before = np.searchsorted(low, last_start[others], "left") - 1
    inside = (before >= 0) & (reach[before] > first_end[others])
    return (
        np.concatenate((zones[overlap + 1], others[inside])),
        np.concatenate((leader[overlap], leader[before[inside]])),
    )


def packed(major: Ints, minor: Ints) -> Ints:
    """One number for each pair of numbers (none negative) that sorts and compares as the pair does."""
    width, height = int(minor.max(initial=0)) + 1, int(major.max(initial=0)) + 1
    if width * height >= _LARGEST:
        major, minor = (np.unique(part, return_inverse=True)[1] for part in (major, minor))
        width = int(minor.max(initial=0)) + 1
    return major * width + minor


def ways(operations: Operations) -> dict[int, str]:
    """By row: how it was served, for the operations whose record says so (`via`)."""
    return {row: found["via"] for row, found in operations.details.items() if "via" in found}


def _has_counters(history: History) -> bool:
    """Whether an object that nobody changed may be a counter, whose value before every change is 0."""
    return "counter" in history.header.get("workloads", ()) or "add" in history.operations.functions


def _relevant(
    operations: Operations, second_hand: bool, undecided: dict[str, str], *, counted: bool
) -> tuple[Ints, int]:
    """Rows of reads that returned and of writes that did not fail, on registers; and the reads left out.

    `counted` says that an object which was only read may be another thing than a register.
    """
    read, write, cas = (operations.code(name) for name in _REGISTER_FUNCTIONS)
    slots = len(operations.keys) + 1
    number = operations.key.astype(np.int64) + 1
    foreign = np.bincount(number[~np.isin(operations.f, (read, write, cas))], minlength=slots) > 0
    if counted:
        foreign |= np.bincount(number[np.isin(operations.f, (write, cas))], minlength=slots) == 0
    compared = (np.bincount(number[operations.f == cas], minlength=slots) > 0) & ~foreign
    names = ["", *operations.keys]
    for place in np.flatnonzero(compared).tolist():
        undecided[names[place]] = "it was compared and set, so its operations are not only reads and writes"
    reads = (operations.f == read) & (operations.type == OK)
    writes = (operations.f == write) & (operations.type != FAIL)
    kept = (reads | writes) & ~(foreign | compared)[number]
    unasked = SECOND_HAND if second_hand else PROMISED_NOTHING
    strangers = np.fromiter((row for row, via in ways(operations).items() if via in unasked), np.int64)
    strangers = strangers[reads[strangers] & kept[strangers]]
    if second_hand:
        strangers = strangers[operations.final[strangers]]
    kept[strangers] = False
    return np.flatnonzero(kept), len(strangers)


def _plain(operations: Operations, rows: Ints, values: list[Any]) -> tuple[Ints, list[Any]]:
    """Without the keys of which a value is a list or a table: those are no registers."""
    nested = np.fromiter((isinstance(value, (list, dict)) for value in values), np.bool_, len(values))
    kept = ~np.isin(operations.key[rows], operations.key[rows[nested]])
    return rows[kept], list(compress(values, kept.tolist()))


def codes_of(values: list[Any], initial: Any) -> Ints:
    """A number for each distinct value, 0 for the initial one, all others from 1."""
    if initial is None and set(map(type, values)) <= {int, type(None)}:
        # The usual case, several times faster: NumPy converts null to NaN, and integers exactly up to 2**53.
        with suppress(OverflowError):
            numbers = np.array(values, np.float64)
            written = ~np.isnan(numbers)
            low, high = numbers.min(initial=0, where=written), numbers.max(initial=0, where=written)
            if -(2**53) < low <= high < 2**53:
                return np.where(written, numbers - low + 1, 0).astype(np.int64)
    names = {value: place for place, value in enumerate(dict.fromkeys([initial, *values]))}
    return np.fromiter(map(names.__getitem__, values), np.int64, len(values))


def _numbered(operations: Operations, rows: Ints) -> tuple[Ints, list[str]]:
    """The number of each row's key among the keys that occur, and their names."""
    place = operations.key[rows].astype(np.int64) + 1
    occurs = np.bincount(place, minlength=len(operations.keys) + 1) > 0
    number = np.cumsum(occurs) - 1
    names = ["", *operations.keys]
    return number[place], [names[place] for place in np.flatnonzero(occurs).tolist()]


def _sorted(number: Ints, code: Ints) -> tuple[Ints, Ints]:
    """The order by key and value, and where in it each cluster begins (with the end as last entry)."""
    if not len(code):
        return np.empty(0, np.int64), np.zeros(1, np.int64)
    name = packed(number, code)
    order = np.argsort(name, kind="stable")
    change = np.flatnonzero(np.diff(name[order])) + 1
    return order, np.concatenate(([0], change, [len(name)]))


def _clusters(
    operations: Operations,
    rows: Ints,
    number: Ints,
    code: Ints,
    writes: NDArray[np.bool_],
    keys: list[str],
    undecided: dict[str, str],
    left_out: int,
) -> Registers:
    """Reduce the operations, sorted by key and value, to clusters."""
    fresh = np.ones(len(rows), np.bool_)
    fresh[1:] = (number[1:] != number[:-1]) | (code[1:] != code[:-1])
    cluster = np.cumsum(fresh) - 1
    key, initial = number[fresh], code[fresh] == 0
    writer = np.full(len(key), -1, np.int64)
    writer[cluster[writes]] = rows[writes]

    reads = ~writes
    row, of = rows[reads], cluster[reads]
    origin = writer[of]
    phantom = (origin < 0) & ~initial[of]
    early = (origin >= 0) & (operations.end[row] < operations.start[origin])
    fits = ~(phantom | early)

    first_end = np.where(writer >= 0, operations.end[writer], NEVER)
    np.minimum.at(first_end, of[fits], operations.end[row[fits]])
    effective = (first_end != NEVER) & ((writer >= 0) | initial)
    place = np.cumsum(effective) - 1
    read_row, read_cluster = row[fits], place[of[fits]]
    key, writer, first_end = key[effective], writer[effective], first_end[effective]

    origin_ns = int(operations.start[rows].min()) if len(rows) else 0
    latest = max(int(first_end.max(initial=origin_ns)), int(operations.start[rows].max(initial=origin_ns)))
    span = latest - origin_ns + 3
    if span * (len(keys) + 1) >= _LARGEST:
        raise HistoryError(
            f"{len(keys)} keys over {span / 1e9:.0f} s are too much for 64-bit nanoseconds; check the keys in parts"
        )
    first = writer < 0
    base = key * span
    write_start = np.where(first, base, base + operations.start[writer] - origin_ns + 1)
    first_end = np.where(first, base, base + first_end - origin_ns + 1)
    read_start = base[read_cluster] + operations.start[read_row] - origin_ns + 1
    last_read = write_start.copy()
    np.maximum.at(last_read, read_cluster, read_start)
    return Registers(
        operations=operations,
        keys=keys,
        base=np.arange(len(keys)) * span,
        key=key,
        writer=writer,
        write_start=write_start,
        first_end=first_end,
        last_read=last_read,
        read_row=read_row,
        read_cluster=read_cluster,
        read_start=read_start,
        read_slice=np.searchsorted(read_cluster, np.arange(len(key) + 1)),
        phantoms=np.sort(row[phantom]),
        early=np.sort(row[early]),
        undecided=undecided,
        second_hand=left_out,
    )

"""What became of every write to a register: kept, superseded, lost or unknown, in O(n log n) on arrays.

Values are unique among the writes of a key, so every read names its writer. A write had taken effect at its *known
end*: its completion, or the end of the first read that returned it, whichever came first (Golab, Li and Shah use the
same bound to close indeterminate writes). The initial value counts as written before everything.

An acknowledged write is lost when a read shows a state of the system in which the newest write had a known end before
the lost one began. Which reads show the state of the system, and not of a deposed node?

* the final read of the owner, after the run converged;
* any read answered by a node whose data is the one that survived: see `checkers.lineage`.

A multi-key group is one register: `mset` writes and `mget` reads all its keys, so that its first key stands for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers.context import Timeline
from checkers.events import NEVER, OK
from checkers.history import History, Operations
from checkers.keyslot import key_slot
from checkers.lineage import Lineage
from checkers.reigns import contradicted
from checkers.zones import SECOND_HAND, codes_of, packed, ways

KEPT, SUPERSEDED, LOST, UNKNOWN = range(4)
FATES = ("kept", "superseded", "lost", "unknown")
INITIAL = -1
"""Stands for the writer of the initial value."""
NOBODY = -2
"""Stands for the writer of a value that no write of the key carries."""

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Fates:
    """One entry a write, whatever its outcome; only the fate of acknowledged ones (`OK`) means something."""

    write: Numbers
    """Row of the write."""
    fate: Numbers
    """`KEPT`, `SUPERSEDED`, `LOST` or `UNKNOWN`."""
    proof: Numbers
    """Row of the read that proves a loss, or -1."""
    reader: Numbers
    """Row of the first read that returned its value, or -1."""
    read: Numbers
    """Rows of all reads that returned something, or the initial value."""
    writer: Numbers
    """For each of `read` the entry of the write that it returned, or `INITIAL` or `NOBODY`."""
    repeated: list[str]
    """Keys on which a value was written twice: their reads name no writer, so they are not judged."""


def owners_answer(operations: Operations, row: int) -> bool:
    """Whether a final read was sent the way a client finds the owner: not to a replica, nor by way of a given node."""
    via = str(operations.details.get(row, {}).get("via") or "")
    return via != "replica" and not via.startswith("from:")


def register_fates(history: History, timeline: Timeline) -> Fates:
    """The fates of all writes (`write`, `cas`, `mset`) to registers and multi-key groups."""
    table = _Table(history.operations)
    fate = np.full(len(table.write), UNKNOWN)
    proof = np.full(len(table.write), -1)
    finals = table.finals()
    if timeline.converged:
        _judge_by_finals(table, finals, fate, proof)
    else:
        fate[finals.writer[finals.writer >= 0]] = KEPT
    _judge_by_lineage(table, timeline, fate, proof)
    keys = [table.operations.keys[code] if code >= 0 else "" for code in table.repeated.tolist()]
    return Fates(table.write, fate, proof, table.reader, table.read, table.writer, keys)


@dataclass(frozen=True)
class _Finals:
    """The last answered final read of each object: row, object and writer."""

    row: Numbers
    object: Numbers
    writer: Numbers


class _Table:
    """Writes and answered reads of registers, each read joined with the write that it returned."""

    def __init__(self, operations: Operations) -> None:
        self.operations = operations
        writes, written = _writes(operations)
        reads, returned = _reads(operations, operations.key[writes])
        code = codes_of(written + returned, None)
        self.object = _objects(operations)
        """By row of the history: a number for the object that it is about."""
        named = packed(self.object[np.concatenate((writes, reads))], code)
        pair, wanted = np.split(named, [len(writes)])
        _, first, count = np.unique(pair, return_index=True, return_counts=True)
        self.repeated = np.unique(operations.key[writes[first[count > 1]]])
        clear = ~np.isin(operations.key[writes], self.repeated)
        order = np.flatnonzero(clear)[np.argsort(pair[clear], kind="stable")]
        self.write, pair = writes[order], pair[order]
        """Row of each write, by key and value."""
        legible = ~np.isin(operations.key[reads], self.repeated)
        self.read, wanted, absent = reads[legible], wanted[legible], (code[len(writes) :] == 0)[legible]
        position = np.searchsorted(pair, wanted)
        found = position < len(pair)
        found[found] = pair[position[found]] == wanted[found]
        self.writer = np.where(absent, INITIAL, np.where(found, position, NOBODY))
        self._close()

    def _close(self) -> None:
        """Find the first reader and the known end of each write."""
        ends, types = self.operations.end, self.operations.type
        self.reader = np.full(len(self.write), -1)
        hits = np.flatnonzero(self.writer >= 0)
        hits = hits[np.argsort(-ends[self.read[hits]], kind="stable")]
        self.reader[self.writer[hits]] = self.read[hits]  # the last assignment stays: the earliest end
        self.known_end = np.where(types[self.write] == OK, ends[self.write], NEVER)
        # A client that sent a write several times may have it applied again after a read returned it.
        repeated = _marked(self.operations, lambda detail: len(detail.get("attempts") or ()) > 1)
        seen = (self.reader >= 0) & ~repeated[self.write]
        self.known_end[seen] = np.minimum(self.known_end[seen], ends[self.reader[seen]])

    def finals(self) -> _Finals:
        """The last final read of each object that the owner of its key answered."""
        rows = self.read
        chosen = np.flatnonzero(self.operations.final[rows])
        chosen = (
            chosen[[owners_answer(self.operations, row) for row in rows[chosen].tolist()]] if len(chosen) else chosen
        )
        objects, backwards = np.unique(self.object[rows[chosen]][::-1], return_index=True)
        last = chosen[len(chosen) - 1 - backwards]
        return _Finals(rows[last], objects, self.writer[last])

    def known_ends(self, writer: Numbers) -> Numbers:
        """The known end of the writes that reads returned: -1 for the initial value, `NEVER` for nobody's."""
        padded = np.append(self.known_end, [NEVER, -1])  # positions -2 (NOBODY) and -1 (INITIAL)
        return padded[writer]

    def as_primaries(self, rows: Numbers) -> NDArray[np.bool_]:
        """Which operations a node answered as primary of the slot, as far as the record says."""
        bent = _marked(self.operations, lambda detail: bool(detail.get("asking") or detail.get("via") in SECOND_HAND))
        return ~bent[rows] & (self.operations.node[rows] >= 0)


def _marked(operations: Operations, wanted: Callable[[dict[str, Any]], bool]) -> NDArray[np.bool_]:
    """For each row whether its details are `wanted`."""
    mask = np.zeros(len(operations), np.bool_)
    mask[[row for row, detail in operations.details.items() if wanted(detail)]] = True
    return mask


def _judge_by_finals(table: _Table, finals: _Finals, fate: Numbers, proof: Numbers) -> None:
    operations = table.operations
    objects = table.object[table.write]
    if not len(finals.row):
        return
    position = np.minimum(np.searchsorted(finals.object, objects), len(finals.object) - 1)
    answered = (finals.object[position] == objects) & (finals.writer[position] != NOBODY)
    older = table.known_ends(finals.writer)[position] < operations.start[table.write]
    fate[answered] = SUPERSEDED
    fate[answered & older] = LOST
    proof[answered & older] = finals.row[position][answered & older]
    kept = finals.writer[finals.writer >= 0]
    fate[kept], proof[kept] = KEPT, -1


def _judge_by_lineage(table: _Table, timeline: Timeline, fate: Numbers, proof: Numbers) -> None:
    """Find losses that later writes have covered: some node of the surviving line once answered without them."""
    operations = table.operations
    if not timeline.observed or not len(table.write):
        return
    open_ = (operations.type[table.write] == OK) & ((fate == SUPERSEDED) | (fate == UNKNOWN))
    open_ &= table.as_primaries(table.write)
    plain = np.flatnonzero((table.writer != NOBODY) & table.as_primaries(table.read))
    if open_.any():
        plain = plain[~_contradicted(table, timeline, plain)]
    lineage = Lineage(timeline)
    slots: dict[int, int] = {}
    for node in np.unique(operations.node[table.read[plain]]).tolist():
        reads = plain[operations.node[table.read[plain]] == node]
        for write, read in _older_answers(table, np.flatnonzero(open_), reads):
            acknowledged, answered = int(table.write[write]), int(table.read[read])
            code = int(operations.key[acknowledged])
            slot = slots.setdefault(code, key_slot(operations.keys[code]) if code >= 0 else 0)
            answerer, acknowledger = operations.nodes[node], operations.nodes[int(operations.node[acknowledged])]
            times = int(operations.start[answered]), int(operations.end[acknowledged])
            if lineage.supersedes(answerer, times[0], acknowledger, times[1], slot):
                fate[write], proof[write], open_[write] = LOST, answered, False


def _contradicted(table: _Table, timeline: Timeline, reads: Numbers) -> NDArray[np.bool_]:
    """Which of the reads were answered by a node that contradicted itself at the time."""
    operations = table.operations
    acknowledged = (operations.type[table.write] == OK) & table.as_primaries(table.write)
    entry = np.concatenate((np.flatnonzero(acknowledged), table.writer[reads]))
    begun = np.append(operations.start[table.write], -1)[entry]  # of the initial value: before everything
    lies = contradicted(
        timeline,
        operations,
        np.concatenate((table.write[acknowledged], table.read[reads])),
        np.arange(len(entry)) >= int(acknowledged.sum()),
        begun,
        table.known_ends(entry),
    )
    return lies[int(acknowledged.sum()) :]


def _older_answers(table: _Table, writes: Numbers, reads: Numbers) -> Iterator[tuple[int, int]]:
    """For each write the read among `reads` that began after it ended and returned the oldest value, if that is older.

    A suffix minimum: reads in order of (object, start), their values ranked by known end, and the minimum taken from
    the back; ranks are offset by the object so that a minimum never reaches from one into the one before.
    """
    operations = table.operations
    rows = table.read[reads]
    about = table.object[rows]
    order = np.lexsort((operations.start[rows], about))
    reads, rows, about = reads[order], rows[order], about[order]
    known = table.known_ends(table.writer[reads])
    by_age = np.argsort(known, kind="stable")
    rank = np.empty(len(reads), np.int64)
    rank[by_age] = np.arange(len(reads))
    span = np.int64(len(reads) + 1)
    oldest = np.minimum.accumulate((about * span + rank)[::-1])[::-1]
    ends = operations.end[table.write[writes]]
    times = np.sort(np.concatenate([operations.start[rows], ends]))
    width = np.int64(len(times) + 1)
    line = about * width + np.searchsorted(times, operations.start[rows])
    objects = table.object[table.write[writes]]
    position = np.searchsorted(line, objects * width + np.searchsorted(times, ends), side="right")
    inside = position < len(reads)
    inside[inside] = about[position[inside]] == objects[inside]
    writes, position = writes[inside], position[inside]
    found = by_age[oldest[position] % span]
    older = known[found] < operations.start[table.write[writes]]
    yield from zip(writes[older].tolist(), reads[found[older]].tolist(), strict=True)


def _objects(operations: Operations) -> Numbers:
    """By row a number for the register or group; with the same key, or none, those are different objects."""
    grouped = np.isin(operations.f, [operations.code(f) for f in ("mset", "mget")])
    numbers: Numbers = operations.key.astype(np.int64) + 1 + grouped * (len(operations.keys) + 1)
    return numbers


def _writes(operations: Operations) -> tuple[Numbers, list[Any]]:
    """Rows and values of every write to a register, and of every `mset` of a whole group, by that of its first key."""
    plain, compared = _registers(operations, operations.rows("write")), operations.rows("cas")
    groups, chosen = _of_groups(operations, "mset")
    values = [*_values(operations, plain), *(new for _, new in _values(operations, compared)), *chosen]
    return np.concatenate((plain, compared, groups)), values


def _reads(operations: Operations, keys: NDArray[np.int32]) -> tuple[Numbers, list[Any]]:
    """Rows of the answered reads of these keys, and of groups, and what they returned."""
    rows = operations.rows("read")
    copied = np.fromiter((row for row, via in ways(operations).items() if via == "copy"), np.int64)
    # What another copy of the key holds says nothing about when the write reached this one.
    plain = rows[(operations.type[rows] == OK) & np.isin(operations.key[rows], keys) & ~np.isin(rows, copied)]
    groups, chosen = _of_groups(operations, "mget")
    answered = operations.type[groups] == OK
    values = [*_values(operations, plain), *compress(chosen, answered.tolist())]
    return np.concatenate((plain, groups[answered])), values


def _registers(operations: Operations, rows: Numbers) -> Numbers:
    """Without writes of lists or tables, which are on other objects: on entries that expire (`checkers.expiry`)."""
    if not {list, dict} & set(map(type, _values(operations, rows))):
        return rows
    return rows[[not isinstance(value, list | dict) for value in _values(operations, rows)]]


def _values(operations: Operations, rows: Numbers) -> Iterator[Any]:
    return map(operations.value.__getitem__, rows.tolist())


def _of_groups(operations: Operations, f: str) -> tuple[Numbers, list[Any]]:
    """Operations on groups that touch the key that stands for the group, with its value (None if absent)."""
    crossing = {row for row, detail in operations.details.items() if detail.get("via") in ("cross-slot", "undeclared")}
    stands: dict[int, str] = {}
    for row, code in _named(operations, "mset"):
        if code not in stands and row not in crossing and operations.value[row]:
            stands[code] = min(operations.value[row])
    touching = [
        (row, code)
        for row, code in _named(operations, f)
        if row not in crossing and stands.get(code) in (operations.value[row] or ())
    ]
    values = [operations.value[row][stands[code]] for row, code in touching]
    return np.array([row for row, _ in touching], np.int64), values


def _named(operations: Operations, f: str) -> Iterator[tuple[int, int]]:
    rows = operations.rows(f)
    return zip(rows.tolist(), operations.key[rows].tolist(), strict=True)

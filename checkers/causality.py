"""Session guarantees across two keys: what a client has to see on one key because of what it saw on another.

Process P sees version v of key x (it reads it, or writes it and is acknowledged) and then writes version w of key y.
Process R reads w and afterwards x. Monotonic writes and writes follow reads (Terry et al., "Session guarantees for
weakly consistent replicated data", 1994) order P's write behind v wherever it is seen, so R must not find a version
of x that is proved older than v: one that was in effect before the write of v began.

Such a read is stale on its own key already (v was in effect before it began), so only stale reads are looked at, and
most histories have none. For each of their keys the reads of other keys are gone through once, up to `MOST` in all.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from checkers.events import OK
from checkers.zones import Ints, Registers, packed

Flags = NDArray[np.bool_]

MOST = 50_000_000
"""Reads that are gone through for all keys together."""


class Contradiction(NamedTuple):
    """A read of a version that is too old. All but the last are rows of operations."""

    read: int
    passed_on: int
    """The read by which its process knew of the write."""
    write: int
    """The write, to another key, of whoever had seen the newer version."""
    saw: int
    """Where it had seen that: a read, or a write."""
    newer: int
    """Cluster of the newer version."""
    older: int
    """Cluster of the version that was read."""


class Across(NamedTuple):
    """What was found, and on how many stale reads nothing can be said because the work was bounded."""

    after_writes: list[Contradiction]
    """By monotonic writes: the newer version was the process' own."""
    after_reads: list[Contradiction]
    """By writes follow reads."""
    skipped: int


def across_keys(registers: Registers) -> Across:
    """Find the reads that contradict what their process knew from another key; each once for either guarantee."""
    found = Across([], [], 0)
    by_start = np.argsort(registers.write_start, kind="stable")
    stale = _stale(registers, by_start)
    if not stale.any():
        return found
    steps = _steps(registers, by_start, stale)
    budget, skipped = MOST, 0
    for key in np.unique(steps.key[steps.suspect]).tolist():
        suspects = np.flatnonzero(steps.suspect & (steps.key == key))
        told = _told(steps, key, suspects)
        budget -= len(told)
        if budget < 0:
            skipped += len(suspects)
            continue
        for reads, contradictions in ((False, found.after_writes), (True, found.after_reads)):
            sights = np.flatnonzero((steps.key == key) & (steps.read == reads) & steps.returned)
            contradictions += _contradicted(steps, suspects, told, sights)
    return found._replace(skipped=skipped)


class _Steps(NamedTuple):
    """What each process did, process by process in order of time."""

    process: Ints
    row: Ints
    key: Ints
    cluster: Ints
    age: Ints
    """The place of its version among all by the start of the write; within a key, the newer the greater."""
    read: Flags
    returned: Flags
    suspect: Flags
    """A read of a version that another had replaced before."""
    least: Ints
    """The first place of versions that are proved newer than its own."""
    origin: Ints
    """By read: the step at which its version was written, -1 for the initial value."""


def _stale(registers: Registers, by_start: Ints) -> Flags:
    """Of all reads, those of a version older than one that was in effect when they began.

    Keys lie one after the other on the line, so what is in effect on a later key never comes before a read.
    """
    in_effect = np.minimum.accumulate(registers.first_end[by_start][::-1])[::-1]
    newer = np.searchsorted(registers.write_start[by_start], registers.first_end, "right")[registers.read_cluster]
    exists = newer < len(by_start)
    stale = np.zeros(len(newer), np.bool_)
    stale[exists] = in_effect[newer[exists]] <= registers.read_start[exists]
    return stale & ~registers.operations.final[registers.read_row]


def _steps(registers: Registers, by_start: Ints, stale: Flags) -> _Steps:
    operations = registers.operations
    written = np.flatnonzero(registers.writer >= 0)
    asked = ~operations.final[registers.read_row]
    row = np.concatenate((registers.writer[written], registers.read_row[asked]))
    cluster = np.concatenate((written, registers.read_cluster[asked]))
    read = np.arange(len(row)) >= len(written)
    suspect = np.concatenate((np.zeros(len(written), np.bool_), stale[asked]))
    process = np.unique(operations.process[row], return_inverse=True)[1]
    order = np.argsort(packed(process, row))  # rows are sorted by time
    age = np.empty(len(by_start), np.int64)
    age[by_start] = np.arange(len(by_start))
    least = np.searchsorted(registers.write_start[by_start], registers.first_end, "right")
    step = np.empty(len(order), np.int64)
    step[order] = np.arange(len(order))
    home = np.full(len(registers.writer), -1, np.int64)
    home[written] = step[: len(written)]
    cluster = cluster[order]
    return _Steps(
        process=process[order],
        row=row[order],
        key=registers.key[cluster],
        cluster=cluster,
        age=age[cluster],
        read=read[order],
        returned=operations.type[row[order]] == OK,
        suspect=suspect[order],
        least=least[cluster],
        origin=home[cluster],
    )


def _told(steps: _Steps, key: int, suspects: Ints) -> Ints:
    """Reads of other keys that show a process, before its last suspect read of this key, what another has written."""
    last = np.full(int(steps.process[-1]) + 1, -1, np.int64)
    last[steps.process[suspects]] = suspects
    candidates = steps.read & (steps.origin >= 0) & (steps.key != key)
    candidates &= np.arange(len(steps.row)) < last[steps.process]
    told = np.flatnonzero(candidates)
    foreign: Ints = told[steps.process[steps.origin[told]] != steps.process[told]]
    return foreign


def _contradicted(steps: _Steps, suspects: Ints, told: Ints, sights: Ints) -> list[Contradiction]:
    """The suspects that are older than the newest version that others saw (`sights`) before they wrote what was read.

    The newest is enough: when it is not proved newer than what was read, none of the others is.
    """
    newest, seen_at = _running(steps.process[sights], steps.age[sights])
    place = _latest(steps.process, sights, steps.origin[told])
    told, place = told[place >= 0], place[place >= 0]
    known, known_at = _running(steps.process[told], newest[place])
    at = _latest(steps.process, told, suspects)
    suspects, at = suspects[at >= 0], at[at >= 0]
    wrong = known[at] >= steps.least[suspects]
    contradictions = []
    for read, by in zip(suspects[wrong].tolist(), known_at[at[wrong]].tolist(), strict=True):
        sight = int(sights[seen_at[place[by]]])
        passed_on = int(told[by])
        contradictions.append(
            Contradiction(
                read=int(steps.row[read]),
                passed_on=int(steps.row[passed_on]),
                write=int(steps.row[steps.origin[passed_on]]),
                saw=int(steps.row[sight]),
                newer=int(steps.cluster[sight]),
                older=int(steps.cluster[read]),
            )
        )
    return contradictions


def _running(process: Ints, number: Ints) -> tuple[Ints, Ints]:
    """The greatest number so far of each process (whose entries are neighbours), and where it stood first."""
    if not len(number):
        return number, number
    floor = process * (int(number.max()) + 1)
    reached = np.maximum.accumulate(floor + number)
    fresh = np.diff(reached, prepend=-1) != 0
    return reached - floor, np.maximum.accumulate(np.where(fresh, np.arange(len(number)), 0))


def _latest(process: Ints, known: Ints, steps: Ints) -> Ints:
    """For each step the last of the `known` ones (sorted) of the same process before it, as a place; -1 without one."""
    place = np.searchsorted(known, steps) - 1
    same = place >= 0
    same[same] = process[known[place[same]]] == process[steps[same]]
    return np.where(same, place, -1)

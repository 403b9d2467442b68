"""How far a history of unique-value registers is from linearizable: by how much time, and by how many versions.

Delta-atomicity (Golab, Li and Shah, "Analyzing consistency properties for fun and profit", PODC 2011): a history is
delta-atomic when it becomes linearizable once every read may begin delta earlier. k-atomicity: an order exists in
which every read returns one of the last k values. For k = 2 it is decided by limited backtracking (Golab, Hurwitz
and Li, "On the k-atomicity-verification problem", ICDCS 2013).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from checkers.zones import Ints, Registers, clashes

STEPS_PER_OPERATION = 50
"""Placements that the search for a 2-atomic order may try, per operation of a key, before it gives up."""


def smallest_delta_ns(registers: Registers) -> int | None:
    """The smallest delta (ns) for which the history is delta-atomic, 0 when it is linearizable.

    None when there is none, because a read saw a value that nobody had written yet. Moving starts back only removes
    contradictions, so the answer is found by bisection, over the keys that contradict themselves.
    """
    if len(registers.phantoms) or len(registers.early):
        return None
    clashing, _ = clashes(registers.first_end, registers.last_start)
    if not len(clashing):
        return 0
    bad = np.isin(registers.key, registers.key[clashing])
    first_end, write_start, last_read = (
        column[bad] for column in (registers.first_end, registers.write_start, registers.last_read)
    )
    low, high = 0, int((last_read - first_end).max())  # at `high` no zone is a stretch of time any more
    while high - low > 1:
        delta = (low + high) // 2
        if len(clashes(first_end, np.maximum(write_start, last_read - delta))[0]):
            low = delta
        else:
            high = delta
    return high


def two_atomic(registers: Registers) -> bool | None:
    """Whether an order exists in which each read returns the last value or the one before; None if undecided.

    Keys that are linearizable need no search.
    """
    if len(registers.phantoms) or len(registers.early):
        return False
    clashing, _ = clashes(registers.first_end, registers.last_start)
    answers = [_Search(registers, number).run() for number in np.unique(registers.key[clashing]).tolist()]
    if False in answers:
        return False
    return None if None in answers or registers.undecided else True


class _Search:
    """Places the writes of one key from the last to the first.

    A write may be placed when it did not end before a write still unplaced began. After placing `w`, the reads that
    began after its end must return `w` or the write placed next; so they force the next one, unless there are none.
    A run of forced placements that ends without force is kept for good: what remains is a history of its own, and
    if the whole has a 2-atomic order then so has the rest. Only the first write of a run is a choice, among those
    that are concurrent with the last start.
    """

    def __init__(self, registers: Registers, number: int) -> None:
        first, last = np.searchsorted(registers.key, (number, number + 1)).tolist()
        order = np.argsort(registers.write_start[first:last], kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        self.start: list[int] = registers.write_start[first:last][order].tolist()
        self.end: list[int] = registers.first_end[first:last][order].tolist()
        reads = slice(int(registers.read_slice[first]), int(registers.read_slice[last]))
        begun: Ints = registers.read_start[reads]
        by_start = np.argsort(begun, kind="stable")
        self.read_start: list[int] = begun[by_start].tolist()
        self.read_of: list[int] = place[registers.read_cluster[reads] - first][by_start].tolist()
        self.open = [True] * len(self.start)
        self.by_end = np.argsort(np.array(self.end), kind="stable").tolist()
        self.last = len(self.start) - 1
        """The unplaced write that began last."""
        self.top = len(self.read_start) - 1
        """Reads above it are placed; those below are placed when their write is."""
        self.steps = STEPS_PER_OPERATION * (len(self.start) + len(self.read_start))

    def run(self) -> bool | None:
        while self.last >= 0:
            placed = any(self._run_from(write) for write in self._choices())
            if self.steps < 0:
                return None
            if not placed:
                return False
            while self.by_end and not self.open[self.by_end[-1]]:
                self.by_end.pop()
        return True

    def _choices(self) -> Iterator[int]:
        latest = self.start[self.last]
        for write in reversed(self.by_end):
            if self.end[write] < latest or self.steps < 0:
                return
            if self.open[write]:
                yield write

    def _run_from(self, write: int) -> bool:
        """Place a write and all that it forces; on failure everything is as before."""
        last, top, placed = self.last, self.top, []
        following: int | None = write
        while following is not None and self.end[following] >= self.start[self.last]:
            current = following
            self.open[current] = False
            placed.append(current)
            while self.last >= 0 and not self.open[self.last]:
                self.last -= 1
            forced = self._forced_by(current)
            if len(forced) > 1 or self.steps < 0:
                break
            following = forced.pop() if forced else None
        else:
            if following is None:
                return True
        for write in placed:
            self.open[write] = True
        self.last, self.top = last, top
        return False

    def _forced_by(self, current: int) -> set[int]:
        """The unplaced writes whose reads began after the end of `current`."""
        forced = set()
        self.steps -= 1
        while self.top >= 0:
            write = self.read_of[self.top]
            if self.open[write]:
                if self.read_start[self.top] <= self.end[current]:
                    break
                forced.add(write)
            self.top -= 1
            self.steps -= 1
        return forced

"""Counters: what the increments allow a read to return.

A counter cannot tell an increment that was lost from one applied twice when they cancel out. What it can show is a
sum that no subset of the indeterminate increments explains: below all acknowledged ones, or above everything that
had been asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from checkers.elements import counter_keys
from checkers.events import FAIL, INFO, OK
from checkers.fates import owners_answer
from checkers.history import Operations

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Tally:
    """One counter: rows of its increments that did not fail, their amounts, and its answered reads with their sums."""

    key: str
    add: Numbers
    amount: Numbers
    read: Numbers
    total: Numbers
    operations: Operations

    def acknowledged(self) -> Numbers:
        """Amounts of the acknowledged increments."""
        return self._ended(OK)

    def indeterminate(self) -> Numbers:
        """Amounts of the increments that nobody knows the outcome of."""
        return self._ended(INFO)

    def _ended(self, kind: int) -> Numbers:
        amounts: Numbers = self.amount[self.operations.type[self.add] == kind]
        return amounts

    def final(self) -> tuple[int, int] | None:
        """Row and sum of the last final read that the owner answered."""
        for row, total in zip(self.read[::-1].tolist(), self.total[::-1].tolist(), strict=True):
            if self.operations.final[row] and owners_answer(self.operations, row):
                return row, total
        return None

    def shortfall(self, total: int) -> int:
        """By how much a final sum lies below the least that the increments allow (0 or less: it does not)."""
        return int(self.acknowledged().sum()) + int(np.minimum(self.indeterminate(), 0).sum()) - total

    def excess(self) -> tuple[int, int] | None:
        """Row of the read whose sum lies furthest above all increments begun before it ended, and by how much."""
        if not len(self.read):
            return None
        asked = np.concatenate([[0], np.cumsum(np.maximum(self.amount, 0))])
        begun = np.searchsorted(self.operations.start[self.add], self.operations.end[self.read], side="right")
        above = self.total - asked[begun]
        worst = int(above.argmax())
        return (int(self.read[worst]), int(above[worst])) if above[worst] > 0 else None


def fewest(amounts: Numbers, total: int) -> int:
    """The least number of `amounts` that add up to at least `total`."""
    largest = np.cumsum(-np.sort(-amounts[amounts > 0]))
    return min(int(np.searchsorted(largest, total)) + 1, len(largest)) if total > 0 else 0


def most(amounts: Numbers, total: int) -> int:
    """The greatest number of `amounts` that add up to at most `total`."""
    return int(np.searchsorted(np.cumsum(np.sort(amounts[amounts > 0])), total, side="right"))


def tallies_of(operations: Operations) -> list[Tally]:
    """All counters of a history: keys with `add` whose reads return numbers."""
    tallies = []
    adds, reads = operations.rows("add"), operations.rows("read")
    adds = adds[operations.type[adds] != FAIL]
    reads = reads[operations.type[reads] == OK]
    for code in sorted(counter_keys(operations)):
        add, read = adds[operations.key[adds] == code], reads[operations.key[reads] == code]
        amount = np.array([operations.value[row] for row in add.tolist()], np.int64)
        total = np.array([operations.value[row] or 0 for row in read.tolist()], np.int64)
        key = operations.keys[code] if code >= 0 else ""
        tallies.append(Tally(key, add, amount, read, total, operations))
    return tallies

"""Sets and append lists: which operation put which element in, and what the reads returned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers.events import FAIL, OK
from checkers.fates import owners_answer
from checkers.history import Operations


@dataclass
class Elements:
    """One set or list. Nothing is ever removed from it, so what was put in and is missing is lost."""

    key: str
    listed: bool
    """Whether it is a list, which shows an element that was put in twice."""
    added: list[tuple[Any, int]] = field(default_factory=list)
    """Elements with the rows of the operations that were to put them in, whatever became of those."""
    reads: list[tuple[int, list[Any]]] = field(default_factory=list)
    """Rows of the answered reads with what they returned, by start."""

    def final(self, operations: Operations) -> tuple[int, list[Any]] | None:
        """The last final read that the owner answered."""
        return next(
            (read for read in reversed(self.reads) if operations.final[read[0]] and owners_answer(operations, read[0])),
            None,
        )

    def first_seen(self) -> dict[Any, int]:
        """Each element that some read returned, with the row of the first such read."""
        seen: dict[Any, int] = {}
        for row, elements in self.reads:
            for element in set(elements).difference(seen):
                seen[element] = row
        return seen

    def doubled(self, operations: Operations) -> Iterator[tuple[Any, int, int]]:
        """Elements of a list that a read returned more often than they can have been appended: (element, row, times).

        The newest read that shows it is named; an append that failed does not count.
        """
        asked: Counter[Any] = Counter()
        done: set[Any] = set()
        for row, elements in reversed(self.reads if self.listed else []):
            if len(set(elements)) == len(elements):
                continue
            if not asked:
                asked = Counter(element for element, by in self.added if operations.type[by] != FAIL)
            for element, times in Counter(elements).items():
                if times > max(1, asked[element]) and element not in done:
                    done.add(element)
                    yield element, row, times


def elements_of(operations: Operations) -> list[Elements]:
    """All sets (`add`, and `read` of a list of values) and lists (`txn` of `append` and `r`) of a history."""
    return [*_sets(operations), *_lists(operations)]


def counter_keys(operations: Operations) -> set[int]:
    """Codes of the keys that are added to and read as numbers: counters, not sets."""
    rows = _answered(operations, operations.key[operations.rows("add")])
    codes = operations.key[rows].tolist()
    return {code for row, code in zip(rows.tolist(), codes, strict=True) if type(operations.value[row]) is int}


def _answered(operations: Operations, keys: NDArray[np.int32]) -> NDArray[np.int64]:
    """Rows of the answered reads of these keys."""
    rows = operations.rows("read")
    chosen: NDArray[np.int64] = rows[(operations.type[rows] == OK) & np.isin(operations.key[rows], keys)]
    return chosen


def _sets(operations: Operations) -> list[Elements]:
    counters = counter_keys(operations)
    rows = operations.rows("add")
    codes = operations.key[rows]
    found: dict[int, Elements] = {}
    for code in sorted(set(codes.tolist()) - counters):
        added = [(operations.value[row], row) for row in rows[codes == code].tolist()]
        found[code] = Elements(operations.keys[code] if code >= 0 else "", False, added)
    reads = _answered(operations, np.array(list(found), np.int32))
    for row, code in zip(reads.tolist(), operations.key[reads].tolist(), strict=True):
        found[code].reads.append((row, operations.value[row] or []))
    return list(found.values())


def _lists(operations: Operations) -> list[Elements]:
    found: dict[str, Elements] = {}
    for row in operations.rows("txn").tolist():
        for verb, key, value in operations.value[row]:
            if verb == "append":
                found.setdefault(key, Elements(key, True)).added.append((value, row))
            elif verb == "r" and operations.type[row] == OK and (value is None or isinstance(value, list)):
                found.setdefault(key, Elements(key, True)).reads.append((row, value or []))
    return list(found.values())

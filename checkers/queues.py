"""What became of each element of a queue: lost, delivered twice, or overtaken.

Elements are told apart by their values; of a value that was enqueued more than once only the number of deliveries is
judged. A stream with consumer groups promises delivery at least once, so a duplicate is a fact about the queue and not
always a fault of it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from checkers.context import Timeline, seconds
from checkers.events import FAIL, INFO, OK
from checkers.finding import Anomaly, Collector, Finding
from checkers.history import History, Operations
from checkers.linearizability import name_key
from checkers.models import freeze, shown

CHECKER = "queue"

Wrong = tuple[str, str, list[int]]
"""Kind, explanation, and rows of the proof."""


@dataclass
class Ledger:
    """The operations of one queue, by row."""

    operations: Operations
    entered: dict[Any, list[int]] = field(default_factory=dict)
    """Enqueues that did not fail, by element."""
    delivered: dict[Any, list[int]] = field(default_factory=dict)
    """Dequeues that returned an element."""
    empty: list[int] = field(default_factory=list)
    """Dequeues that found nothing, and drains, which end when nothing is left."""
    unseen: list[int] = field(default_factory=list)
    """Dequeues of unknown outcome: each may have taken something away."""

    @classmethod
    def of(cls, operations: Operations, rows: list[int]) -> Ledger:
        """The books of the queue that these rows are about."""
        ledger = cls(operations)
        enqueue, dequeue, drain = (operations.code(f) for f in ("enqueue", "dequeue", "drain"))
        for row in rows:
            f, kind, value = operations.f[row], operations.type[row], operations.value[row]
            if f == enqueue and kind != FAIL:
                ledger.entered.setdefault(freeze(value), []).append(row)
            elif f in (dequeue, drain) and kind == INFO:
                ledger.unseen.append(row)
            elif f in (dequeue, drain) and kind == OK:
                taken = (value or []) if f == drain else [] if value is None else [value]
                for element in taken:
                    ledger.delivered.setdefault(freeze(element), []).append(row)
                if f == drain or value is None:
                    ledger.empty.append(row)
        return ledger

    def wrong(self) -> Iterator[Wrong]:
        """Everything that contradicts a queue."""
        yield from self._phantoms()
        yield from self._duplicates()
        yield from self._lost()
        yield from self._reordered()

    def _phantoms(self) -> Iterator[Wrong]:
        start, end = self.operations.start, self.operations.end
        for element, rows in self.delivered.items():
            entered = self.entered.get(element)
            if not entered:
                yield "phantom-element", f"{self._named(element, rows[0])} was delivered, and nobody enqueued it", rows
            elif min(end[row] for row in rows) < min(start[row] for row in entered):
                words = f"{self._named(element, rows[0])} was delivered before it began to be enqueued"
                yield "phantom-element", words, [rows[0], entered[0]]

    def _duplicates(self) -> Iterator[Wrong]:
        for element, rows in self.delivered.items():
            entered = self.entered.get(element, [])
            if len(rows) > len(entered) > 0:
                words = f"{self._named(element, rows[-1])} was delivered {len(rows)} times and enqueued {len(entered)}"
                yield "duplicate-element", words + (" time" if len(entered) == 1 else " times"), [*rows[::-1], *entered]

    def _lost(self) -> Iterator[Wrong]:
        """Acknowledged, never delivered, and gone: a later dequeue found the queue empty.

        A dequeue of unknown outcome may have taken any one of them, so that many are given up.
        """
        start, end, kind = self.operations.start, self.operations.end, self.operations.type
        drain = self.operations.code("drain")
        if not self.empty or any(self.operations.f[row] == drain for row in self.unseen):
            return
        last = max(self.empty, key=lambda row: int(start[row]))
        gone = [
            rows[0]
            for element, rows in self.entered.items()
            if len(rows) == 1 and element not in self.delivered and kind[rows[0]] == OK and end[rows[0]] < start[last]
        ]
        taken = sum(start[row] <= end[last] for row in self.unseen)
        for row in gone[: max(0, len(gone) - taken)]:
            doubt = (
                f" (or one of {len(gone) - 1} others like it: {taken} dequeues are of unknown outcome)" if taken else ""
            )
            words = (
                f"{self._named(self.operations.value[row], row)}{doubt} was acknowledged at "
                f"{seconds(int(end[row]))} and never delivered, and the queue was empty after "
                f"{seconds(int(start[last]))} (operation {self.operations.index[last]})"
            )
            yield "lost-element", words, [row, last]

    def _reordered(self) -> Iterator[Wrong]:
        """Overtaken: enqueued before another one began to be, and first delivered after that one was."""
        start, end = self.operations.start, self.operations.end
        lives = sorted(
            (
                (int(start[rows[0]]), int(end[rows[0]]), element)
                for element, rows in self.entered.items()
                if len(rows) == 1 and element in self.delivered
            ),
            key=lambda life: life[0],
        )
        begun = [life[0] for life in lives]
        earliest: list[tuple[int, int, Any]] = []  # end, row and element of the earliest delivery, from the last on
        for _, _, element in reversed(lives):
            row = min(self.delivered[element], key=lambda row: int(end[row]))
            earliest.append(min([(int(end[row]), row, element), *earliest[-1:]], key=lambda delivery: delivery[0]))
        earliest.reverse()
        for _, entered, element in lives:
            place = bisect_right(begun, entered)
            late = min(self.delivered[element], key=lambda row: int(start[row]))
            if place < len(lives) and earliest[place][0] < start[late]:
                _, other, overtaker = earliest[place]
                words = (
                    f"{self._named(element, late)} was overtaken by {self._named(overtaker, other)}, "
                    "which was enqueued after it and delivered before"
                )
                yield "reordered-element", words, [late, other, self.entered[element][0], self.entered[overtaker][0]]

    def _named(self, element: Any, row: int) -> str:
        return f"element {shown(element)} (operation {self.operations.index[row]})"


def check_queue(history: History) -> Finding:
    """Follow every element of every queue (`enqueue`, `dequeue`, `drain`).

    Kinds: `lost-element`, `duplicate-element`, `reordered-element`, `phantom-element`. What was enqueued and is not
    delivered is lost only when a later dequeue found nothing: without one it may be waiting still.
    """
    operations = history.operations
    found, timeline = Collector(CHECKER), Timeline.of(history)
    checked = waiting = 0
    for key, rows in history.groups.items():
        ledger = Ledger.of(operations, rows.tolist())
        checked += len({*ledger.entered, *ledger.delivered})
        waiting += len(ledger.entered.keys() - ledger.delivered.keys())
        for kind, words, proof in ledger.wrong():
            if found.wants(kind):
                found.add(_anomaly(operations, timeline, key, kind, words, proof))
            else:
                found.count(kind)
    return found.finding({"checked": checked, "not_delivered": waiting})


def _anomaly(operations: Operations, timeline: Timeline, key: str, kind: str, words: str, rows: list[int]) -> Anomaly:
    start, end = int(operations.start[rows[0]]), int(operations.end[rows[0]])
    return Anomaly(
        kind=kind,
        explanation=f"{name_key(key)}: {words}; {timeline.describe(start, end)}",
        operations=[int(operations.index[row]) for row in dict.fromkeys(rows)],
        key=key or None,
        fault=timeline.fault_at(start, end),
    )

"""What becomes of the elements of queues."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from object_histories import history, record

from checkers.events import Event
from checkers.finding import Verdict
from checkers.history import History, from_events
from checkers.queues import check_queue


def recorded(*operations: tuple[int, int, str, str, Any]) -> History:
    """Operations as (start, end, type, f, value), each by a process of its own."""
    events = []
    for process, (start, end, kind, f, value) in enumerate(operations):
        events.append(Event("invoke", f, process, time=start, value=value if f == "enqueue" else None))
        events.append(Event(kind, f, process, time=end, value=value))
    return from_events(sorted(events, key=lambda event: event.time or 0))


IN1 = (0, 1, "ok", "enqueue", 1)
IN2 = (2, 3, "ok", "enqueue", 2)
IN3 = (2, 3, "ok", "enqueue", 3)


@pytest.mark.parametrize(
    ("operations", "counts"),
    [
        ([IN1, IN2, (4, 5, "ok", "dequeue", 1), (6, 7, "ok", "dequeue", 2)], {}),
        ([IN1, IN2, (4, 5, "ok", "dequeue", 2), (6, 7, "ok", "dequeue", 1)], {"reordered-element": 1}),
        ([IN1, IN2, (4, 6, "ok", "dequeue", 2), (6, 7, "ok", "dequeue", 1)], {}),
        ([IN1, (1, 3, "ok", "enqueue", 2), (4, 5, "ok", "dequeue", 2), (6, 7, "ok", "dequeue", 1)], {}),
        ([IN1, (4, 5, "ok", "dequeue", 1), (6, 7, "ok", "dequeue", 1)], {"duplicate-element": 1}),
        ([IN1, (2, 3, "info", "enqueue", 1), (4, 5, "ok", "dequeue", 1), (6, 7, "ok", "dequeue", 1)], {}),
        ([IN1, (2, 3, "ok", "dequeue", None)], {"lost-element": 1}),
        ([IN1, (1, 3, "ok", "dequeue", None)], {}),
        ([IN1, (2, 3, "info", "dequeue", None), (4, 5, "ok", "dequeue", None)], {}),
        ([IN1, IN2, (2, 3, "info", "dequeue", None), (4, 5, "ok", "dequeue", None)], {"lost-element": 1}),
        ([IN1, (6, 7, "info", "dequeue", None), (4, 5, "ok", "dequeue", None)], {"lost-element": 1}),
        ([(0, 1, "info", "enqueue", 1), (4, 5, "ok", "dequeue", None)], {}),
        ([(0, 1, "fail", "enqueue", 1), (4, 5, "ok", "dequeue", 1)], {"phantom-element": 1}),
        ([(4, 5, "ok", "dequeue", 1), (6, 7, "ok", "enqueue", 1)], {"phantom-element": 1}),
        ([IN1, IN2, IN3, (4, 9, "ok", "drain", [1, 2])], {"lost-element": 1}),
        ([IN1, IN2, (4, 9, "info", "drain", None), (10, 11, "ok", "dequeue", None)], {}),
        ([IN1, (5, 7, "info", "dequeue", None), (4, 5, "ok", "dequeue", None)], {}),
        ([IN1, IN2], {}),
        (
            [
                (0, 1, "ok", "enqueue", 1),
                (2, 3, "ok", "enqueue", 2),
                (4, 5, "ok", "enqueue", 3),
                (10, 30, "ok", "dequeue", 2),
                (12, 14, "ok", "dequeue", 3),
                (16, 17, "ok", "dequeue", 1),
            ],
            {"reordered-element": 1},
        ),
    ],
)
def test_follows_the_elements(operations: list[Any], counts: dict[str, int]) -> None:
    found = check_queue(recorded(*operations))
    assert found.counts == counts
    assert found.verdict is (Verdict.INVALID if counts else Verdict.VALID)


def test_names_the_operations() -> None:
    found = check_queue(recorded(IN1, IN2, (4, 5, "ok", "dequeue", 2), (6, 7, "ok", "dequeue", 1)))
    anomaly = found.anomalies[0]
    assert anomaly.operations == [6, 4, 0, 2]
    assert "element 1 (operation 6) was overtaken by element 2 (operation 4)" in anomaly.explanation


@given(st.integers(0, 10_000))
def test_a_queue_that_works_is_never_accused(seed: int) -> None:
    found = check_queue(history("queue", count=60, clients=4, keys=2, lost=0.1, seed=seed))
    assert found.verdict is Verdict.VALID
    assert found.metrics["checked"] > 0


@given(st.integers(0, 10_000))
def test_what_vanishes_is_missed(seed: int) -> None:
    events = [event for event in record("queue", count=60, clients=4, seed=seed) if event.f == "enqueue"]
    last = max(event.time or 0 for event in events)
    events += [Event(kind, "dequeue", 99, time=last + n) for n, kind in enumerate(("invoke", "ok"), 1)]
    count = sum(event.type == "ok" for event in events if event.f == "enqueue")
    assert check_queue(from_events(events)).counts == {"lost-element": count}

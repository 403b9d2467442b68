"""What becomes of the elements of sets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from object_histories import history, record

from checkers.events import Event
from checkers.finding import Verdict
from checkers.history import History, from_events
from checkers.sets import check_sets


def recorded(*operations: tuple[int, int, str, str, Any], via: str | None = None) -> History:
    """Operations as (start, end, type, f, value), each by a process of its own; `via` is how reads were served."""
    events = []
    for process, (start, end, kind, f, value) in enumerate(operations):
        way = via if f == "read" else None
        events.append(Event("invoke", f, process, time=start, value=None if f == "read" else value, via=way))
        events.append(Event(kind, f, process, time=end, value=value))
    return from_events(sorted(events, key=lambda event: event.time or 0))


ADD = (0, 1, "ok", "add", 1)


@pytest.mark.parametrize(
    ("operations", "outcome", "counts"),
    [
        ([ADD], "unread", {}),
        ([ADD, (2, 3, "ok", "read", [1])], "stable", {}),
        ([ADD, (1, 3, "ok", "read", []), (4, 5, "ok", "read", [1])], "stable", {}),
        ([ADD, (2, 3, "ok", "read", [])], "lost", {"lost-element": 1}),
        ([ADD, (2, 3, "ok", "read", None)], "lost", {"lost-element": 1}),
        ([ADD, (2, 3, "ok", "read", []), (4, 5, "ok", "read", [1])], "stale", {"stale-element": 1}),
        ([ADD, (2, 3, "ok", "read", [1]), (4, 5, "ok", "read", [])], "lost", {"lost-element": 1}),
        ([(0, 9, "ok", "add", 1), (2, 3, "ok", "read", [1]), (4, 5, "ok", "read", [])], "lost", {"lost-element": 1}),
        ([(0, 1, "info", "add", 1), (2, 3, "ok", "read", [1]), (4, 5, "ok", "read", [])], "lost", {"lost-element": 1}),
        ([(0, 1, "info", "add", 1), (2, 3, "ok", "read", [])], None, {}),
        ([(0, 1, "fail", "add", 1), (2, 3, "ok", "read", [1])], "stable", {"phantom-element": 1}),
        ([(0, 1, "ok", "read", [1]), (2, 3, "ok", "add", 1)], "stable", {"phantom-element": 1}),
        ([ADD, (2, 3, "ok", "remove", 1), (4, 5, "ok", "read", [])], None, {}),
        ([ADD, (4, 5, "fail", "read", None)], "unread", {}),
    ],
)
def test_follows_the_elements(operations: list[Any], outcome: str | None, counts: dict[str, int]) -> None:
    found = check_sets(recorded(*operations))
    assert found.counts == counts
    assert {name for name, count in found.metrics["outcomes"].items() if count} == ({outcome} - {None})


def test_says_when_it_was_seen_and_by_which_operations() -> None:
    found = check_sets(recorded(ADD, (2, 3, "ok", "read", [1]), (4, 5, "ok", "read", []), (6, 7, "ok", "read", [1])))
    assert found.metrics["elements"] == [
        {
            "key": None,
            "element": 1,
            "outcome": "stale",
            "known_ms": 1e-6,
            "first_seen_ms": 3e-6,
            "last_seen_ms": 6e-6,
            "missed": 1,
        }
    ]
    assert found.anomalies[0].operations == [4, 0, 6]


def test_reads_that_did_not_ask_the_owner_take_no_part() -> None:
    operations = [ADD, (2, 3, "ok", "read", [])]
    assert check_sets(recorded(*operations, via="replica")).counts == {}
    assert check_sets(recorded(*operations, via="multi")).counts == {"lost-element": 1}


@given(st.integers(0, 10_000))
def test_a_set_that_works_is_never_accused(seed: int) -> None:
    found = check_sets(history("set", count=60, clients=4, keys=2, lost=0.1, seed=seed))
    assert found.verdict is Verdict.VALID


@given(st.integers(0, 10_000))
def test_an_element_that_vanishes_is_missed(seed: int) -> None:
    events = record("set", count=60, clients=4, lost=0.1, seed=seed)
    added = [event for event in events if event.type == "ok" and event.f == "add"]
    if not added:
        return
    gone = added[0]
    for event in events:
        if event.type == "ok" and event.f == "read":
            event.value = [element for element in event.value if element != gone.value]
    late = [Event(kind, "read", 99, time=10**7 + n, value=[]) for n, kind in enumerate(("invoke", "ok"))]
    read = [element for event in events if event.type == "ok" and event.f == "read" for element in event.value]
    late[1].value = sorted({*read, *(event.value for event in added[1:])})
    found = check_sets(from_events([*events, *late]))
    assert found.counts.get("lost-element") == 1
    assert found.anomalies[0].key is None


def test_what_is_lost_is_shown_by_the_last_read_without_it_and_what_was_missed_by_the_first() -> None:
    without = [(2, 3, "ok", "read", []), (4, 5, "ok", "read", [])]
    lost = check_sets(recorded(ADD, *without)).anomalies[0]
    assert lost.operations == [4, 0]
    missed = check_sets(recorded(ADD, *without, (6, 7, "ok", "read", [1]), (8, 9, "ok", "read", [1]))).anomalies[0]
    assert missed.operations == [2, 0, 8]
    again = check_sets(recorded(ADD, (2, 4, "ok", "read", [1]), (4, 5, "ok", "read", []))).anomalies[0]
    assert (again.kind, again.operations) == ("stale-element", [4, 0, 2])


def test_a_read_that_ends_as_the_addition_begins_may_have_seen_it() -> None:
    assert check_sets(recorded((0, 1, "ok", "read", [1]), (1, 2, "ok", "add", 1))).counts == {}
    assert check_sets(recorded((0, 1, "ok", "read", [1]), (2, 3, "ok", "add", 1))).counts == {"phantom-element": 1}


@pytest.mark.parametrize(("kind", "how"), [("ok", "acknowledged"), ("info", "seen")])
def test_how_an_element_was_known_to_be_there_is_told(kind: str, how: str) -> None:
    reads = [(2, 3, "ok", "read", [1]), (4, 5, "ok", "read", [])]
    (anomaly,) = check_sets(recorded((0, 1, kind, "add", 1), *reads)).anomalies
    assert f"element 1, {how} at " in anomaly.explanation


def test_elements_of_one_set_are_described_in_full() -> None:
    found = check_sets(
        recorded(ADD, (10, 11, "ok", "add", 2), (12, 13, "ok", "read", [1]), (14, 15, "ok", "read", [1]))
    )
    assert found.metrics["checked"] == 2
    assert found.metrics["outcomes"] == {"stable": 1, "stale": 0, "lost": 1, "unread": 0}
    one, two = found.metrics["elements"]
    assert (one["first_seen_ms"], one["last_seen_ms"], one["missed"]) == (13e-6, 14e-6, 0)
    assert (two["first_seen_ms"], two["last_seen_ms"], two["missed"]) == (None, None, 2)

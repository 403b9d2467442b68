"""Locks that two clients hold at once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from object_histories import history

from checkers.events import NEVER, Event
from checkers.finding import Verdict
from checkers.history import History, from_events
from checkers.locks import Hold, check_locks, clashes, is_expiring

MS = 1_000_000


def recorded(*operations: tuple[int, int, str, str, Any], header: dict[str, Any] | None = None) -> History:
    """Operations as (start, end, type, f, value), times in ms, each by a process of its own."""
    events = []
    for process, (start, end, kind, f, value) in enumerate(operations):
        events.append(Event("invoke", f, process, time=start * MS, value=value))
        events.append(Event(kind, f, process, time=end * MS, value=value))
    return from_events(sorted(events, key=lambda event: event.time or 0), header)


def test_two_at_once() -> None:
    found = check_locks(recorded((0, 1, "ok", "acquire", "a"), (2, 3, "ok", "acquire", "b")))
    assert found.counts == {"two-holders": 1}
    assert found.anomalies[0].operations == [2, 0]
    assert 'token "a" (operation 0) held it from 0.00 s to the end' in found.anomalies[0].explanation


@pytest.mark.parametrize(
    ("kind", "start", "end", "counts"),
    [
        ("ok", 2, 3, {}),
        ("info", 2, 3, {}),
        ("fail", 2, 3, {"two-holders": 1}),
        ("ok", 5, 6, {"two-holders": 1}),
    ],
)
def test_who_may_have_released_holds_no_longer(kind: str, start: int, end: int, counts: dict[str, int]) -> None:
    found = check_locks(
        recorded((0, 1, "ok", "acquire", "a"), (start, end, kind, "release", "a"), (4, 4, "ok", "acquire", "b"))
    )
    assert found.counts == counts
    assert found.metrics["checked"] == 2


@pytest.mark.parametrize(("ttl", "counts"), [(5, {}), (6, {"two-holders": 1}), (None, {"two-holders": 1})])
def test_a_lock_that_may_have_expired_is_free(ttl: float | None, counts: dict[str, int]) -> None:
    operations = [(0, 3, "ok", "acquire", "a"), (4, 5, "ok", "acquire", "b")]
    assert check_locks(recorded(*operations), ttl_ms=ttl).counts == counts
    header = {} if ttl is None else {"lock_ttl_ms": ttl}
    assert check_locks(recorded(*operations, header=header)).counts == counts
    if ttl is not None:
        named = [(start, end, kind, f, [token, ttl]) for start, end, kind, f, token in operations]
        assert check_locks(recorded(*named)).counts == counts
        assert is_expiring(recorded(*named))
        assert is_expiring(recorded(*operations, header=header))
    assert not is_expiring(recorded(*operations))


@pytest.mark.parametrize(("released", "counts"), [((1, 2), {}), ((0, 1), {"two-holders": 1})])
def test_a_release_that_was_over_before_the_next_request_frees_nothing(
    released: tuple[int, int], counts: dict[str, int]
) -> None:
    operations = [(*released, "ok", "release", "a"), (2, 3, "ok", "acquire", "a"), (4, 5, "ok", "acquire", "b")]
    assert check_locks(recorded(*operations)).counts == counts


def test_granted_and_released_while_another_held() -> None:
    operations = [
        (0, 1, "ok", "acquire", "a"),
        (2, 6, "ok", "acquire", "b"),
        (3, 7, "ok", "release", "b"),
        (9, 9, "ok", "release", "a"),
    ]
    assert check_locks(recorded(*operations)).counts == {"two-holders": 1}
    overlapping = [(0, 1, "ok", "acquire", "a"), (1, 6, "ok", "acquire", "b"), *operations[2:]]
    assert check_locks(recorded(*overlapping)).counts == {}


def test_without_tokens_the_process_is_the_holder() -> None:
    events = [
        Event(kind, f, process, time=time)
        for time, (process, f) in enumerate([(0, "acquire"), (0, "release"), (1, "acquire"), (2, "acquire")])
        for kind in ("invoke", "ok")
    ]
    for time, event in enumerate(events):
        event.time = time
    found = check_locks(from_events(events))
    assert found.counts == {"two-holders": 1}
    assert "process 1 (operation 4)" in found.anomalies[0].explanation


@given(st.integers(0, 10_000))
def test_a_lock_that_works_is_never_accused(seed: int) -> None:
    found = check_locks(history("lock", count=60, clients=4, keys=2, lost=0.1, seed=seed))
    assert found.verdict is Verdict.VALID


TIMES = st.tuples(st.integers(0, 3), st.integers(0, 8), st.integers(0, 4), st.one_of(st.integers(0, 8), st.just(NEVER)))


@given(st.lists(TIMES, max_size=7))
def test_every_grant_that_clashes_is_found(times: list[tuple[int, int, int, int]]) -> None:
    holds = sorted(
        (Hold(row, who, asked, asked + took, NEVER if lasts == NEVER else asked + lasts))
        for row, (who, asked, took, lasts) in enumerate(times)
    )
    holds.sort(key=lambda hold: hold.granted)
    expected = {
        second.row
        for place, second in enumerate(holds)
        for first in holds[:place]
        if first.who != second.who
        and first.until > second.granted
        and (second.until > second.granted or second.asked > first.granted)
    }
    assert {second.row for _, second in clashes(holds)} == expected

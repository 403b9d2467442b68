"""Entries with a time to live: what contradicts their time, and what can be explained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import permutations, product
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from checkers import Finding, History, Verdict, check
from checkers.events import Event
from checkers.expiry import GRANULARITY_NS, check_expiry
from checkers.history import from_events

STEP_NS = 2 * GRANULARITY_NS
"""Whole numbers below are multiples of this, so a difference of one is beyond any granularity."""
HORIZON = 12


class Op(NamedTuple):
    """A write (`life` is set) or a read of the one entry."""

    value: int | None
    start: int
    end: int
    life: float | None = None
    type: str = "ok"
    node: str | None = None
    via: str | None = None
    attempts: int = 1


def history(ops: Sequence[Op], context: Sequence[Event] = ()) -> History:
    events = list(context)
    for number, op in enumerate(ops):
        f = "read" if op.life is None else "write"
        value = op.value if op.life is None else [op.value, op.life * STEP_NS / 1e6]
        tries = [{"node": op.node}] * op.attempts if op.attempts > 1 else None
        times = [op.start * STEP_NS, op.end * STEP_NS]
        events.append(Event("invoke", f, number, 2 * number, times[0], "t0", value if op.life else None, via=op.via))
        done = Event(op.type, f, number, 2 * number + 1, times[1], "t0", value, op.node, attempts=tries)
        events.append(done)
    return from_events(sorted(events, key=lambda event: (event.time, event.type != "invoke")))


def found(ops: Sequence[Op], context: Sequence[Event] = ()) -> Finding:
    return check_expiry(history(ops, context))


def explainable(ops: Sequence[Op], *, by_time: bool = True) -> bool:
    """Whether some moments of effect, and some order of those at one moment, let every read return what it did.

    Without `by_time` an entry may go at any moment, and stays as long as it likes.
    """
    spans = [range(op.start, op.end + 1) if op.type == "ok" else range(op.start, HORIZON + 1) for op in ops]
    choices = [[*span, None] if op.type == "info" else list(span) for op, span in zip(ops, spans, strict=True)]
    return any(_legal(ops, moments, by_time) for moments in product(*choices))


def _legal(ops: Sequence[Op], moments: Sequence[int | None], by_time: bool) -> bool:
    happened = [(moment, op) for moment, op in zip(moments, ops, strict=True) if moment is not None]
    return any(_fits(order, by_time) for order in _orders(happened))


def _orders(happened: list[tuple[int, Op]]) -> Iterator[list[tuple[int, Op]]]:
    by_moment: dict[int, list[tuple[int, Op]]] = {}
    for pair in happened:
        by_moment.setdefault(pair[0], []).append(pair)
    for parts in product(*(permutations(by_moment[moment]) for moment in sorted(by_moment))):
        yield [pair for part in parts for pair in part]


def _fits(order: Sequence[tuple[int, Op]], by_time: bool) -> bool:
    last: tuple[int, Op] | None = None
    for moment, op in order:
        if op.life is not None:
            last = moment, op
        elif op.value is None:
            if by_time and last is not None and moment < last[0] + last[1].life:
                return False
        elif last is None or last[1].value != op.value or (by_time and moment > last[0] + last[1].life):
            return False
    return True


SPANS = st.tuples(st.integers(0, 8), st.integers(0, 8)).map(sorted)


@st.composite
def entries(draw, most_reads: int = 2) -> list[Op]:
    writes = [
        Op(value, *draw(SPANS), draw(st.integers(1, 5)), draw(st.sampled_from(["ok", "ok", "info"])))
        for value in range(1, draw(st.integers(1, 3)) + 1)
    ]
    values = st.sampled_from([None, *(write.value for write in writes)])
    return writes + [Op(draw(values), *draw(SPANS)) for _ in range(draw(st.integers(1, most_reads)))]


@given(entries())
def test_what_is_accused_has_no_explanation(ops: list[Op]) -> None:
    if found(ops).counts:
        assert not explainable(ops)


@settings(suppress_health_check=[HealthCheck.filter_too_much])  # most entries have no read apart from all writes
@given(entries(most_reads=1))
def test_one_read_apart_from_all_writes_is_accused_whenever_time_alone_contradicts_it(ops: list[Op]) -> None:
    *writes, read = ops
    assume(all(write.end < read.start or write.start > read.end or write.type == "info" for write in writes))
    assume(explainable(ops, by_time=False))
    assert bool(found(ops).counts) == (not explainable(ops))


@given(st.lists(st.tuples(SPANS, st.integers(1, 4), st.floats(0, 1)), min_size=1, max_size=6), st.lists(SPANS))
def test_a_server_that_keeps_time_is_never_accused(written, asked) -> None:
    """Effects at random moments of real writes; reads answered by what is there in the middle of their interval."""
    effects = sorted((a + (b - a) * at, number, life) for number, ((a, b), life, at) in enumerate(written, 1))
    ops = [Op(number, *span, life) for number, (span, life, _) in enumerate(written, 1)]
    for a, b in asked:
        moment = (a + b) / 2
        before = [effect for effect in effects if effect[0] <= moment]
        there = before and moment < before[-1][0] + before[-1][2]
        ops.append(Op(before[-1][1] if there else None, a, b))
    assert found(ops).verdict is Verdict.VALID


WRITE = Op(7, 10, 11, 50, node="n1")


def view(time: int, node: str, role: str, epoch: int) -> Event:
    slots = [[0, 16383]] if role == "primary" else []
    value = {"node": node, "state": "up", "role": role, "primary": None, "epoch": epoch, "slots": slots}
    return Event("info", "view", "observer", 1_000 + time, time * STEP_NS, None, value)


STEADY = [view(1, "n1", "primary", 1), view(1, "n4", "replica", 1)]
FAILED_OVER = [*STEADY, view(20, "n4", "primary", 2)]


@pytest.mark.parametrize(
    ("reads", "context", "counts"),
    [
        ([Op(7, 62, 63, node="n1")], STEADY, {"expired-read": 1}),
        ([Op(7, 61, 63, node="n1")], STEADY, {}),
        ([Op(7, 62, 63, node="n4", via="replica")], STEADY, {"expired-read": 1}),
        ([Op(None, 58, 59, node="n1")], STEADY, {"early-expiry": 1}),
        ([Op(None, 59, 60, node="n1")], STEADY, {}),
        ([Op(None, 58, 59)], [], {"early-expiry": 1}),
        ([Op(None, 30, 31, node="n4")], FAILED_OVER, {"missing-value": 1}),
        ([Op(7, 25, 26, node="n4"), Op(None, 30, 31, node="n4")], FAILED_OVER, {"early-expiry": 1}),
        ([Op(7, 25, 30, node="n4"), Op(None, 30, 31, node="n4")], FAILED_OVER, {"missing-value": 1}),
        ([Op(7, 15, 16, node="n4", via="replica"), Op(None, 30, 31, node="n4")], FAILED_OVER, {"missing-value": 1}),
        ([Op(None, 30, 31, node="n4", via="replica")], STEADY, {}),
        ([Op(None, 30, 31, node="n1"), Op(7, 62, 63, node="n1")], STEADY, {"early-expiry": 1, "expired-read": 1}),
        ([Op(None, 9, 12, node="n1"), Op(None, 12, 80, node="n1")], STEADY, {}),
        ([Op(8, 30, 31, node="n1")], STEADY, {}),
        ([Op(7, 62, 63, node="n1", type="fail")], STEADY, {}),
    ],
)
def test_one_entry(reads: list[Op], context: list[Event], counts: dict[str, int]) -> None:
    assert found([WRITE, *reads], context).counts == counts


def test_a_restart_in_between_may_have_lost_it() -> None:
    value = {"fault": 0, "phase": "inject", "nodes": ["n1"]}
    kill = Event("info", "restart", "nemesis", 999, 20 * STEP_NS, None, value)
    assert found([WRITE, Op(None, 30, 31, node="n1")], [*STEADY, kill]).counts == {"missing-value": 1}


def test_a_write_that_a_client_sent_several_times_may_take_effect_again_later() -> None:
    twice = WRITE._replace(attempts=2)
    finding = found([twice, Op(7, 20, 21), Op(7, 90, 91)])
    assert finding.verdict is Verdict.UNKNOWN
    assert finding.reason == "2 reads returned values that may have been written again at any time"
    assert found([twice, Op(None, 30, 31)]).counts == {"early-expiry": 1}, "it stays longer then, and no shorter"


def test_a_write_that_a_client_sent_once_takes_effect_once() -> None:
    run = history([WRITE, Op(7, 62, 63)])
    run.operations.details[0] = {"attempts": [{"node": "n1"}]}
    assert check_expiry(run).counts == {"expired-read": 1}


def test_of_writes_of_one_value_the_one_that_lasts_longest_explains_it() -> None:
    writes = [Op(7, 0, 0, life=20), Op(7, 1, 1, life=2)]
    assert found([*writes, Op(7, 15, 15)]).counts == {}
    assert found([*writes, Op(7, 22, 22)]).counts == {"expired-read": 1}


@pytest.mark.parametrize(("life", "counts"), [(9.5, {}), (9.51, {"early-expiry": 1})])
def test_a_value_may_be_gone_as_much_too_early_as_clocks_are_coarse(life: float, counts: dict[str, int]) -> None:
    assert found([Op(7, 0, 0, life), Op(None, 8, 9)]).counts == counts, "half a step is the granularity"


@pytest.mark.parametrize(("start", "counts"), [(5, {}), (6, {"early-expiry": 1})])
def test_a_write_that_ends_as_another_begins_may_have_come_after_it(start: int, counts: dict[str, int]) -> None:
    assert found([Op(1, 0, 5, life=1), Op(2, start, 7, life=10), Op(None, 8, 8)]).counts == counts


def test_figures_are_those_of_the_worst_read() -> None:
    finding = found([WRITE, Op(7, 70, 71), Op(7, 80, 81), Op(None, 40, 41), Op(None, 50, 51)])
    step_ms = STEP_NS / 1e6
    assert finding.metrics == {
        "checked": 4,
        "entries": 1,
        "max_late_ms": (80 - 61) * step_ms,
        "max_early_ms": (60 - 41) * step_ms,
        "max_missing_ms": 0.0,
    }
    assert [anomaly.measured for anomaly in finding.anomalies] == [
        {"late_ms": 9 * step_ms}, {"late_ms": 19 * step_ms}, {"early_ms": 19 * step_ms}, {"early_ms": 9 * step_ms},
    ]  # fmt: skip


def test_other_checkers_leave_entries_alone_and_this_one_leaves_registers_alone() -> None:
    entry = history([WRITE, Op(None, 20, 21), Op(7, 90, 91), Op(None, 95, 96)])
    for name, finding in check(entry).items():
        assert not finding.counts or name == "expiry", name
    plain = [Event("invoke", "write", 0, 0, 0, "k0", 1), Event("ok", "write", 0, 1, 1, "k0", 1)]
    assert check_expiry(from_events(plain)).metrics["checked"] == 0


@pytest.mark.parametrize("value", [[1], [1, "soon"], [1, True], [[1], 5], 1, None])
def test_objects_that_are_written_otherwise_are_no_entries(value) -> None:
    events = [Event("invoke", "write", 0, 0, 0, "t0", value), Event("ok", "write", 0, 1, 1, "t0", value)]
    also = history([WRITE, Op(7, 90, 91)])
    assert check_expiry(from_events(events)).metrics["checked"] == 0
    assert check_expiry(replace(also, header={})).counts == {"expired-read": 1}


def test_other_objects_beside_entries_are_left_alone() -> None:
    events = [
        Event("invoke", "write", 7, 100, 0, "k0", 5),
        Event("ok", "write", 7, 101, 1, "k0", 5),
    ]
    run = [Op(1, 0, 0, life=9), Op(None, 3, 3)]
    mixed = from_events(
        sorted(
            [
                *events,
                Event("invoke", "write", 8, 0, 0, "t0", [1, 9 * STEP_NS / 1e6]),
                Event("ok", "write", 8, 1, 0, "t0", [1, 9 * STEP_NS / 1e6]),
                Event("invoke", "read", 9, 2, 3 * STEP_NS, "t0"),
                Event("ok", "read", 9, 3, 3 * STEP_NS, "t0", None),
            ],
            key=lambda event: (event.time, event.type != "invoke"),
        )
    )
    assert check_expiry(mixed).counts == found(run).counts == {"early-expiry": 1}
    assert check_expiry(mixed).metrics["entries"] == 1


def test_a_write_that_was_replaced_before_the_read_explains_nothing() -> None:
    assert found([Op(1, 0, 0, life=1), Op(2, 1, 1, life=8), Op(None, 3, 3)]).counts == {"early-expiry": 1}
    assert found([Op(1, 0, 0, life=8), Op(2, 1, 1, life=1), Op(None, 3, 3)]).counts == {}


@pytest.mark.parametrize("lives", [(1, 9), (9, 1)])
def test_of_writes_that_may_come_at_any_time_the_shortest_life_explains_most(lives: tuple[int, int]) -> None:
    unknown = [Op(1 + place, 0, 0, life, "info") for place, life in enumerate(lives)]
    assert found([*unknown, Op(3, 1, 1, life=8), Op(None, 5, 5)]).counts == {}
    assert found([*unknown[lives[0] < lives[1] :][:1], Op(3, 1, 1, life=8), Op(None, 5, 5)]).counts == {
        "early-expiry": 1
    }

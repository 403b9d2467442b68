"""The session guarantees agree with their definitions, pair by pair."""

from __future__ import annotations

import pytest
from exhaustive import On, Op, as_history, as_history_of_keys, sessions, sessions_across_keys
from hypothesis import given, settings
from hypothesis import strategies as st
from registers import correct, in_sessions, on_keys

from checkers import causality
from checkers.events import Event
from checkers.finding import Verdict
from checkers.history import from_events
from checkers.sessions import check_sessions


@settings(max_examples=300, deadline=None)
@given(in_sessions())
def test_the_reads_that_break_a_guarantee_are_those_of_the_definitions(ops: list[Op]) -> None:
    writer = {op.value: op for op in ops if op.f == "write"}
    # Reads that ended before their write began have no version, here or in the definitions.
    ops = [op for op in ops if op.f == "write" or op.value not in writer or op.end >= writer[op.value].start]
    found: dict[str, set[int]] = {name: set() for name in sessions([])}
    for anomaly in check_sessions(as_history(ops)).anomalies:
        found[anomaly.kind].add(anomaly.operations[0] // 2)
    assert found == sessions(ops)


@settings(max_examples=600, deadline=None)
@given(on_keys())
def test_the_reads_that_contradict_another_key_are_those_of_the_definitions(ons: list[On]) -> None:
    writer = {(on.key, on.op.value): on.op for on in ons if on.op.f == "write"}
    ons = [
        on for on in ons if on.op.f == "write" or on.op.end >= writer.get((on.key, on.op.value), on.op).start
    ]  # as above
    found: dict[str, set[int]] = {name: set() for name in sessions_across_keys([])}
    for anomaly in check_sessions(as_history_of_keys(ons)).anomalies:
        found.setdefault(anomaly.kind, set()).add(anomaly.operations[0] // 2)
    assert {name: found[name] for name in sessions_across_keys([])} == sessions_across_keys(ons)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6))
def test_a_correct_history_breaks_no_guarantee(seed: int) -> None:
    finding = check_sessions(correct(seed))
    assert finding.verdict is Verdict.VALID
    assert finding.metrics["checked"] > 0


def _kinds(ops: list[Op]) -> dict[str, int]:
    return check_sessions(as_history(ops)).counts


def test_each_guarantee_has_its_own_kind() -> None:
    one, two = Op("write", 1, 0, 1, "ok", 0), Op("write", 2, 2, 3, "ok", 0)
    other = Op("write", 2, 2, 3, "ok", 1)
    assert _kinds([one, two, Op("read", 1, 4, 5, "ok", 0)]) == {"read-your-writes": 1}
    back = [Op("read", 2, 4, 5, "ok", 7), Op("read", 1, 6, 7, "ok", 7)]
    assert _kinds([one, other, *back]) == {"non-monotonic-read": 1}
    assert _kinds([one, two, *back]) == {"non-monotonic-read": 1, "non-monotonic-write": 1}
    reader = [Op("read", 1, 2, 3, "ok", 1), Op("write", 2, 4, 5, "ok", 1)]
    later = [op._replace(start=op.start + 9, end=op.end + 9) for op in back]
    assert _kinds([one, *reader, *later]) == {"non-monotonic-read": 1, "writes-follow-reads": 1}


def test_another_process_may_read_what_it_likes() -> None:
    ops = [Op("write", 1, 0, 1, "ok", 0), Op("write", 2, 2, 3, "ok", 0), Op("read", 1, 4, 5, "ok", 1)]
    assert _kinds(ops) == {}


def test_a_write_without_an_answer_promises_nothing_to_its_process() -> None:
    ops = [Op("write", 1, 0, 1, "ok", 0), Op("write", 2, 2, 3, "info", 1), Op("read", 1, 4, 5, "ok", 1)]
    assert _kinds([*ops, Op("read", 2, 6, 7, "ok", 2)]) == {}


def test_the_same_values_on_two_keys_are_two_sessions() -> None:
    events = []
    for number, (f, key, value) in enumerate(
        [("write", "a", 1), ("write", "b", 2), ("read", "b", 2), ("read", "a", 1), ("read", "b", None)]
    ):
        events.append(Event("invoke", f, 0, 2 * number, 2 * number, key, value if f == "write" else None))
        events.append(Event("ok", f, 0, 2 * number + 1, 2 * number + 1, key, value))
    finding = check_sessions(from_events(events))
    assert finding.counts == {"read-your-writes": 1, "non-monotonic-read": 1}
    assert finding.metrics["sessions"] == 2
    assert {anomaly.key for anomaly in finding.anomalies} == {"b"}


def _on(process: int, f: str, key: str, value: int | None, time: int, kind: str = "ok") -> On:
    return On(key, Op(f, value, time, time + 1, kind, process))


LETTERS = [_on(0, "write", "x", 1, 0), _on(0, "write", "x", 2, 2), _on(0, "write", "y", 3, 4)]
"""One process writes twice to x and then to y."""


def _across(*ons: On) -> dict[str, int]:
    return check_sessions(as_history_of_keys(ons)).counts


def test_who_saw_the_later_write_has_to_see_the_earlier_one() -> None:
    told = _on(1, "read", "y", 3, 6)
    kind = "non-monotonic-write-across-keys"
    assert _across(*LETTERS, told, _on(1, "read", "x", 1, 8)) == {kind: 1}
    assert _across(*LETTERS, told, _on(1, "read", "x", None, 8)) == {kind: 1}
    assert _across(*LETTERS, told, _on(1, "read", "x", 1, 8), _on(1, "read", "x", 1, 10)) == {kind: 2}
    assert _across(*LETTERS, told, _on(1, "read", "x", 2, 8)) == {}
    assert _across(*LETTERS, _on(1, "read", "x", 1, 6), _on(1, "read", "y", 3, 8)) == {}
    assert _across(*LETTERS, told, _on(2, "read", "x", 1, 8)) == {}
    assert _across(*LETTERS, _on(1, "read", "y", None, 6), _on(1, "read", "x", 1, 8)) == {}


def test_a_write_that_nobody_acknowledged_promises_nothing_on_another_key() -> None:
    """Not even where a recorder lets the process go on."""
    unknown = [_on(0, "write", "x", 1, 0), _on(0, "write", "x", 2, 2, "info"), _on(0, "write", "y", 3, 4)]
    later = [_on(2, "read", "x", 2, 6), _on(1, "read", "y", 3, 6), _on(1, "read", "x", 1, 8)]
    assert _across(*unknown, *later) == {}


def test_what_was_not_compared_is_counted_and_leaves_the_verdict_open(monkeypatch: pytest.MonkeyPatch) -> None:
    ons = [*LETTERS, _on(1, "read", "y", 3, 6), _on(1, "read", "x", 1, 8)]
    monkeypatch.setattr(causality, "MOST", 0)
    finding = check_sessions(as_history_of_keys(ons))
    assert finding.verdict is Verdict.UNKNOWN
    assert finding.reason is not None
    assert finding.reason.startswith("1 stale reads were not compared")
    assert finding.metrics["not_compared_across_keys"] == 1


def test_the_work_is_bounded_by_what_is_gone_through_for_all_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two keys were read too old. For x one read of another key is gone through, for z three."""
    ons = [
        _on(0, "write", key, value, time) for time, (key, value) in enumerate((("x", 1), ("x", 2), ("z", 5), ("z", 6)))
    ]
    ons = [on._replace(op=on.op._replace(start=2 * on.op.start, end=2 * on.op.start + 1)) for on in ons]
    ons += [_on(0, "write", "y", 3, 10), _on(1, "read", "y", 3, 12)]
    ons += [_on(1, "read", "x", 1, 14), _on(1, "read", "x", 1, 16), _on(1, "read", "z", 5, 18)]
    kind = "non-monotonic-write-across-keys"
    for most, found, skipped in ((4, 3, 0), (3, 2, 1), (1, 2, 1), (0, 0, 3)):
        monkeypatch.setattr(causality, "MOST", most)
        finding = check_sessions(as_history_of_keys(ons))
        assert (finding.counts.get(kind, 0), finding.metrics["not_compared_across_keys"]) == (found, skipped), most


@pytest.mark.parametrize(("start", "followed"), [(5, False), (6, True)])
def test_a_read_that_ends_as_the_write_begins_is_not_known_to_come_before_it(start: int, followed: bool) -> None:
    ops = [Op("write", 1, 0, 1, process=0), Op("read", 1, 2, 5, process=1), Op("write", 2, start, 7, process=1)]
    ops += [Op("read", 2, 8, 9, process=2), Op("read", 1, 10, 11, process=2)]
    assert ("writes-follow-reads" in _kinds(ops)) == followed

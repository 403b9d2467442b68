"""The zone test agrees with trying every order, accuses nothing that is right, and finds what is planted."""

from __future__ import annotations

import random
from itertools import product

import numpy as np
import pytest
from exhaustive import Op, as_history, k_atomic
from hypothesis import given, settings
from hypothesis import strategies as st
from registers import anything, correct

from checkers.events import OK, Event
from checkers.finding import Finding, Verdict
from checkers.history import History, HistoryError, from_events
from checkers.linearizability import check_registers
from checkers.linearizability_general import check_model
from checkers.zones import packed


def merged(*histories: History) -> History:
    """Several histories of one register each as one history of several keys."""
    events = []
    for number, history in enumerate(histories):
        operations = history.operations
        for row in range(len(operations)):
            common = {"f": operations.functions[operations.f[row]], "process": 100 * number + row, "key": f"k{number}"}
            kind = ("fail", "ok", "info")[operations.type[row]]
            end = int(operations.start[row]) + 1 if kind == "info" else int(operations.end[row])
            value = operations.value[row]
            value = None if value is None else value + 1000 * number
            events.append(Event("invoke", time=int(operations.start[row]), value=value, **common))
            events.append(Event(kind, time=end, value=value, **common))
    return from_events(events)


@settings(max_examples=300, deadline=None)
@given(anything())
def test_verdict_is_that_of_trying_every_order(ops: list[Op]) -> None:
    finding = check_registers(as_history(ops))
    assert (finding.verdict is Verdict.INVALID) == (not k_atomic(ops))
    assert finding.verdict is not Verdict.UNKNOWN


@settings(max_examples=100, deadline=None)
@given(st.lists(anything(most=5), min_size=2, max_size=4))
def test_keys_do_not_disturb_each_other(registers: list[list[Op]]) -> None:
    finding = check_registers(merged(*map(as_history, registers)))
    bad = {f"k{number}" for number, ops in enumerate(registers) if not k_atomic(ops)}
    assert {anomaly.key for anomaly in finding.anomalies} == bad


@settings(max_examples=200, deadline=None)
@given(anything())
def test_what_an_anomaly_names_is_not_linearizable_by_itself(ops: list[Op]) -> None:
    for anomaly in check_registers(as_history(ops)).anomalies:
        named = [ops[index // 2] for index in anomaly.operations]
        assert not k_atomic(named)
        assert len(named) <= 6


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6))
def test_a_correct_history_is_never_accused(seed: int) -> None:
    finding = check_registers(correct(seed))
    assert finding.verdict is Verdict.VALID, finding.anomalies


def _settled(history: History) -> list[tuple[int, int]]:
    """Rows of reads, each with the row of an acknowledged write of the same key that ended before the read began,
    begun after another acknowledged write had ended whose value the read could be made to return."""
    operations = history.operations
    writes = [row for row in operations.rows("write").tolist() if operations.type[row] == OK]
    reads = [row for row in operations.rows("read").tolist() if operations.type[row] == OK]
    return [
        (read, older)
        for read, older, newer in product(reads, writes, writes)
        if operations.key[older] == operations.key[newer] == operations.key[read]
        and operations.end[older] < operations.start[newer] <= operations.end[newer] < operations.start[read]
    ]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6))
def test_a_planted_stale_read_is_found(seed: int) -> None:
    history = correct(seed)
    places = _settled(history)
    if not places:
        return
    read, older = random.Random(seed).choice(places)
    history.operations.value[read] = history.operations.value[older]
    finding = check_registers(history)
    assert {anomaly.key for anomaly in finding.anomalies} == {history.operations.key_name(read)}


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(("nobody", "failed")))
def test_a_planted_phantom_is_found_and_named(seed: int, who: str) -> None:
    history = correct(seed)
    operations = history.operations
    reads = [row for row in operations.rows("read").tolist() if operations.type[row] == OK]
    failed = [row for row in operations.rows("write").tolist() if operations.type[row] == 0]
    if not reads or not failed:
        return
    read = random.Random(seed).choice(reads)
    same = [row for row in failed if operations.key[row] == operations.key[read]]
    if who == "failed" and not same:
        return
    operations.value[read] = 10**9 if who == "nobody" else operations.value[same[0]]
    [anomaly] = check_registers(history).anomalies
    assert anomaly.operations[0] == operations.index[read]
    assert ("nobody wrote" if who == "nobody" else "failed") in anomaly.explanation


def test_what_happens_at_the_very_same_time_is_concurrent() -> None:
    ops = [Op("write", 1, 0, 5), Op("read", 1, 9, 10), Op("write", 2, 5, 5)]
    assert k_atomic(ops)
    assert check_registers(as_history(ops)).verdict is Verdict.VALID


def test_a_lost_acknowledged_write_makes_its_key_non_linearizable() -> None:
    ops = [Op("write", 1, 0, 1), Op("write", 2, 2, 3), Op("read", 2, 4, 5), Op("read", 1, 6, 7), Op("read", 1, 8, 9)]
    [anomaly] = check_registers(as_history(ops)).anomalies
    assert anomaly.operations == [6, 2, 0]
    assert "write 2 (operation 2) ended at 0.000000 s, before read of 1 (operation 6) began" in anomaly.explanation


@pytest.mark.parametrize(
    ("ops", "reason"),
    [
        ([Op("write", 1, 0, 1), Op("write", 1, 2, 3), Op("read", 1, 4, 5)], "written twice"),
        ([Op("write", None, 0, 1), Op("read", None, 4, 5)], "written twice"),
        ([Op("cas", 1, 0, 1), Op("write", 2, 2, 3)], "compared and set"),
    ],
)
def test_a_key_that_zones_cannot_decide_is_unknown_with_the_reason(ops: list[Op], reason: str) -> None:
    finding = check_registers(as_history(ops))
    assert finding.verdict is Verdict.UNKNOWN
    assert finding.reason is not None
    assert reason in finding.reason
    assert "k0" in finding.metrics["undecided"]


def test_a_failed_write_may_be_tried_again_with_its_value() -> None:
    ops = [Op("write", 1, 0, 1, "fail"), Op("write", 1, 2, 3), Op("read", 1, 4, 5)]
    assert check_registers(as_history(ops)).verdict is Verdict.VALID


def test_an_undecided_key_does_not_hide_another_that_is_wrong() -> None:
    repeated = [Op("write", 1, 0, 1), Op("write", 1, 2, 3)]
    stale = [Op("write", 1, 0, 1), Op("read", None, 4, 5)]
    finding = check_registers(merged(as_history(repeated), as_history(stale)))
    assert finding.verdict is Verdict.INVALID
    assert list(finding.metrics["undecided"]) == ["k0"]


def test_reads_from_replicas_take_no_part_and_are_counted() -> None:
    events = [
        Event("invoke", "write", 0, 0, 0, "k0", 1),
        Event("ok", "write", 0, 1, 1, "k0", 1),
        Event("invoke", "read", 1, 2, 2, "k0", None, via="replica"),
        Event("ok", "read", 1, 3, 3, "k0", None),
    ]
    finding = check_registers(from_events(events))
    assert finding.verdict is Verdict.VALID
    assert finding.metrics["second_hand_reads_left_out"] == 1


def test_other_objects_are_left_alone() -> None:
    events = [
        Event("invoke", "add", 0, 0, 0, "s0", 1),
        Event("ok", "add", 0, 1, 1, "s0", 1),
        Event("invoke", "read", 1, 2, 2, "s0"),
        Event("ok", "read", 1, 3, 3, "s0", [1]),
        Event("invoke", "write", 0, 4, 4, "t0", [1, 500]),
        Event("ok", "write", 0, 5, 5, "t0", [1, 500]),
    ]
    finding = check_registers(from_events(events))
    assert finding.metrics["checked"] == 0
    assert finding.metrics["undecided"] == {}
    assert finding.reason is not None


@pytest.mark.parametrize("added", [True, False])
def test_a_counter_that_nobody_added_to_is_no_register_with_a_value_from_nowhere(added: bool) -> None:
    events = [Event("invoke", "read", 1, 2, 2, "c0"), Event("ok", "read", 1, 3, 3, "c0", 0)]
    if added:
        events += [Event("invoke", "add", 0, 4, 4, "c1", 1), Event("ok", "add", 0, 5, 5, "c1", 1)]
    workloads = {} if added else {"workloads": {"counter": {}}}
    assert check_registers(from_events(events, workloads)).counts == {}
    assert check_registers(from_events(events[:2])).counts == {"non-linearizable": 1}


@pytest.mark.parametrize(
    "values",
    [("a", "b"), (2**70, -(2**70)), (1.5, "x"), (2**62, -(2**62)), (2**60, 2**60 + 1), (-(2**60), -(2**60) - 1)],
)
def test_values_need_not_be_small_numbers(values: tuple[object, object]) -> None:
    first, second = values
    events = [
        Event("invoke", "write", 0, 0, 0, "k0", first),
        Event("ok", "write", 0, 1, 1, "k0", first),
        Event("invoke", "write", 0, 2, 2, "k0", second),
        Event("ok", "write", 0, 3, 3, "k0", second),
        Event("invoke", "read", 1, 4, 4, "k0"),
        Event("ok", "read", 1, 5, 5, "k0", first),
    ]
    assert check_registers(from_events(events)).counts == {"non-linearizable": 1}
    events[5].value = second
    assert check_registers(from_events(events)).verdict is Verdict.VALID


def test_the_value_before_the_first_write_may_be_given() -> None:
    ops = [Op("read", 0, 0, 1), Op("write", 7, 2, 3), Op("read", 7, 4, 5)]
    assert check_registers(as_history(ops), initial=0).verdict is Verdict.VALID
    assert check_registers(as_history(ops)).verdict is Verdict.INVALID


def test_very_long_runs_of_very_many_keys_say_so() -> None:
    events = []
    for number in range(3):
        events.append(Event("invoke", "write", number, 2 * number, 0, f"k{number}", number))
        events.append(Event("ok", "write", number, 2 * number + 1, 2**61, f"k{number}", number))
    with pytest.raises(HistoryError, match="check the keys in parts"):
        check_registers(from_events(events))


@given(st.lists(st.tuples(*[st.sampled_from((0, 1, 2, 5, 2**30, 2**31, 2**32, 2**61))] * 2), min_size=1, max_size=8))
def test_pairs_packed_into_one_number_sort_as_pairs_do(pairs: list[tuple[int, int]]) -> None:
    names = packed(*np.array(pairs, np.int64).T).tolist()
    for one, name in zip(pairs, names, strict=True):
        for other, its in zip(pairs, names, strict=True):
            assert (name < its) == (one < other)


def test_writes_and_reads_are_counted_once_and_a_value_nobody_wrote_too() -> None:
    ops = [
        Op("write", 1, 0, 1),
        Op("write", 2, 0, 1, "fail"),
        Op("write", 3, 0, 1, "info"),  # read
        Op("write", 4, 0, 1, "info"),  # not read, so it is no operation that has to be placed
        Op("read", 3, 5, 6),
        Op("read", 2, 7, 8),
        Op("read", 6, 9, 10),
        Op("write", 6, 11, 12),
    ]
    metrics = check_registers(as_history(ops)).metrics
    assert metrics["checked"] == 6
    assert metrics["keys"] == 1
    assert metrics["clashes"] == 2  # the values that no write explains


def test_a_value_that_two_keys_have_is_no_value_written_twice() -> None:
    events = []
    for process, key in enumerate(("k0", "k1", None)):
        for time, f in enumerate(("write", "read")):
            events.append(Event("invoke", f, process, time=10 * time, key=key, value=1))
            events.append(Event("ok", f, process, time=10 * time + 1, key=key, value=1))
    finding = check_registers(from_events(events))
    assert finding.verdict is Verdict.VALID
    assert finding.metrics["keys"] == 3


def test_the_earliest_contradiction_of_a_key_is_told() -> None:
    first = [Op("write", 1, 0, 1), Op("write", 2, 2, 3), Op("read", 1, 4, 5)]
    again = [op._replace(value=(op.value or 0) + 10, start=op.start + 20, end=op.end + 20) for op in first]
    finding = check_registers(as_history([*again, *first]))
    assert finding.metrics["clashes"] == 2
    [anomaly] = finding.anomalies
    assert sorted(anomaly.operations) == [6, 8, 10]


def test_a_value_from_nowhere_is_told_before_any_other_contradiction() -> None:
    stale = [Op("write", 1, 0, 1), Op("write", 2, 2, 3), Op("read", 1, 4, 5)]
    [anomaly] = check_registers(as_history([*stale, Op("read", 9, 6, 7)])).anomalies
    assert anomaly.operations == [6]
    [anomaly] = check_registers(as_history([*stale, Op("read", 8, 6, 7), Op("write", 8, 9, 9)])).anomalies
    assert anomaly.operations == [6, 8]
    [anomaly] = check_registers(as_history([*stale, Op("write", 7, 0, 1, "fail"), Op("read", 7, 6, 7)])).anomalies
    assert anomaly.operations == [8, 6]


def _searched(*more: tuple[str, str, int | None, str | None]) -> Finding:
    """What the search says of a write of 1 and one of 2, one after the other, and of these (f, type, value, via)."""
    events = []
    for place, (f, kind, value, via) in enumerate([("write", "ok", 1, None), ("write", "ok", 2, None), *more]):
        asked = value if f == "write" else None
        events.append(Event("invoke", f, place, time=10 * place, key="k0", value=asked, via=via))
        events.append(Event(kind, f, place, time=10 * place + 1, key="k0", value=value))
    return check_model(from_events(events), "register")


@pytest.mark.parametrize(
    ("more", "checked", "verdict"),
    [
        (("read", "ok", 2, None), 3, Verdict.VALID),
        (("read", "ok", 1, None), 3, Verdict.INVALID),
        (("read", "ok", 1, "replica"), 2, Verdict.VALID),
        (("read", "info", 1, None), 2, Verdict.VALID),
        (("read", "fail", 1, None), 2, Verdict.VALID),
        (("write", "info", 3, "replica"), 3, Verdict.VALID),
        (("write", "fail", 3, None), 2, Verdict.VALID),
    ],
)
def test_the_search_looks_at_what_may_have_happened_and_at_reads_of_owners(
    more: tuple[str, str, int | None, str | None], checked: int, verdict: Verdict
) -> None:
    finding = _searched(more)
    assert (finding.metrics["checked"], finding.metrics["keys"], finding.verdict) == (checked, 1, verdict)


def test_an_object_of_which_nothing_is_looked_at_is_not_counted() -> None:
    events = [
        Event("invoke", "write", 0, time=0, key="k0", value=1),
        Event("fail", "write", 0, time=1, key="k0", value=1),
    ]
    metrics = check_model(from_events(events), "register").metrics
    assert (metrics["checked"], metrics["keys"]) == (0, 0)


def test_a_failed_write_explains_no_later_read() -> None:
    assert _searched(("write", "fail", 3, None), ("read", "ok", 3, None)).verdict is Verdict.INVALID
    assert _searched(("write", "info", 3, None), ("read", "ok", 3, None)).verdict is Verdict.VALID


def test_what_begins_as_another_ends_proves_nothing_about_it() -> None:
    ops = [Op("write", 1, 0, 10), Op("write", 2, 10, 12), Op("read", 2, 20, 21), Op("read", 1, 30, 31)]
    (anomaly,) = check_registers(as_history(ops)).anomalies
    assert sorted(anomaly.operations) == [0, 2, 4, 6], "the read of 2 began after the write of 1; that of 2 did not"


def test_only_answered_reads_of_registers_are_left_out_when_a_replica_answers() -> None:
    events = []
    for process, (f, key, value, kind, via) in enumerate(
        (
            ("write", "k0", 1, "ok", None),
            ("add", "s0", 7, "ok", None),
            ("read", "k0", 1, "ok", "replica"),
            ("read", "k0", 1, "fail", "replica"),
            ("read", "s0", 7, "ok", "replica"),
        )
    ):
        events.append(Event("invoke", f, process, time=10 * process, key=key, value=value, via=via))
        events.append(Event(kind, f, process, time=10 * process + 5, key=key, value=value))
    assert check_registers(from_events(events)).metrics["second_hand_reads_left_out"] == 1

"""Bounds that no history of another test touches: one small case each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checkers import edn, foreign
from checkers.availability import check_availability
from checkers.context import Timeline, View
from checkers.counters import fewest, most, tallies_of
from checkers.durability import check_durability
from checkers.elements import elements_of
from checkers.events import Event
from checkers.history import History, HistoryError, from_events


def recorded(*ops: tuple[Any, ...]) -> History:
    """Operations (f, value, kind, details of both events) of key c, one after the other."""
    events = []
    for number, (f, value, kind, more) in enumerate(ops):
        about = {"key": None if f == "txn" else "c", "final": more.get("final", False)}
        events.append(Event("invoke", f, number, time=10 * number, value=value, via=more.get("via"), **about))
        events.append(Event(kind, f, number, time=10 * number + 5, value=value, node="n1", **about))
    return from_events(events)


def test_amounts_below_one_help_nobody_to_reach_a_sum() -> None:
    amounts = np.array([5, 0, 1, -2, 3, 0])
    assert [fewest(amounts, total) for total in (-1, 0, 1, 5, 6, 8, 9, 10)] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [most(amounts, total) for total in (0, 1, 3, 4, 8, 9, 99)] == [0, 1, 1, 2, 2, 3, 3]


def test_the_last_final_sum_of_the_owner_counts() -> None:
    final = {"final": True}
    history = recorded(
        ("add", 3, "ok", {}),
        ("read", 4, "ok", final),
        ("read", 6, "ok", final),
        ("read", 7, "ok", {}),
        ("read", 8, "ok", {**final, "via": "replica"}),
    )
    (tally,) = tallies_of(history.operations)
    assert tally.final() == (2, 6)
    (tally,) = tallies_of(recorded(("add", 3, "ok", {}), ("read", 7, "ok", {})).operations)
    assert tally.final() is None


def test_an_element_that_stands_twice_is_told_once_with_the_newest_read() -> None:
    history = recorded(
        ("txn", [["append", "l", 1], ["append", "l", 2]], "ok", {}),
        ("txn", [["r", "l", [1, 1]]], "ok", {}),
        ("txn", [["r", "l", [1, 1, 2, 2]], ["r", "l", None]], "ok", {}),
        ("txn", [["r", "l", [1, 1, 1]]], "info", {}),
        ("txn", [["r", "register", 7]], "ok", {}),
    )
    (listed,) = elements_of(history.operations)
    assert listed.reads == [(1, [1, 1]), (2, [1, 1, 2, 2]), (2, [])]
    assert sorted(listed.doubled(history.operations)) == [(1, 2, 2), (2, 2, 2)]


def test_a_primary_claims_what_lies_in_any_of_its_ranges() -> None:
    view = View(0, "n1", True, "primary", None, 1, ((0, 9), (20, 29)))
    assert [slot for slot in range(40) if view.claims(slot)] == [*range(10), *range(20, 30)]
    assert not View(0, "n1", True, "replica", "n2", 1, ((0, 9),)).claims(5)


def test_a_fault_knows_the_clients_that_it_cut_off() -> None:
    value = {"fault": 0, "phase": "inject", "nodes": ["n1"], "clients": [2, 5]}
    (fault,) = Timeline.of(from_events([Event("info", "partition", "nemesis", time=3, value=value)])).faults
    assert (fault.nodes, fault.clients) == (("n1",), (2, 5))


@pytest.mark.parametrize("f", ["write", "cas", "add", "mset"])
def test_what_counts_as_a_write_that_may_find_nobody(f: str) -> None:
    value = {"{g0}a": 1} if f == "mset" else [1, 2] if f == "cas" else 1
    history = recorded((f, value, "ok", {}), (f, value, "fail", {}), ("read", 1, "ok", {}), (f, value, "ok", {}))
    metrics = check_availability(history).metrics
    assert metrics["checked"] == 3
    assert metrics["by_range"]["0-16383"]["writes"] == 2
    assert check_availability(from_events([])).metrics["longest_ms"] == 0.0


def test_equal_values_of_two_lines_are_two_values() -> None:
    text = ["{:f :read, :value [1 2]}\n"] * 2 + ["{:f :read, :value {:a 1}}\n"] * 2
    one, two, three, four = (form["value"] for _, form in edn.read(text))
    one.append(3)
    three["b"] = 2
    assert (two, four) == ([1, 2], {"a": 1})


def test_a_key_that_is_a_list_keeps_its_value() -> None:
    assert edn.loads("{[1 2] 3 [4] {[5] 6}}") == {(1, 2): 3, (4,): {(5,): 6}}
    with pytest.raises(edn.EdnError, match="2 forms where one was expected"):
        edn.loads("1 2")


def test_who_began_when_another_ended_may_have_come_before_it() -> None:
    """Of two acknowledged writes the last final read shows the first; the second was lost only if it came after."""
    for start, lost in ((5, {}), (6, {"lost-write": 1})):
        events = [Event("info", "phase", "controller", time=20, value={"phase": "converged"})]
        for process, value, begun in ((0, 1, 0), (1, 2, start)):
            events.append(Event("invoke", "write", process, time=begun, key="k", value=value))
            events.append(Event("ok", "write", process, time=begun + 5, key="k", value=value, node="n1"))
        events.append(Event("invoke", "read", 10**6, time=30, key="k", final=True))
        events.append(Event("ok", "read", 10**6, time=31, key="k", value=1, node="n1", final=True))
        assert check_durability(from_events(sorted(events, key=lambda event: event.time or 0))).counts == lost


@pytest.mark.parametrize("via", [None, "cross-slot", "undeclared"])
def test_a_write_to_several_slots_makes_no_promise_to_a_group(via: str | None) -> None:
    events = [Event("info", "phase", "controller", time=20, value={"phase": "converged"})]
    for process, (value, way) in enumerate((({"{g}a": 1}, None), ({"{g}a": 2}, via))):
        events.append(Event("invoke", "mset", process, time=10 * process, key="{g}", value=value, via=way))
        events.append(Event("ok", "mset", process, time=10 * process + 5, key="{g}", value=value, node="n1"))
    events.append(Event("invoke", "mget", 10**6, time=30, key="{g}", value={"{g}a": None}, final=True))
    events.append(Event("ok", "mget", 10**6, time=31, key="{g}", value={"{g}a": 1}, node="n1", final=True))
    counts = check_durability(from_events(sorted(events, key=lambda event: event.time or 0))).counts
    assert counts == ({"lost-write": 1} if via is None else {})


@pytest.mark.parametrize(("asked", "answered"), [(True, False), (False, True)])
def test_a_read_is_final_when_either_of_its_events_says_so(asked: bool, answered: bool) -> None:
    events = [Event("invoke", "read", 0, time=1, final=asked), Event("ok", "read", 0, time=2, final=answered)]
    assert from_events(events).operations.final.tolist() == [True]


def test_times_of_which_some_are_fractions_are_seconds(tmp_path: Path) -> None:
    path = tmp_path / "h.json"
    lines = [{"process": 0, "type": "invoke", "f": "read", "time": 0}]
    lines += [{"process": 0, "type": "ok", "f": "read", "time": 0.5, "value": 1}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    operations = foreign.read(path).operations
    assert (operations.start[0], operations.end[0]) == (0, 500_000_000)


def test_a_map_without_a_type_is_no_operation(tmp_path: Path) -> None:
    path = tmp_path / "h.edn"
    path.write_text("{:type :invoke, :process 0, :f :read}\n{:process 0, :f :read}\n")
    with pytest.raises(HistoryError, match=r"h\.edn:2: not an operation"):
        foreign.read(path)

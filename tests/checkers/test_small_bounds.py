"""Bounds that no history of another test touches: one small case each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from checkers import edn
from checkers.availability import check_availability
from checkers.context import Timeline, View
from checkers.counters import fewest, most, tallies_of
from checkers.elements import elements_of
from checkers.history import Event, History, from_events


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

"""Moves of slots that are begun and called off: what stands open meanwhile, and what is closed again."""

from typing import Any

import pytest
from fake_system import FakeSystem

from nemeses import FAULTS, validate_options
from nemeses.fault import PlannedFault, Strike
from nemeses.stream import Stream
from nemeses.system import InjectionFailed, WaitTimeout
from nemeses.targets import Survey

FAULT = FAULTS["migrate-cancel"]


def strike(system: FakeSystem, nodes: tuple[str, ...] = ("n1",), **options: Any) -> Strike:
    given = validate_options(FAULT.kind, {"to": "n2", "slots": [1, 2], **options})
    planned = PlannedFault(0, FAULT.kind, "a primary", 0, 1_000, 3, given)
    made = Strike(system, planned, list(nodes), 4, Stream(3), lambda step, value: steps.append((step, value["slots"])))
    steps = made.state["noted"] = []
    return made


def keys(system: FakeSystem) -> tuple[int, ...]:
    return tuple(sum(slot in (1, 2) for slot in system.servers[node].keys.values()) for node in ("n1", "n2"))


def open_slots(system: FakeSystem) -> dict[str, set[int]]:
    rows = Survey.take(system).rows.items()
    return {name: row.open_slots for name, row in rows if row.open_slots}


@pytest.mark.parametrize(("after", "there"), [(0.0, 0), (0.5, 4), (1.0, 8)])
def test_a_share_of_the_keys_leaves_and_comes_back(after: float, there: int) -> None:
    system = FakeSystem(keys_per_slot=4)
    made = strike(system, after=after)
    evidence = FAULT.inject(made)
    assert (evidence["moved"], evidence["of"]) == (there, 8)
    assert keys(system) == (8 - there, there)
    assert open_slots(system) == {"n1": {1, 2}, "n2": {1, 2}}
    assert FAULT.heal(made)["open"] == {}
    assert keys(system) == (8, 0)
    assert open_slots(system) == {}
    assert Survey.take(system).owner(1) == "n1"


def test_whoever_is_primary_when_it_is_called_off_closes_the_slots() -> None:
    system = FakeSystem(keys_per_slot=4)
    made = strike(system, after=0.0)
    FAULT.inject(made)
    system.call("n4", "CLUSTER", "FAILOVER", "TAKEOVER")
    system.servers["n4"].migrating = dict(system.servers["n1"].migrating)  # as servers do that tell their replicas
    FAULT.heal(made)
    assert system.servers["n4"].migrating == system.servers["n2"].importing == {}


def test_a_move_that_stops_when_the_source_was_told_leaves_both_ends_to_believe_in_the_other() -> None:
    system = FakeSystem(keys_per_slot=4)
    made = strike(system, told="source")
    assert FAULT.inject(made)["moved"] == 8
    assert made.state["noted"] == [(step, [[slot, slot]]) for step in ("open", "half-told") for slot in (1, 2)]
    assert keys(system) == (0, 8)
    assert not {1, 2} & system.servers["n1"].slots
    left = FAULT.heal(made)
    assert left["open"] == {}
    assert keys(system) == (0, 8)
    assert not {1, 2} & system.servers["n2"].slots


def test_an_end_that_does_not_open_the_slot_is_an_error_of_the_injection() -> None:
    system = FakeSystem(keys_per_slot=4)
    system.refuse.add("setslot")
    with pytest.raises(InjectionFailed, match="slot 1 is not open at n2"):
        FAULT.inject(strike(system))
    with pytest.raises(InjectionFailed, match="takes one primary"):
        FAULT.inject(strike(FakeSystem(keys_per_slot=4), ("n1", "n3")))
    with pytest.raises(ValueError, match="'nobody'"):
        strike(system, told="nobodi")


def test_a_target_that_is_dead_is_waited_for_and_named() -> None:
    system = FakeSystem(keys_per_slot=4)
    made = strike(system)
    FAULT.inject(made)
    system.kill("n2")
    with pytest.raises(WaitTimeout, match=r"slot 1 to be closed.*does not answer"):
        FAULT.heal(made)


def test_slots_may_be_opened_for_a_primary_that_has_none() -> None:
    system = FakeSystem(keys_per_slot=4)
    system.servers["n3"].slots = set()
    evidence = FAULT.inject(strike(system, to="n3"))
    assert evidence["to"] == "n3"

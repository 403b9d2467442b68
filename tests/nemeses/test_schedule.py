"""Faults in time: when each strikes and heals, and that nothing stays unhealed whatever goes wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from fake_system import MS, FakeSystem
from schedules import run_schedule

from nemeses import validate_options
from nemeses.fault import Check, ExecutedFault, Fault, PlannedFault, Strike
from nemeses.schedule import Schedule
from nemeses.system import InjectionFailed


class Told:
    """A fault that does what it is told, and remembers when it was injected and healed."""

    kind = "told"
    requires: frozenset[str] = frozenset()
    default_target = "a primary"
    options: Mapping[str, Any] = {}
    checks: Mapping[str, Check] = {}

    def __init__(self, *, takes_ms: int = 0, inject: Exception | None = None, heal: list[Exception] | None = None):
        self.takes_ms = takes_ms
        self.inject_error = inject
        self.heal_errors = heal or []
        self.times: dict[int, list[int]] = {}

    def inject(self, strike: Strike) -> dict[str, Any]:
        self.times[strike.planned.number] = [strike.system.now_ns() // MS]
        strike.state["since_ns"] = since_ns = strike.system.now_ns()
        strike.note("bite", {"how": "hard"})
        strike.system.sleep_until(since_ns + self.takes_ms * MS)
        if self.inject_error:
            raise self.inject_error
        return {"since_ns": since_ns, "seen": True}

    def heal(self, strike: Strike) -> dict[str, Any]:
        if self.heal_errors:
            raise self.heal_errors.pop(0)
        self.times[strike.planned.number].append(strike.system.now_ns() // MS)
        return {}


def plan(number: int, at_ms: int, for_ms: int, target: str = "n1", kind: str = "told") -> PlannedFault:
    return PlannedFault(number, kind, target, at_ms, for_ms, seed=number)


def carry_out(
    system: FakeSystem, fault: Fault, *planned: PlannedFault
) -> tuple[list[ExecutedFault], list[tuple[int, str, dict[str, Any]]]]:
    events: list[tuple[int, str, dict[str, Any]]] = []
    system.expect(len(planned))

    def emit(kind: str, value: dict[str, Any]) -> None:
        events.append((system.now // MS, kind, value))

    return run_schedule(system, planned, 3, emit, {fault.kind: fault}), events


def test_each_fault_strikes_at_its_time_and_heals_after_its_length() -> None:
    fault = Told()
    executed, events = carry_out(FakeSystem(), fault, plan(0, 1_000, 500), plan(1, 1_200, 2_000), plan(2, 4_000, 1))
    assert fault.times == {0: [1_000, 1_500], 1: [1_200, 3_200], 2: [4_000, 4_001]}
    assert [each.injected_ns for each in executed] == [1_000 * MS, 1_200 * MS, 4_000 * MS]
    assert [each.healed_ns for each in executed] == [1_500 * MS, 3_200 * MS, 4_001 * MS]
    assert [(value["fault"], value["phase"]) for _, _, value in events if value["phase"] != "step"] == [
        (0, "inject"), (1, "inject"), (0, "heal"), (1, "heal"), (2, "inject"), (2, "heal"),
    ]  # fmt: skip


def test_the_length_counts_from_when_it_bites_not_from_when_that_is_seen() -> None:
    fault = Told(takes_ms=700)
    executed, events = carry_out(FakeSystem(), fault, plan(0, 1_000, 2_000))
    assert fault.times == {0: [1_000, 3_000]}
    when, _, inject = next(event for event in events if event[2]["phase"] == "inject")
    assert (when, inject["since_ns"], executed[0].injected_ns) == (1_700, 1_000 * MS, 1_000 * MS)


def test_events_say_who_was_hit_and_what_it_was() -> None:
    executed, events = carry_out(FakeSystem(), Told(), plan(0, 10, 10, "primary of slot 0 with replicas"))
    inject = next(value for _, _, value in events if value["phase"] == "inject")
    roles = {"n1": "primary of slots 0-5460", "n4": "replica of n1"}
    assert (inject["nodes"], inject["roles"]) == (["n1", "n4"], roles)
    assert (executed[0].nodes, executed[0].roles) == (["n1", "n4"], roles)
    assert inject["evidence"] == {"since_ns": 10 * MS, "seen": True}
    assert (10, "told", {"fault": 0, "phase": "step", "step": "bite", "how": "hard"}) in events


@pytest.mark.parametrize("error", [InjectionFailed("it did not hold"), KeyError("whatever"), ValueError()])
def test_a_fault_that_does_not_take_hold_is_told_and_healed_at_once(error: Exception) -> None:
    fault = Told(inject=error)
    executed, events = carry_out(FakeSystem(), fault, plan(0, 1_000, 5_000))
    assert fault.times == {0: [1_000, 1_000]}
    assert executed[0].error == (str(error) or "ValueError")
    assert executed[0].injected_ns is None
    assert [value["phase"] for _, _, value in events] == ["step", "failed", "heal"]


def test_a_fault_that_another_one_kept_from_healing_is_healed_in_the_end() -> None:
    fault = Told(heal=[OSError("a dead node stands in the way")])
    executed, events = carry_out(FakeSystem(), fault, plan(0, 1_000, 500), plan(1, 1_000, 3_000))
    assert {number: len(times) for number, times in fault.times.items()} == {0: 2, 1: 2}
    assert [each.error for each in executed] == [None, None]
    assert [value["during"] for _, _, value in events if value["phase"] == "failed"] == ["heal"]


def test_a_fault_that_cannot_be_healed_is_an_error() -> None:
    executed, _ = carry_out(FakeSystem(), Told(heal=[OSError("no"), OSError("never")]), plan(0, 0, 10))
    assert (executed[0].error, executed[0].healed_ns) == ("never", None)


def test_an_interrupt_heals_at_once_and_what_has_not_begun_never_does() -> None:
    system, fault = FakeSystem(), Told()
    system.interrupt_at = 1_500 * MS
    executed, events = carry_out(system, fault, plan(0, 1_000, 9_000), plan(1, 5_000, 1_000))
    assert fault.times == {0: [1_000, 1_500]}
    assert [each.error for each in executed] == [None, None]
    assert executed[1].injected_ns is None
    assert executed[1].nodes == []
    assert {value["fault"] for _, _, value in events} == {0}


def test_an_interrupt_before_the_effect_is_seen_heals_and_is_no_error_of_the_fault() -> None:
    system, fault = FakeSystem(), Told(takes_ms=5_000)
    system.interrupt_at = 1_500 * MS
    executed, events = carry_out(system, fault, plan(0, 1_000, 9_000))
    assert fault.times == {0: [1_000, 1_500]}
    assert (executed[0].error, executed[0].injected_ns) == (None, None)
    assert [value["phase"] for _, _, value in events] == ["step", "failed", "heal"]


def test_what_an_interrupt_kept_from_healing_is_healed_once_it_is_cleared() -> None:
    class Slow(Told):
        def heal(self, strike: Strike) -> dict[str, Any]:
            strike.system.sleep_until(strike.system.now_ns() + 300 * MS)
            return super().heal(strike)

    system, fault = FakeSystem(), Slow()
    system.interrupt_at = 1_500 * MS
    system.expect(1)
    schedule = Schedule(system, [plan(0, 1_000, 9_000)], 3, lambda *_: None, {"told": fault})
    schedule.run()
    assert fault.times == {0: [1_000]}
    system.interrupt_at = None
    system.expect(1)
    (executed,) = schedule.finish()
    assert fault.times == {0: [1_000, 1_800]}
    assert (executed.error, executed.healed_ns) == (None, 1_800 * MS)


def test_no_two_faults_move_one_slot_at_a_time_and_a_healed_one_lets_go() -> None:
    system = FakeSystem(primaries=2, keys_per_slot=2)
    system.servers["n1"].slots = {1, 2}
    chosen = validate_options("migrate-cancel", {"slots": 1, "to": "n2"})
    times = ((0, 0, 900), (1, 0, 1_000), (2, 2_000, 10), (3, 2_500, 10))
    planned = [PlannedFault(n, "migrate-cancel", "n1", at_ms, for_ms, 7, chosen) for n, at_ms, for_ms in times]
    events: list[tuple[int, list[list[int]]]] = []
    system.expect(4)

    def emit(kind: str, value: dict[str, Any]) -> None:
        if value.get("step") == "open":
            events.append((value["fault"], value["slots"]))

    assert [each.error for each in run_schedule(system, planned, 0, emit)] == [None] * 4
    slots = dict(events)
    assert sorted([slots[0], slots[1]]) == [[[1, 1]], [[2, 2]]]
    assert slots[2] == slots[3]


def test_killed_nodes_run_again_after_an_interrupt() -> None:
    system = FakeSystem()
    system.interrupt_at = 1_500 * MS
    system.expect(1)
    executed = run_schedule(system, [plan(0, 1_000, 9_000, "all primaries", "kill")], 0, lambda kind, value: None)
    assert executed[0].error is None
    assert all(system.running(node) for node in system.nodes)


def test_a_fault_that_lies_in_wait_ends_when_its_length_is_over() -> None:
    system = FakeSystem()
    system.expect(1)
    planned = PlannedFault(0, "kill-at", "n1", 1_000, 2_000, 1, validate_options("kill-at", {"number": 5}))
    (executed,) = run_schedule(system, [planned], 0, lambda kind, value: None)
    assert executed.error is None
    assert executed.injected_ns == 1_500 * MS
    assert executed.healed_ns is not None
    assert 3_000 * MS <= executed.healed_ns < 3_100 * MS
    assert system.running("n1")


def test_a_role_that_nobody_has_for_a_moment_is_waited_for() -> None:
    system, fault = FakeSystem(), Told()

    class Promotion(Told):
        def inject(self, strike: Strike) -> dict[str, Any]:
            strike.system.call("n4", "CLUSTER", "FAILOVER")
            return super().inject(strike)

    system.kill("n1")
    system.expect(2)
    planned = [plan(0, 0, 10, "primary of slot 0"), plan(1, 1_000, 10, "n4", "promotion")]
    executed = run_schedule(system, planned, 0, lambda kind, value: None, {"told": fault, "promotion": Promotion()})
    assert executed[0].nodes == ["n4"]
    assert fault.times[0][0] >= 1_000


def test_a_role_that_stays_nobodys_is_an_error() -> None:
    system = FakeSystem()
    system.kill("n1")
    executed, events = carry_out(system, Told(), plan(0, 0, 10, "primary of slot 0"))
    assert "no reachable node is 'primary of slot 0'" in str(executed[0].error)
    assert [value["phase"] for _, _, value in events] == ["failed"]


def test_a_kind_that_the_deployment_cannot_do_fails_before_anything_is_done() -> None:
    system = FakeSystem()
    system.capabilities = frozenset()
    system.expect(1)
    executed = run_schedule(system, [plan(0, 10, 10, "a primary", "kill")], 0, lambda kind, value: None)
    assert executed[0].error == "this deployment cannot do kill: it lacks kill"
    assert all(system.running(node) for node in system.nodes)

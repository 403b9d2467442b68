"""Every kind of fault on a system in memory: it takes hold, is seen to, heals, and is not believed unseen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from fake_system import MS, FakeSystem

from nemeses import FAULTS, validate_options
from nemeses.crash import MOMENTS as CRASH_MOMENTS
from nemeses.disk import ERRORS
from nemeses.fault import PlannedFault, Strike
from nemeses.kill_at import MOMENTS, SAVES
from nemeses.partition import SHAPES
from nemeses.skew import SIGN
from nemeses.slow_links import BETWEEN
from nemeses.stream import Stream
from nemeses.system import InjectionFailed, Interrupted, WaitTimeout


@dataclass
class Case:
    """One strike of a kind on a fake system."""

    kind: str
    nodes: list[str] = field(default_factory=lambda: ["n1"])
    options: dict[str, Any] = field(default_factory=dict)
    for_ms: int = 5_000
    target: str = "a primary"
    clients: int = 4
    seed: int = 3
    system: FakeSystem = field(default_factory=lambda: FakeSystem(keys_per_slot=4))

    def __post_init__(self) -> None:
        self.fault = FAULTS[self.kind]
        self.steps: list[tuple[str, dict[str, Any]]] = []
        options = validate_options(self.kind, self.options)
        planned = PlannedFault(0, self.kind, self.target, 0, self.for_ms, self.seed, options)
        self.strike = Strike(
            self.system, planned, list(self.nodes), self.clients, Stream(self.seed),
            lambda step, value: self.steps.append((step, dict(value))),
        )  # fmt: skip

    def inject(self) -> dict[str, Any]:
        return self.fault.inject(self.strike)

    def heal(self) -> dict[str, Any]:
        return self.fault.heal(self.strike)

    def cuts(self) -> set[tuple[str, str, str]]:
        """Every directed link that is cut, with its port."""
        return {(s, d, port) for ss, ds, port, _ in self.system.links.values() for s in ss for d in ds if s != d}


EVERY = [
    Case("kill"),
    Case("terminate", ["n4"]),
    Case("restart"),
    Case("power-loss"),
    *(Case("crash", options={"moment": moment, "to_clients": "all"}) for moment in CRASH_MOMENTS),
    *(Case("kill-at", options={"number": 3, "moment": moment}) for moment in MOMENTS),
    Case("kill-at", options={"call": "rename", "power": True}),
    *(Case("kill-child", options={"during": during}) for during in SAVES),
    *(Case("disk", ["n1", "n4"], {"error": error}) for error in ERRORS),
    Case("disk", options={"call": "fsync", "calls": 2}),
    Case("pause", ["n1", "n2"]),
    *(Case("partition", options={"shape": shape}) for shape in SHAPES),
    *(Case("partition", options={"shape": shape}, for_ms=300) for shape in SHAPES),
    Case("partition", options={"with_clients": 2}),
    Case("loss"),
    *(Case("delay", ["n1", "n2"], {"jitter_ms": 10, "between": between}) for between in BETWEEN),
    Case("bandwidth", options={"kbit": 64}),
    Case("reorder", options={"between": "nodes"}),
    *(Case("skew", ["n1", "n4"], {"direction": direction}) for direction in SIGN),
    *(Case("failover", options={"mode": mode}) for mode in ("graceful", "force", "takeover")),
    Case("migrate"),
    Case("migrate", options={"method": "classic", "slots": 3}),
    Case("migrate-crash"),
    Case("migrate-crash", options={"victim": "target", "fix": True}),
    *(Case("migrate-cancel", options={"told": told}) for told in ("nobody", "source")),
]


def name(case: Case) -> str:
    return "-".join([case.kind, *(str(value) for value in case.options.values()), str(case.for_ms)])


@pytest.mark.parametrize("case", EVERY, ids=name)
def test_it_takes_hold_and_heals_and_heals_again(case: Case) -> None:
    fresh = Case(case.kind, case.nodes, case.options, case.for_ms)
    evidence = fresh.inject()
    assert 0 <= evidence["since_ns"] <= fresh.system.now
    assert len(evidence) > 1, "evidence is more than a time"
    fresh.heal()
    fresh.heal()
    system = fresh.system
    assert all(system.running(node) and not system.paused(node) for node in system.nodes)
    assert not system.links
    assert not system.losses
    assert not system.delays
    assert not system.limits
    assert not any(system.offsets.values())
    assert not system.rules
    assert not system.shuffles


@pytest.mark.parametrize(
    ("case", "refused"),
    [
        (Case("kill"), "kill"),
        (Case("terminate"), "kill"),
        (Case("restart"), "kill"),
        (Case("restart"), "start"),
        (Case("power-loss"), "kill"),
        (Case("kill-at"), "calls"),
        (Case("kill-child"), "calls"),
        (Case("disk"), "calls"),
        (Case("pause"), "pause"),
        *((Case("partition", options={"shape": shape}), "cut") for shape in SHAPES),
        *((Case("partition", options={"shape": shape}, for_ms=300), "cut") for shape in SHAPES),
        (Case("loss"), "lose"),
        (Case("delay"), "delay"),
        (Case("bandwidth"), "limit"),
        (Case("reorder"), "reorder"),
        (Case("crash"), "crash"),
        (Case("skew"), "skew"),
        *((Case("failover", options={"mode": mode}), "failover") for mode in ("graceful", "force", "takeover")),
        (Case("migrate"), "migrate"),
        (Case("migrate", options={"method": "classic"}), "migrate"),
        (Case("migrate", options={"method": "classic"}), "setslot"),
        (Case("migrate-crash"), "kill"),
        (Case("migrate-crash"), "migrate"),
        (Case("migrate-crash"), "setslot"),
    ],
    ids=lambda value: name(value) if isinstance(value, Case) else value,
)
def test_what_is_accepted_and_not_done_is_not_believed_and_can_be_healed(case: Case, refused: str) -> None:
    fresh = Case(case.kind, case.nodes, case.options, case.for_ms)
    fresh.system.refuse.add(refused)
    with pytest.raises((InjectionFailed, WaitTimeout)):
        fresh.inject()
    fresh.system.refuse.clear()
    fresh.heal()
    fresh.heal()
    system = fresh.system
    assert all(system.running(node) and not system.paused(node) for node in system.nodes)
    assert not system.links
    assert not system.losses
    assert not system.delays
    assert not system.limits
    assert not any(system.offsets.values())
    assert not system.rules
    assert not system.shuffles
    assert not any(server.importing or server.migrating for server in system.servers.values())


def test_a_delay_is_measured_from_both_sides_and_never_between_the_targets() -> None:
    case = Case("delay", ["n1", "n2"], {"delay_ms": 30, "jitter_ms": 5})
    evidence = case.inject()
    assert evidence["before_ms"] == dict.fromkeys(evidence["round_trip_ms"], 0.5)
    assert evidence["round_trip_ms"] == dict.fromkeys(["n3->n1", "c0->n1", "n3->n2", "c0->n2"], 60.5)
    assert case.system.round_trip_ms("n1", "n2") == 0.5
    assert case.system.round_trip_ms("c3", "n3") == 0.5
    assert case.heal()["round_trip_ms"] == evidence["before_ms"]


def test_clients_alone_or_nodes_alone_can_be_slowed() -> None:
    for between, slow, fast in (("clients", "c0", "n2"), ("nodes", "n2", "c0")):
        case = Case("bandwidth", options={"kbit": 100, "between": between})
        assert set(case.inject()["round_trip_ms"]) == {f"{slow}->n1"}
        assert case.system.round_trip_ms(fast, "n1", payload=1_000) == 0.5


def test_a_delay_that_jitter_may_take_away_and_one_of_no_link_are_refused() -> None:
    with pytest.raises(InjectionFailed, match="a jitter of 50 ms leaves nothing certain of a delay of 50 ms"):
        Case("delay", options={"jitter_ms": 50}).inject()
    with pytest.raises(
        InjectionFailed, match="all nodes are targets: there are no links to slow between them and other nodes"
    ):
        Case("delay", [*ALL], {"between": "nodes"}).inject()


def test_a_clock_is_off_in_the_direction_asked_for_and_right_again_on_what_died_meanwhile() -> None:
    case = Case("skew", options={"offset_ms": 700, "direction": "behind"})
    assert case.inject()["ahead_ms"] == {"n1": -699.8}
    case.system.kill("n1")
    assert "TIME is right" in case.heal()["not_seen"]
    assert case.system.offsets["n1"] == 0


def test_what_is_dead_already_cannot_be_killed() -> None:
    case = Case("kill")
    case.system.kill("n1")
    with pytest.raises(InjectionFailed, match="n1 was not running"):
        case.inject()


def test_it_dies_at_the_call_that_was_asked_for_and_says_which() -> None:
    evidence = Case("kill-at", options={"number": 3, "moment": "after", "power": True}).inject()
    assert evidence["since_ns"] == evidence["died"]["time_ns"] == 300 * MS
    assert evidence["died"] | {"call": "fsync", "number": 3, "moment": "after"} == evidence["died"]
    assert evidence["dropped_bytes"] == {"n1": {"appendonly.aof": 36}}


def test_a_call_that_never_comes_is_an_error_that_says_how_many_came() -> None:
    case = Case("kill-at", options={"number": 12, "file": "*.rdb"}, for_ms=1_000)
    message = r"n1 made 10 fsyncs of \*.rdb within 1000 ms, and the 12th never came: make the fault longer"
    with pytest.raises(InjectionFailed, match=message):
        case.inject()
    with pytest.raises(InjectionFailed, match="the child of n1 made 2 writes to files within 250 ms, and the 9th"):
        Case("kill-child", options={"number": 9}, for_ms=250).inject()


def test_a_crash_waits_for_its_moment_and_tells_what_was_under_way() -> None:
    case = Case("crash", options={"to_nodes": 10})
    evidence = case.inject()
    assert evidence["since_ns"] == 100 * MS
    assert evidence["under_way_bytes"] == {"n4": 36}
    assert evidence["dropped_bytes"] == {"n1": {"appendonly.aof": 36}}
    assert case.heal()["arrived_bytes"] == {"n1": 4}


@pytest.mark.parametrize("kind", ["kill-at", "kill-child", "crash"])
def test_only_one_node_can_die_at_a_moment(kind: str) -> None:
    with pytest.raises(InjectionFailed, match=f"{kind} takes one node, not n1, n2"):
        Case(kind, ["n1", "n2"]).inject()


def test_a_disk_that_works_again_tells_how_often_it_refused() -> None:
    case = Case("disk", options={"error": "ENOSPC", "calls": 2})
    case.inject()
    case.system.sleep_until(case.system.now + 1_000 * MS)
    assert case.heal()["refused"] == {"n1": 2}


def test_a_restart_can_stay_down_and_lose_its_data() -> None:
    case = Case("restart", options={"keep_data": False, "down_ms": 700})
    evidence = case.inject()
    assert evidence["started_ns"] - evidence["since_ns"] >= 700 * MS
    assert evidence["process"]["n1"][0] != evidence["process"]["n1"][1]
    assert not case.system.servers["n1"].keys


ALL = {"n1", "n2", "n3", "n4", "n5", "n6"}


@pytest.mark.parametrize(
    ("shape", "nodes", "cut"),
    [
        ("isolate", ["n1"], {(a, b, "all") for a in ALL for b in ALL if a != b and "n1" in (a, b)}),
        ("isolate", ["n1", "n2"], {(a, b, "all") for a in ALL for b in ALL if a != b and {"n1", "n2"} & {a, b}}),
        ("halves", ["n1", "n4"], {(a, b, "all") for a in ALL for b in ALL if (a in "n1 n4") != (b in "n1 n4")}),
        ("one-way-in", ["n1"], {(a, "n1", "all") for a in ALL - {"n1"}}),
        ("one-way-out", ["n1"], {("n1", b, "all") for b in ALL - {"n1"}}),
        ("bus", ["n1"], {(a, b, "bus") for a in ALL for b in ALL if a != b and "n1" in (a, b)}),
        ("data", ["n1"], {(a, b, "data") for a in ALL for b in ALL if a != b and "n1" in (a, b)}),
        ("replication", ["n1"], {("n1", "n4", "data"), ("n4", "n1", "data")}),
        ("replication", ["n4"], {("n1", "n4", "data"), ("n4", "n1", "data")}),
        ("replica-bus", ["n1"], {("n1", "n4", "bus"), ("n4", "n1", "bus")}),
    ],
)
def test_what_each_shape_cuts(shape: str, nodes: list[str], cut: set[tuple[str, str, str]]) -> None:
    case = Case("partition", nodes, {"shape": shape})
    case.inject()
    assert case.cuts() == cut


def test_in_a_ring_every_node_keeps_two_neighbours() -> None:
    case = Case("partition", options={"shape": "ring"})
    case.inject()
    cut = case.cuts()
    assert all((b, a, port) in cut for a, b, port in cut)
    for node in ALL:
        assert len({b for a, b, _ in cut if a == node}) == 3
    assert set(case.strike.nodes) == ALL


def test_a_bridge_reaches_both_halves_and_they_do_not_reach_each_other() -> None:
    case = Case("partition", ["n2"], {"shape": "bridge"})
    case.inject()
    cut = case.cuts()
    assert not any("n2" in link for link in cut)
    assert len(cut) == 2 * 2 * 3


def test_pinned_clients_share_the_fate_of_the_target() -> None:
    case = Case("partition", ["n1"], {"with_clients": 1}, clients=3)
    case.inject()
    cut = {(a, b) for a, b, _ in case.cuts() if a.startswith("c")}
    assert cut == {("c0", node) for node in ALL - {"n1"}} | {("c1", "n1"), ("c2", "n1")}
    assert {(b, a) for a, b in cut} <= {(a, b) for a, b, _ in case.cuts()}
    assert case.strike.state["clients"] == [0]


def test_there_must_be_a_side_to_pin_clients_to_and_a_link_to_cut() -> None:
    for options, nodes in (({"shape": "ring", "with_clients": 1}, ["n1"]), ({"shape": "halves"}, sorted(ALL))):
        case = Case("partition", nodes, options)
        with pytest.raises(InjectionFailed):
            case.inject()
        assert not case.system.links


def test_a_link_that_comes_back_around_the_cut_is_no_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case("partition")
    lost = case.system._lost
    flicker = lambda witness, of: lost(witness, of) and case.system.now // MS % 200 < 100  # noqa: E731
    monkeypatch.setattr(case.system, "_lost", flicker)
    with pytest.raises(InjectionFailed, match="the nodes to see the cut"):
        case.inject()


def test_a_dead_node_behind_the_cut_hides_nothing() -> None:
    case = Case("partition")
    case.system.kill("n5")
    views = case.inject()["views"]
    assert "n5" not in views
    assert views["n2"] == {"n1": "fail?"}


def test_a_node_that_dies_while_the_cut_is_made_is_not_the_one_to_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case("partition", ["n2"])
    cut = case.system.cut

    def deadly(*ends: Any, **options: Any) -> str:
        case.system.kill("n1")
        return cut(*ends, **options)

    monkeypatch.setattr(case.system, "cut", deadly)
    assert case.inject()["views"]["n3"] == {"n2": "fail?"}


def test_a_cut_that_concerns_nobody_is_refused() -> None:
    case = Case("partition", options={"shape": "replication"}, system=FakeSystem(3, 0))
    with pytest.raises(InjectionFailed, match="leaves no link"):
        case.inject()
    case = Case("partition", options={"shape": "data"}, system=FakeSystem(3, 0))
    with pytest.raises(InjectionFailed, match="no replication link"):
        case.inject()


def test_a_partition_tells_when_it_was_cut_and_when_that_was_seen() -> None:
    case = Case("partition")
    evidence = case.inject()
    assert evidence["cut_ns"] == evidence["since_ns"] < evidence["seen_ns"]
    assert case.steps == [("cut", {"links": 2, "shape": "isolate"})]
    assert case.heal()["crossed"] is True


def test_healing_looks_for_a_message_that_crosses_unless_the_run_is_over() -> None:
    for interrupted in (False, True):
        case = Case("partition")
        case.inject()
        case.system.cut(ALL, ALL)  # by somebody else, so that nothing crosses when our own cuts are healed
        case.system.interrupt_at = case.system.now if interrupted else None
        assert case.heal().get("crossed") is (None if interrupted else False)
        assert len(case.system.links) == 1


def test_a_replica_as_target_of_a_failover_is_the_one_promoted() -> None:
    case = Case("failover", ["n5"])
    assert case.inject()["promoted"]["n2"]["to"] == "n5"
    assert case.steps == [("promoted", {"from": "n2", "to": "n5", "epoch": 7})]
    assert case.heal()["primaries"] == ["n1", "n5", "n3"]


def test_a_failover_needs_a_replica() -> None:
    with pytest.raises(InjectionFailed, match="a linked replica of n1"):
        Case("failover", system=FakeSystem(3, 0)).inject()


def test_a_classic_migration_moves_the_keys_and_notes_each_slot() -> None:
    case = Case("migrate", options={"method": "classic", "slots": [1, 2], "batch": 3, "to": "n3"})
    evidence = case.inject()
    assert evidence["moved"] == [{"from": "n1", "to": "n3", "slots": [[1, 2]]}]
    assert case.system.call("n3", "CLUSTER", "COUNTKEYSINSLOT", 2) == 4
    assert {1, 2} <= case.system.servers["n3"].slots
    ends = {"from": "n1", "to": "n3"}
    assert case.steps == [(step, {"slots": [[slot, slot]], **ends}) for slot in (1, 2) for step in ("open", "handover")]


def test_an_atomic_migration_is_used_where_the_server_has_it() -> None:
    case = Case("migrate", options={"slots": [4, 5, 9]})
    assert case.inject()["method"] == "MIGRATESLOTS"
    assert [value["slots"] for _, value in case.steps] == [[[4, 5]], [[9, 9]]]
    assert Case("migrate", system=FakeSystem(atomic=False)).inject()["method"] == "classic"
    with pytest.raises(InjectionFailed, match="no atomic slot migration"):
        Case("migrate", options={"method": "atomic"}, system=FakeSystem(atomic=False)).inject()


def test_where_another_fault_has_left_slots_open_others_move_the_classic_way() -> None:
    system = FakeSystem(primaries=2, keys_per_slot=1)
    system.servers["n1"].slots, system.servers["n1"].migrating = {1, 2}, {1: "n2"}
    evidence = Case("migrate", system=system).inject()
    assert (evidence["method"], evidence["moved"]) == ("classic", [{"from": "n1", "to": "n2", "slots": [[2, 2]]}])


def test_the_slot_that_the_target_names_moves_first_and_slots_with_keys_before_empty_ones() -> None:
    case = Case("migrate", options={"slots": 5}, target="primary of slot 5000")
    moved = case.inject()["moved"][0]["slots"]
    slots = [slot for first, last in moved for slot in range(first, last + 1)]
    assert 5000 in slots
    assert sum(slot < 40 for slot in slots) == 4, "40 slots of each primary hold keys"


def test_slots_move_only_from_their_owner_and_only_to_another_primary() -> None:
    for options, message in (
        ({"slots": [9000]}, "does not own slot 9000"),
        ({"to": "n1"}, "no other primary"),
        ({"to": "n4"}, "no other primary"),
    ):
        with pytest.raises(InjectionFailed, match=message):
            Case("migrate", options=options).inject()


def test_an_interrupted_classic_migration_is_brought_to_its_end() -> None:
    case = Case("migrate", options={"method": "classic", "slots": [1], "batch": 1, "to": "n2"})
    case.system.interrupt_at = 1 * MS
    with pytest.raises(Interrupted):
        case.inject()
    case.system.interrupt_at = None
    assert case.heal()["finished"] == [[1, 1]]
    assert case.system.call("n2", "CLUSTER", "COUNTKEYSINSLOT", 1) == 4
    assert not any(server.importing or server.migrating for server in case.system.servers.values())
    assert [step for step, _ in case.steps] == ["open", "handover"]


@pytest.mark.parametrize("victim", ["source", "target"])
def test_a_crashed_migration_leaves_half_of_the_keys_and_tells(victim: str) -> None:
    case = Case("migrate-crash", options={"victim": victim, "slots": [1, 2], "to": "n2", "after": 0.5})
    evidence = case.inject()
    dead, other = ("n1", "n2") if victim == "source" else ("n2", "n1")
    assert (evidence["moved"], evidence["of"]) == (4, 8)
    assert (case.strike.nodes, case.system.running(dead)) == ([dead], False)
    assert evidence["open"] == {other: [[1, 2]]}
    left = case.heal()
    assert left["keys"] == {"n1": 4, "n2": 4}
    assert left["open"] == {
        "n1": {"migrating": {"1": "n2", "2": "n2"}},
        "n2": {"importing": {"1": "n1", "2": "n1"}},
    }


def test_a_crashed_migration_is_finished_by_whoever_took_over() -> None:
    case = Case("migrate-crash", options={"slots": [1, 2], "to": "n2", "fix": True})
    case.inject()
    source, heir = case.system.servers["n1"], case.system.servers["n4"]
    heir.keys.update(source.keys)  # as its replica had them; the open slots died with the source
    case.system.servers["n1"].migrating.clear()
    case.system.call("n4", "CLUSTER", "FAILOVER", "TAKEOVER")
    left = case.heal()
    assert left["fixed"] == [[1, 2]]
    assert left["open"] == {}
    assert left["keys"] == {"n2": 8}
    assert ("handover", {"slots": [[1, 1]], "from": "n4", "to": "n2"}) in case.steps


def test_there_must_be_keys_to_leave_half_way() -> None:
    with pytest.raises(InjectionFailed, match="no slot with keys"):
        Case("migrate-crash", system=FakeSystem()).inject()


class WrittenTo(FakeSystem):
    """Three seconds old, n1 gets its first keys."""

    def call(self, node: str, *arguments: str | bytes | int, timeout_ms: int = 1_000) -> Any:
        if self.now >= 3_000 * MS:
            self.servers["n1"].keys.update({"k7-0": 7, "k7-1": 7})
        return super().call(node, *arguments, timeout_ms=timeout_ms)


@pytest.mark.parametrize("kind", ["migrate-crash", "migrate-cancel"])
def test_a_primary_that_came_back_empty_is_given_time_to_be_written_to(kind: str) -> None:
    case = Case(kind, system=WrittenTo(), options={"to": "n2"})
    assert case.inject()["of"] == 2
    assert case.system.now >= 3_000 * MS

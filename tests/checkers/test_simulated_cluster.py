"""The checkers against a cluster that knows what it lost and does wrong only what it is told to."""

from collections.abc import Iterator
from typing import Any

import pytest
from golden import EVERY
from simulated_bugs import Bug
from simulated_cluster import SimulatedCluster
from simulated_faults import FAULTS

from checkers import Finding, History, Verdict, finding
from checkers.durability import check_durability
from checkers.queues import check_queue
from checkers.sets import check_sets

LOSSLESS = ("none", "failover", "failback", "migration")
LOSSY = ("kill", "partition", "wipe")
IDLE = ("expiry", "visibility", "cachefill")
"""Keys of this cluster have no time to live and no database behind them, and its clients do not look for their own
writes on replicas."""


@pytest.fixture(autouse=True)
def _list_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "MOST_LISTED", 100_000)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("fault", LOSSLESS)
def test_nothing_is_found_where_nothing_is_wrong(fault: str, seed: int) -> None:
    cluster = SimulatedCluster(seed, fault)
    history = cluster.run()
    findings = {name: check(history) for name, check in EVERY.items()}
    assert not cluster.lost
    assert {name: found.anomalies for name, found in findings.items() if found.counts} == {}
    assert {found.verdict for found in findings.values()} == {Verdict.VALID}
    assert [findings.pop(name).metrics["checked"] for name in IDLE] == [0, 0, 0]
    assert all(found.metrics["checked"] > 20 for found in findings.values())
    assert not findings["durability"].metrics["unknown"]


CAUGHT: dict[Bug, tuple[str, str, str]] = {
    Bug.REPLICA_READ: ("none", "staleness", "stale-read"),
    Bug.DEPOSED_PRIMARY: ("failover", "slots", "split-ownership"),
    Bug.UNSYNCED_HANDOVER: ("failover", "durability", "lost-write"),
    Bug.RESENT_WRITE: ("none", "durability", "duplicate-write"),
    Bug.ADD_DROPPED: ("none", "durability", "lost-write"),
    Bug.TORN_WRITE: ("none", "multikey", "torn-read"),
    Bug.TORN_MIGRATION: ("migration", "multikey", "torn-read"),
    Bug.CROSS_SLOT_ACCEPTED: ("none", "multikey", "cross-slot-accepted"),
    Bug.STRANDED_KEY: ("migration", "slots", "stranded-key"),
    Bug.ORPHANED_SLOT: ("migration", "slots", "uncovered-slot"),
    Bug.TWO_OWNERS: ("migration", "slots", "split-ownership"),
    Bug.REDIRECT_LOOP: ("migration", "slots", "redirect-loop"),
    Bug.OUTDATED_MAP: ("failover", "slots", "map-disagreement"),
    Bug.REPLICA_MISSES_WRITE: ("none", "durability", "replica-divergence"),
    Bug.REFUSED_WRITE_APPLIED: ("none", "durability", "failed-write-visible"),
    Bug.CORRUPTION: ("none", "durability", "phantom-value"),
    Bug.INCREMENT_LOST: ("none", "durability", "lost-write"),
    Bug.INCREMENT_DOUBLED: ("none", "durability", "duplicate-write"),
    Bug.LIST_REORDERED: ("failover", "transactions", "incompatible-order"),
    Bug.STALE_AFTER_FAILBACK: ("failback", "staleness", "stale-read"),
    Bug.SESSION_GOES_BACK: ("none", "sessions", "non-monotonic-read"),
    Bug.TORN_TRANSACTION: ("none", "transactions", "G-single"),
    Bug.LOCK_GRANTED_TWICE: ("none", "locks", "two-holders"),
    Bug.DELIVERED_TWICE: ("none", "queue", "duplicate-element"),
}
"""By bug: the fault under which it shows, and the checker and kind meant for it. None of these faults loses anything
by itself (see above), so it is the bug that is caught."""


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("bug", Bug, ids=lambda bug: bug.name.lower())
def test_a_bug_is_caught_by_the_checker_meant_for_it(bug: Bug, seed: int) -> None:
    fault, checker, kind = CAUGHT[bug]
    found = EVERY[checker](SimulatedCluster(seed, fault, bug).run())
    assert found.verdict is Verdict.INVALID
    assert kind in found.counts


@pytest.mark.parametrize("fault", LOSSY)
def test_elements_that_were_lost_are_exactly_those_found(fault: str) -> None:
    lost = 0
    for seed in range(4):
        cluster = SimulatedCluster(seed, fault)
        history = cluster.run()
        gone = {(key, command.element(key)) for key, command in cluster.lost if key[0] in "sl" or ":l" in key}
        found = check_durability(history)
        assert {pair for pair in called_lost(history, found) if pair[0][0] in "sl" or ":l" in pair[0]} == gone
        assert not found.metrics["unknown"]
        missing = {(a.key, element) for a, element in elements_of(history, check_sets(history), "lost-element")}
        assert {pair for pair in gone if pair[0][0] == "s"} <= missing
        lost += len(gone)
    assert lost, "these seeds lose nothing: the test would prove nothing"


@pytest.mark.parametrize("fault", FAULTS)
def test_registers_are_only_called_lost_when_they_were(fault: str) -> None:
    """Not all of them are called so: a later write to the key covers the loss, unless somebody read in between."""
    called = 0
    for seed in range(6):
        cluster = SimulatedCluster(seed, fault)
        history = cluster.run()
        gone = {(command.key, str(command.value)) for _, command in cluster.lost if command.f in ("write", "mset")}
        found = {(key, value) for key, value in called_lost(history, check_durability(history)) if key[0] in "k{"}
        assert {pair for pair in found if ":l" not in pair[0]} <= gone
        called += len(found)
    assert bool(called) == (fault in LOSSY), "later writes hid every loss: the proof by lineage found none"


@pytest.mark.parametrize("fault", FAULTS)
def test_counters_lose_at_most_what_was_lost(fault: str) -> None:
    for seed in range(4):
        cluster = SimulatedCluster(seed, fault)
        found = check_durability(cluster.run())
        gone = sum(key[0] == "c" for key, _ in cluster.lost)
        assert sum(a.measured["lost"] for a in found.anomalies if a.key and a.key[0] == "c") <= gone
        assert found.counts.get("lost-write", 0) == found.metrics["lost"]


@pytest.mark.parametrize("fault", LOSSY)
def test_elements_of_queues_are_only_called_lost_when_they_were(fault: str) -> None:
    for seed in range(6):
        cluster = SimulatedCluster(seed, fault)
        history = cluster.run()
        found = {(a.key, value) for a, value in elements_of(history, check_queue(history), "lost-element")}
        assert found <= {(key, command.value) for key, command in cluster.lost if key[0] == "q"}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_acknowledged_write_has_one_fate(fault: str) -> None:
    metrics = check_durability(SimulatedCluster(3, fault).run()).metrics
    assert sum(metrics[fate] for fate in ("kept", "superseded", "lost", "unknown")) == metrics["checked"]


def test_a_cut_off_primary_that_goes_on_answering_is_split_ownership() -> None:
    counts = [EVERY["slots"](SimulatedCluster(seed, "partition").run()).counts for seed in range(6)]
    assert all(set(count) == {"split-ownership"} for count in counts)


def test_the_time_without_a_primary_is_measured() -> None:
    metrics = EVERY["availability"](SimulatedCluster(1, "kill").run()).metrics
    assert metrics["windows"][0]["range"] == "0-5460"
    assert 140 < metrics["longest_ms"] < 220  # killed at 200, taken over at 350, noticed after a timeout of 40
    assert metrics["by_range"]["10923-16383"]["longest_ms"] < 70
    assert metrics["errors"]["timeout reading from …"] > 0


def test_every_checker_judges_a_simulated_run() -> None:
    history = SimulatedCluster(2, "partition").run()
    for check in (check for name, check in EVERY.items() if name not in IDLE):
        assert check(history).metrics["checked"] > 0


def test_a_seed_repeats_itself() -> None:
    one, two = (SimulatedCluster(5, "partition") for _ in range(2))
    assert len(one.run().operations) == len(two.run().operations)
    assert one.events == two.events


def test_clients_are_redirected_while_slots_move() -> None:
    details = SimulatedCluster(1, "migration").run().operations.details.values()
    assert any(detail.get("asking") for detail in details)
    assert any(len(detail.get("hops") or ()) > 1 for detail in details)


def elements_of(history: History, found: Finding, kind: str) -> Iterator[tuple[Any, Any]]:
    """Anomalies of a kind with the value of the write that each is about: the first one among their operations."""
    operations = history.operations
    rows = {index: row for row, index in enumerate(operations.index.tolist())}
    for anomaly in found.anomalies:
        if anomaly.kind == kind:
            named = [rows[index] for index in anomaly.operations]
            yield (
                anomaly,
                next(
                    operations.value[row]
                    for row in named
                    if operations.functions[operations.f[row]] in ("add", "enqueue")
                ),
            )


def called_lost(history: History, found: Finding) -> set[tuple[str, Any]]:
    """Keys and values of the writes that a finding calls lost (values of registers as text); counters have none."""
    operations = history.operations
    rows = {index: row for row, index in enumerate(operations.index.tolist())}
    pairs = set()
    for anomaly in found.anomalies:
        if anomaly.kind == "lost-write" and "shortfall" not in anomaly.measured:
            row = rows[anomaly.operations[0]]
            f, value = operations.functions[operations.f[row]], operations.value[row]
            if f == "txn":
                value = next(element for verb, key, element in value if (verb, key) == ("append", anomaly.key))
            pairs.add((anomaly.key or "", value if f in ("txn", "add") else str(value)))
    return pairs

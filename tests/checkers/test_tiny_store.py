"""The checkers against a store that knows what it lost: exactly that is found, and nothing where nothing was lost."""

from typing import Any

import pytest
from tiny_store import FAULTS, Command, TinyStore

from checkers import CHECKERS, Finding, History, Verdict, check, finding
from checkers.durability import check_durability


@pytest.fixture(autouse=True)
def _list_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "MOST_LISTED", 100_000)


LOSSLESS = ("none", "failover")
LOSSY = ("kill", "partition", "wipe")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("fault", LOSSLESS)
def test_nothing_is_found_where_nothing_was_lost(fault: str, seed: int) -> None:
    store = TinyStore(seed, fault)
    findings = check(store.run(), ["durability", "multikey", "slots", "availability"])
    assert not store.lost
    assert not [found.anomalies for found in findings.values() if found.counts]
    assert {found.verdict for found in findings.values()} == {Verdict.VALID}
    assert all(found.metrics["checked"] > 100 for found in findings.values())
    assert not findings["durability"].metrics["unknown"]


@pytest.mark.parametrize("fault", LOSSY)
def test_elements_that_were_lost_are_exactly_those_found(fault: str) -> None:
    lost = 0
    for seed in range(4):
        store = TinyStore(seed, fault)
        history = store.run()
        gone = {(c.key, c.value if c.f == "add" else c.value[0][2]) for c in store.acknowledged_lost if element(c)}
        assert {pair for pair in called_lost(history, check_durability(history)) if pair[0][0] in "sl"} == gone
        lost += len(gone)
    assert lost, "these seeds lose nothing: the test would prove nothing"


@pytest.mark.parametrize("fault", LOSSY)
def test_registers_are_only_called_lost_when_they_were(fault: str) -> None:
    called = 0
    for seed in range(6):
        store = TinyStore(seed, fault)
        history = store.run()
        gone = {(c.key, str(c.value)) for c in store.acknowledged_lost if c.f in ("write", "mset")}
        found = {(key, value) for key, value in called_lost(history, check_durability(history)) if key[0] in "k{"}
        assert found <= gone
        called += len(found)
    assert called, "later writes hid every loss: the proof by lineage found none"


@pytest.mark.parametrize("fault", FAULTS)
def test_counters_lose_at_most_what_was_lost(fault: str) -> None:
    for seed in range(4):
        store = TinyStore(seed, fault)
        found = check_durability(store.run())
        gone = sum(c.f == "add" and c.key[0] == "c" for c in store.acknowledged_lost)
        assert sum(a.measured["lost"] for a in found.anomalies if a.key and a.key[0] == "c") <= gone
        assert found.counts.get("lost-write", 0) == found.metrics["lost"]


@pytest.mark.parametrize("fault", FAULTS)
def test_every_acknowledged_write_has_one_fate(fault: str) -> None:
    metrics = check_durability(TinyStore(3, fault).run()).metrics
    assert sum(metrics[fate] for fate in ("kept", "superseded", "lost", "unknown")) == metrics["checked"]


def test_a_cut_off_primary_that_goes_on_answering_is_split_ownership() -> None:
    counts = [check(TinyStore(seed, "partition").run(), ["slots"])["slots"].counts for seed in range(6)]
    assert all(set(count) == {"split-ownership"} for count in counts)


def test_the_time_without_a_primary_is_measured() -> None:
    metrics = check(TinyStore(1, "kill").run(), ["availability"])["availability"].metrics
    assert metrics["windows"][0]["range"] == "0-8191"
    assert 140 < metrics["longest_ms"] < 220  # killed at 200, taken over at 350, noticed after a timeout of 60
    assert metrics["by_range"]["8192-16383"]["longest_ms"] < 70
    assert metrics["errors"]["timeout"] > 0


def test_every_checker_judges_a_simulated_run() -> None:
    findings = check(TinyStore(2, "partition").run())
    assert list(findings) == list(CHECKERS)
    assert not [found.reason for found in findings.values() if "failed" in str(found.reason)]


def element(command: Command) -> bool:
    return (command.f == "add" and command.key[0] == "s") or command.f == "txn"


def called_lost(history: History, found: Finding) -> set[tuple[str, Any]]:
    """Keys and values of the writes that a finding calls lost (values of registers as text); counters have none."""
    operations = history.operations
    rows = {index: row for row, index in enumerate(operations.index.tolist())}
    pairs = set()
    for anomaly in found.anomalies:
        if anomaly.kind == "lost-write" and "shortfall" not in anomaly.measured:
            row = rows[anomaly.operations[0]]
            f, value = operations.functions[operations.f[row]], operations.value[row]
            pairs.add((anomaly.key or "", {"txn": lambda v: v[0][2], "add": lambda v: v}.get(f, str)(value)))
    return pairs

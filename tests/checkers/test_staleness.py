"""The bound of staleness is the best there is, delta and 2-atomicity are those of trying everything."""

from __future__ import annotations

from typing import Any

import pytest
from exhaustive import Op, as_history, k_atomic, smallest_delta, staleness
from hypothesis import given, settings
from hypothesis import strategies as st
from registers import anything, correct

from checkers.atomicity import smallest_delta_ns, two_atomic
from checkers.events import Event
from checkers.finding import Finding, Verdict
from checkers.history import History, from_events
from checkers.staleness import check_staleness
from checkers.zones import prepare


def _by_read(finding: Finding) -> dict[int, dict[str, Any]]:
    return {anomaly.operations[0]: anomaly.measured for anomaly in finding.anomalies}


@settings(max_examples=200, deadline=None)
@given(anything(most=6, strangers=False))
def test_bound_is_the_least_staleness_of_any_placement(ops: list[Op]) -> None:
    writer = {op.value: op for op in ops if op.f == "write" and op.type != "fail"}
    # A read that no placement explains has no staleness, and must not count as having seen its value either.
    sane = [
        op
        for op in ops
        if op.f == "write" or op.value is None or (op.value in writer and op.end >= writer[op.value].start)
    ]
    history = as_history(ops)
    indexes = {id(op): 2 * number for number, op in enumerate(ops)}
    found = _by_read(check_staleness(history))
    expected = {}
    for op in sane:
        if op.f == "read" and op.type == "ok":
            time, versions = staleness(sane, op)
            if time:
                expected[indexes[id(op)]] = {"stale_ms": time / 1e6, "versions": versions}
    assert found == expected


@settings(max_examples=150, deadline=None)
@given(anything())
def test_delta_is_the_smallest_shift_of_reads_that_makes_it_linearizable(ops: list[Op]) -> None:
    assert smallest_delta_ns(prepare(as_history(ops), second_hand=True)) == smallest_delta(ops, 20)


@settings(max_examples=300, deadline=None)
@given(anything())
def test_two_atomic_is_that_of_trying_every_order(ops: list[Op]) -> None:
    assert two_atomic(prepare(as_history(ops), second_hand=True)) == k_atomic(ops, 2)
    assert check_staleness(as_history(ops)).metrics["two_atomic"] == k_atomic(ops, 2)


@pytest.mark.parametrize(("seen", "answer"), [((1, 2), True), ((3, 1), True), ((1, 2, 3), False)])
def test_of_three_concurrent_writes_two_can_be_the_last_two(seen: tuple[int, ...], answer: bool) -> None:
    ops = [Op("write", value, 0, 10) for value in (1, 2, 3)]
    ops += [Op("read", value, 12 + place, 12 + place) for place, value in enumerate(seen * 2)]
    assert k_atomic(ops, 2) is answer
    assert two_atomic(prepare(as_history(ops), second_hand=True)) is answer


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6))
def test_nothing_is_stale_in_a_correct_history(seed: int) -> None:
    finding = check_staleness(correct(seed))
    assert finding.verdict is Verdict.VALID
    assert finding.metrics["delta_ms"] == 0
    assert finding.metrics["two_atomic"] is True


def test_many_newer_versions_are_counted_exactly() -> None:
    writes = [Op("write", number, 10 * number, 10 * number + 5) for number in range(1, 40)]
    reads = [Op("read", number, 1000 + number, 2000) for number in range(1, 40)]
    found = _by_read(check_staleness(as_history([*writes, *reads])))
    assert {index: measured["versions"] for index, measured in found.items()} == {
        2 * (38 + number): 39 - number for number in range(1, 39)
    }


def test_a_read_that_saw_the_newer_value_proves_more_than_the_late_acknowledgement() -> None:
    ops = [Op("write", 1, 0, 1), Op("write", 2, 10, 90), Op("read", 2, 11, 20), Op("read", 1, 30, 31)]
    assert _by_read(check_staleness(as_history(ops)))[6] == {"stale_ms": 10 / 1e6, "versions": 1}


def test_delta_is_undefined_where_a_read_saw_a_value_nobody_wrote() -> None:
    metrics = check_staleness(as_history([Op("write", 1, 0, 1), Op("read", 5, 2, 3)])).metrics
    assert metrics["delta_ms"] is None
    assert "nobody had written" in metrics["delta_undefined"]
    assert metrics["two_atomic"] is False


def test_two_atomicity_is_null_where_a_key_is_undecided() -> None:
    ops = [Op("write", 1, 0, 1), Op("write", 1, 2, 3)]
    finding = check_staleness(as_history(ops))
    assert finding.verdict is Verdict.UNKNOWN
    assert finding.metrics["two_atomic"] is None


class Run:
    """A run told step by step: who answered what, and what the observer and the controller said."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.time = 0
        self.view("n1", "primary", 1)
        self.view("n4", "replica", 1, "n1")

    def _event(self, type_: str, f: str, process: int | str, value: Any, **more: Any) -> None:
        self.time += 1_000_000
        self.events.append(Event(type_, f, process, len(self.events), self.time, value=value, **more))

    def view(self, node: str, role: str, epoch: int, primary: str | None = None) -> None:
        slots = [[0, 16383]] if role == "primary" else []
        self._event(
            "info",
            "view",
            "observer",
            {"node": node, "state": "up", "role": role, "primary": primary, "epoch": epoch, "slots": slots},
        )

    def op(self, f: str, value: int | None, node: str, **more: Any) -> int:
        """Do one operation, and return its index."""
        final = more.get("final", False)
        via = more.pop("via", None)
        asking = more.pop("asking", False)
        more = {"key": "k0", **more}
        process = 1_000_000 if final else 0
        index = len(self.events)
        self._event("invoke", f, process, value if f == "write" else None, via=via, **more)
        self._event("ok", f, process, value, node=node, asking=asking, **more)
        return index

    def converge(self, phase: str = "converged") -> None:
        self._event("info", "phase", "controller", {"phase": phase})

    def history(self) -> History:
        return from_events(self.events)

    def kinds(self) -> dict[int, str]:
        return {anomaly.operations[0]: anomaly.kind for anomaly in check_staleness(self.history()).anomalies}


def _takeover(run: Run) -> None:
    run.view("n4", "primary", 7)


def test_a_read_of_what_was_left_after_the_loss_is_rolled_back_not_stale() -> None:
    run = Run()
    run.op("write", 1, "n1")
    run.op("write", 2, "n1")  # acknowledged by a primary that is cut off, and lost
    _takeover(run)
    read = run.op("read", 1, "n4")
    run.converge()
    final = run.op("read", 1, "n4", final=True)
    assert run.kinds() == {read: "rolled-back-read", final: "rolled-back-read"}


def test_a_later_write_does_not_hide_the_rollback_when_the_same_primary_kept_the_key() -> None:
    run = Run()
    run.op("write", 1, "n1")
    run.op("write", 2, "n1")
    _takeover(run)
    read = run.op("read", 1, "n4")
    run.op("write", 3, "n4")
    run.converge()
    run.op("read", 3, "n4", final=True)
    assert run.kinds() == {read: "rolled-back-read"}
    metrics = check_staleness(run.history()).metrics
    assert (metrics["stale"], metrics["rolled_back"]) == (0, 1)
    assert metrics["max_ms"] == 0.0 < metrics["rolled_back_max_ms"]


def test_a_takeover_that_the_observer_saw_a_little_late_still_counts() -> None:
    run = Run()
    run.op("write", 1, "n1")
    run.op("write", 2, "n1")
    read = run.op("read", 1, "n4")
    _takeover(run)
    run.op("write", 3, "n4")
    run.converge()
    run.op("read", 3, "n4", final=True)
    assert run.kinds() == {read: "rolled-back-read"}


def _deposed_read(run: Run, **more: Any) -> int:
    run.op("write", 1, "n1")
    _takeover(run)
    run.op("write", 2, "n4")
    return run.op("read", 1, "n1", **more)


def test_a_deposed_primary_that_lags_behind_serves_stale_reads() -> None:
    run = Run()
    read = _deposed_read(run)
    run.converge()
    run.op("read", 2, "n4", final=True)
    [anomaly] = check_staleness(run.history()).anomalies
    assert (anomaly.operations[0], anomaly.kind) == (read, "stale-read")
    assert "answered by n1 (deposed primary)" in anomaly.explanation


def test_the_final_value_proves_the_rollback_whoever_answers_in_the_end() -> None:
    run = Run()
    run.op("write", 1, "n1")
    run.op("write", 2, "n1")
    _takeover(run)
    read = run.op("read", 1, "n4")
    run.view("n4", "replica", 7, "n1")
    run.view("n1", "primary", 9)
    run.converge()
    final = run.op("read", 1, "n1", final=True)
    assert run.kinds() == {read: "rolled-back-read", final: "rolled-back-read"}


@pytest.mark.parametrize("end", ["not-converged", None])
def test_without_convergence_nothing_is_proved_lost(end: str | None) -> None:
    run = Run()
    run.op("write", 1, "n1")
    run.op("write", 2, "n1")
    _takeover(run)
    read = run.op("read", 1, "n4")
    if end:
        run.converge(end)
    final = run.op("read", 1, "n4", final=True)
    assert run.kinds() == {read: "stale-read", final: "stale-read"}


def test_a_newer_write_that_was_still_seen_afterwards_had_not_been_rolled_back_yet() -> None:
    run = Run()
    read = _deposed_read(run)
    run.op("read", 2, "n4")
    run.view("n4", "replica", 7, "n1")
    run.view("n1", "primary", 9)
    run.converge()
    final = run.op("read", 1, "n1", final=True)
    assert run.kinds() == {read: "stale-read", final: "rolled-back-read"}


def test_a_primary_that_lost_and_regained_its_place_proves_nothing_about_before() -> None:
    run = Run()
    run.op("write", 1, "n1")
    _takeover(run)
    run.op("write", 2, "n4")
    read = run.op("read", 1, "n1")
    run.view("n1", "replica", 7, "n4")
    run.view("n1", "primary", 9)
    run.op("write", 3, "n1")
    run.converge()
    run.op("read", 3, "n1", final=True)
    assert run.kinds() == {read: "stale-read"}


@pytest.mark.parametrize("more", [{"asking": True}, {"via": "replica"}, {"via": "cache"}])
def test_reads_that_did_not_ask_an_owner_prove_no_rollback(more: dict[str, Any]) -> None:
    run = Run()
    run.op("write", 1, "n1")
    run.op("write", 2, "n1")
    _takeover(run)
    read = run.op("read", 1, "n4", **more)
    run.op("write", 3, "n4")
    run.converge()
    run.op("read", 3, "n4", final=True)
    assert run.kinds() == {read: "stale-read"}


def test_who_answered_is_told_apart() -> None:
    run = Run()
    run.op("write", 1, "n1")
    run.op("write", 2, "n1")
    run.op("read", 1, "n1")
    run.op("read", 1, "n4", via="replica")
    run.op("read", 1, "n1", via="cache")
    run.op("read", 2, "n1")
    metrics = check_staleness(run.history()).metrics
    assert {who: group["stale"] for who, group in metrics["by_answerer"].items()} == {
        "primary": 1,
        "replica": 1,
        "local cache": 1,
    }
    assert {node: group["stale"] for node, group in metrics["by_node"].items()} == {"n1": 2, "n4": 1}
    assert metrics["checked"] == 4
    assert sum(metrics["histogram_ms"].values()) == 3


def test_final_reads_of_replicas_are_not_measured() -> None:
    run = Run()
    run.op("write", 1, "n1")
    run.converge()
    run.op("read", None, "n4", via="replica", final=True)
    assert run.kinds() == {}


MS = 1_000_000


def _late_reads(*lags_ms: float) -> Finding:
    """What is said of reads of an overwritten value that began so long after it was."""
    ops = [Op("write", 1, 0, 1 * MS), Op("write", 2, 2 * MS, 3 * MS)]
    ops += [Op("read", 1, 3 * MS + int(lag * MS), 3 * MS + int(lag * MS)) for lag in lags_ms]
    return check_staleness(as_history(ops))


def test_the_distribution_of_staleness_is_told_by_quantiles_and_by_bounds_that_belong_below() -> None:
    metrics = _late_reads(*range(1, 102)).metrics
    assert metrics["stale"] == 101
    assert metrics["max_ms"] == 101.0
    assert metrics["quantiles_ms"] == {"p50": 51.0, "p90": 91.0, "p99": 100.0}
    assert metrics["by_key"] == {"k0": {"stale": 101, "max_ms": 101.0}}
    assert metrics["histogram_ms"] == {
        "up to 1": 1,
        "up to 3": 2,
        "up to 10": 7,
        "up to 30": 20,
        "up to 100": 70,
        "up to 300": 1,
    }
    edges = _late_reads(0.5, 300, 300.5, 1000, 1000.5, 3000, 3000.5, 10_000, 10_000.5, 50_000).metrics["histogram_ms"]
    assert edges == {"up to 1": 1, "up to 300": 1, "up to 1000": 2, "up to 3000": 2, "up to 10000": 2, "more": 2}


def test_anomalies_come_worst_first() -> None:
    found = _late_reads(5, 20, 0.5).anomalies
    assert [anomaly.measured["stale_ms"] for anomaly in found] == [20.0, 5.0, 0.5]


def test_a_write_that_ends_as_a_read_begins_is_not_a_version_behind() -> None:
    ops = [Op("write", 1, 0, 1), Op("write", 2, 2, 3), Op("write", 3, 4, 5), Op("read", 1, 5, 6)]
    assert _by_read(check_staleness(as_history(ops)))[6]["versions"] == 1


def test_a_write_that_began_before_the_value_was_in_effect_is_no_version_ahead() -> None:
    ops = [Op("write", 1, 2, 9), Op("write", 2, 1, 5), Op("write", 3, 6, 7), Op("read", 2, 12, 13)]
    assert _by_read(check_staleness(as_history(ops)))[6]["versions"] == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 30)), min_size=8, max_size=30), st.randoms())
def test_versions_are_counted_whatever_the_order_in_which_writes_end(spans: list[tuple[int, int]], rng: Any) -> None:
    writes = [Op("write", number + 1, start, start + length) for number, (start, length) in enumerate(spans)]
    reads = []
    for number, write in enumerate(rng.sample(writes, 6)):
        start = max(write.end, 35) + 3 * number  # never the first to show that the write had taken effect
        reads.append(Op("read", write.value, start, start + 1))
    found = _by_read(check_staleness(as_history([*writes, *reads])))
    for number, read in enumerate(reads):
        write = writes[(read.value or 0) - 1]
        newer = sum(other.start > write.end and other.end < read.start for other in writes)
        assert found.get(2 * (len(writes) + number), {"versions": 0})["versions"] == newer


def test_who_answered_is_unknown_without_a_node_and_before_the_first_view() -> None:
    run = Run()
    run.events, run.time = [], 0
    run.op("write", 1, "n1")
    run.op("write", 2, "n1")
    run.op("read", 1, "n1")  # nobody has said what n1 is
    run.view("n1", "primary", 1)
    run.op("read", 1, "n1")
    run.op("read", 1, "")
    run.events[-1].node = None
    metrics = check_staleness(run.history()).metrics
    assert {who: group["stale"] for who, group in metrics["by_answerer"].items()} == {"unknown": 2, "primary": 1}
    assert {node: group["stale"] for node, group in metrics["by_node"].items()} == {"n1": 2, "unknown": 1}


def test_who_answered_is_unknown_where_no_view_tells_of_the_node() -> None:
    run = Run()
    run.op("write", 1, "n1")
    run.op("write", 2, "n1")
    run.op("read", 1, "n9")
    metrics = check_staleness(run.history()).metrics
    assert {who: group["stale"] for who, group in metrics["by_answerer"].items()} == {"unknown": 1}


def test_a_rollback_is_proved_whatever_is_read_of_other_keys() -> None:
    run = Run()
    for key, value in (("k0", 1), ("k0", 2), ("k1", 11), ("k1", 12), ("k2", 21), ("k2", 22)):
        run.op("write", value, "n1", key=key)
    _takeover(run)
    reads = [run.op("read", value, "n4", key=key) for key, value in (("k0", 1), ("k1", 11), ("k2", 21))]
    run.op("read", 12, "n1", key="k1")  # seen afterwards, so when the other read began it was not gone yet
    run.view("n4", "replica", 7, "n1")
    run.view("n1", "primary", 9)
    run.converge()
    finals = [run.op("read", value, "n1", key=key, final=True) for key, value in (("k0", 1), ("k1", 11), ("k2", 21))]
    kinds = run.kinds()
    assert [kinds[read] for read in reads] == ["rolled-back-read", "stale-read", "rolled-back-read"]
    assert [kinds[read] for read in finals] == ["rolled-back-read"] * 3


@pytest.mark.parametrize(
    ("lie", "kind"),
    [
        (None, "rolled-back-read"),
        ({}, "stale-read"),
        ({"asking": True}, "rolled-back-read"),
        ({"via": "replica"}, "rolled-back-read"),
    ],
)
def test_a_node_that_contradicts_itself_as_an_owner_proves_no_rollback(lie: dict[str, Any] | None, kind: str) -> None:
    run = Run()
    run.op("write", 11, "n1", key="k1")
    if lie is not None:
        run.op("read", None, "n1", key="k1", **lie)
    run.op("write", 1, "n1")
    run.op("write", 2, "n2")
    read = run.op("read", 1, "n1")
    run.op("write", 3, "n1")
    run.converge()
    run.op("read", 3, "n1", final=True)
    assert run.kinds()[read] == kind


def test_a_write_that_began_as_the_value_was_in_effect_is_not_newer() -> None:
    run = Run()
    run.op("write", 1, "n1")
    run.time -= MS
    run.op("write", 2, "n1")
    run.op("write", 3, "n1")
    _takeover(run)
    read = run.op("read", 1, "n4")
    run.op("read", 2, "n4")
    run.view("n4", "replica", 7, "n1")
    run.view("n1", "primary", 9)
    run.converge()
    run.op("read", 1, "n1", final=True)
    assert run.kinds()[read] == "rolled-back-read"


def test_last_reads_that_disagree_prove_no_rollback() -> None:
    run = Run()
    run.op("write", 1, "n1")
    run.op("write", 2, "n1")
    _takeover(run)
    read = run.op("read", 1, "n4")
    run.converge()
    run.op("read", 2, "n4", final=True)
    last = run.op("read", 1, "n4", final=True)
    assert run.kinds() == {read: "stale-read", last: "stale-read"}


@pytest.mark.parametrize(("delta", "at"), [(0, 3), (1, 4), (2, 5), (3, 6), (4, 7)])
def test_delta_is_exact(delta: int, at: int) -> None:
    ops = [Op("write", 1, 0, 1), Op("write", 2, 2, 3), Op("read", 1, at, at + 1)]
    assert smallest_delta_ns(prepare(as_history(ops), second_hand=True)) == delta == smallest_delta(ops, 9)


def test_a_view_recorded_as_a_read_begins_says_who_answered_it() -> None:
    run = Run()
    run.op("write", 1, "n1")
    run.op("write", 2, "n1")
    run.view("n4", "primary", 7)
    run.time -= MS
    run.op("read", 1, "n4")
    assert list(check_staleness(run.history()).metrics["by_answerer"]) == ["primary"]

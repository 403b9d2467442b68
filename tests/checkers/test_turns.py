"""Split ownership and availability against plain loops."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checkers.availability import check_availability
from checkers.context import OBSERVER_LAG_NS, Timeline
from checkers.events import Event
from checkers.finding import Finding, Verdict
from checkers.history import History, from_events
from checkers.keyslot import key_slot
from checkers.slots import check_slots

MS = 1_000_000
STEP = OBSERVER_LAG_NS * 2
"""Acquisitions lie far enough apart that the observer's lag joins no two of them."""

Answer = tuple[int, int, str]
"""Start, end and node of an answered write, in steps."""

answers = st.lists(
    st.tuples(st.integers(0, 12), st.integers(1, 4), st.sampled_from(["n1", "n2"])).map(
        lambda t: (t[0], t[0] + t[1], t[2])
    ),
    max_size=8,
)
handovers = st.lists(st.tuples(st.integers(0, 14), st.sampled_from(["n1", "n2"])), max_size=3)


def history(ops: list[Answer], moves: list[tuple[int, str]]) -> History:
    view = {"node": "n3", "state": "up", "role": "primary", "primary": None, "epoch": 1, "slots": []}
    events = [Event("info", "view", "observer", time=-1, value=view)]
    for number, (start, end, node) in enumerate(ops):
        events.append(Event("invoke", "write", number, time=start * STEP, key="k3", value=number))
        events.append(Event("ok", "write", number, time=end * STEP, key="k3", value=number, node=node))
    for time, node in moves:
        step = {"fault": 0, "phase": "step", "step": "handover", "slots": [[0, 16383]], "from": "n9", "to": node}
        events.append(Event("info", "migrate", "nemesis", time=time * STEP + STEP // 4, value=step))
    return from_events(events)


def naive(ops: list[Answer], moves: list[tuple[int, str]]) -> bool:
    for a in ops:
        for b in ops:
            for c in ops:
                if a[2] == c[2] != b[2] and a[1] < b[0] and b[1] < c[0]:
                    times = [time + 0.25 for time, node in moves if node == a[2]]
                    if not any(b[0] <= time <= c[1] + 0.5 for time in times):
                        return True
    return False


@settings(max_examples=300, deadline=None)
@given(answers, handovers)
def test_split_ownership_is_that_of_the_triple_loop(ops: list[Answer], moves: list[tuple[int, str]]) -> None:
    found = check_slots(history(ops, moves))
    assert ("split-ownership" in found.counts) == naive(ops, moves)


def test_of_several_answers_in_between_the_one_that_began_last_is_named() -> None:
    run = history([(0, 1, "n2"), (2, 5, "n1"), (5, 6, "n1"), (7, 8, "n2")], [])
    (anomaly,) = check_slots(run).anomalies
    assert anomaly.operations == [int(run.operations.index[row]) for row in (3, 2, 0)]


def test_what_a_proxy_answers_is_no_ownership() -> None:
    run = history([(0, 1, "n1"), (2, 3, "n2"), (4, 5, "n1")], [])
    for between in ("n1", "n2"):
        run.header["groups"] = {"proxies": [between]}
        assert check_slots(run).counts == {}
    run.header["groups"] = {"proxies": ["n3"]}
    assert check_slots(run).counts == {"split-ownership": 1}


def test_answers_to_asking_are_no_ownership() -> None:
    run = history([(0, 1, "n1"), (2, 3, "n2"), (4, 5, "n1")], [])
    assert check_slots(run).counts == {"split-ownership": 1}
    run.operations.details[1] = {"asking": True}
    assert check_slots(run).counts == {}


@pytest.mark.parametrize(("late", "counts"), [(0, {}), (1, {"split-ownership": 1})])
def test_a_slot_may_have_come_back_until_the_observers_lag_after_an_answer(late: int, counts: dict[str, int]) -> None:
    run = history([(0, 1, "n1"), (2, 3, "n2"), (4, 5, "n1")], [(5, "n1")])
    run.context[-1].time = 5 * STEP + OBSERVER_LAG_NS + late
    assert check_slots(run).counts == counts


def test_a_run_that_did_not_settle_is_unknown_and_says_why() -> None:
    run = history([(0, 1, "n1")], [])
    finding = check_slots(run)
    assert finding.verdict is Verdict.UNKNOWN
    assert finding.reason == Timeline.of(run).why_not
    assert finding.reason


def test_without_an_observer_nothing_is_claimed() -> None:
    run = history([(0, 1, "n1"), (2, 3, "n2"), (4, 5, "n1")], [])
    run.context.clear()
    finding = check_slots(run)
    assert finding.counts == {}
    assert "no observer" in str(finding.reason)


writes = st.lists(
    st.tuples(st.integers(0, 3000), st.integers(1, 400), st.sampled_from(["ok", "ok", "fail", "info"])), max_size=12
)


def naive_longest(ops: list[tuple[int, int, str]]) -> float:
    """Walk through the run millisecond by millisecond: since when has a write been waiting?"""
    first, last = Timeline.of(load(ops)).load
    successes = sorted(start + length for start, length, kind in ops if kind == "ok")
    edges = [first // MS, *successes, last // MS]
    longest = 0
    for before, after in pairwise(edges):
        for time in range(before, after):
            pending = any(start <= before < start + length and kind != "info" for start, length, kind in ops)
            if (time == before and pending) or any(start == time > before for start, _, _ in ops):
                longest = max(longest, after - time)
                break
    return float(longest)


def load(ops: list[tuple[int, int, str]]) -> History:
    events = []
    for number, (start, length, kind) in enumerate(ops):
        events.append(Event("invoke", "add", number, time=start * MS, key="s3", value=number))
        events.append(Event(kind, "add", number, time=(start + length) * MS, key="s3", value=number, error="OOM no"))
    return from_events(events)


@settings(max_examples=60, deadline=None)
@given(writes)
def test_the_longest_window_is_that_of_walking_through(ops: list[tuple[int, int, str]]) -> None:
    assert check_availability(load(ops)).metrics["longest_ms"] == naive_longest(ops)


def test_a_client_with_nothing_to_do_makes_no_window() -> None:
    metrics = check_availability(load([(0, 1, "ok"), (2000, 1, "ok")])).metrics
    assert metrics["longest_ms"] == 1.0
    assert metrics["windows"] == []


def test_windows_are_told_by_range_with_their_errors() -> None:
    run = load([(0, 1, "ok"), (10, 5, "fail"), (500, 1, "ok"), (501, 5, "info")])
    run.header["slots"] = [[0, 8191, "n1"], [8192, 16383, "n2"]]
    metrics = check_availability(run).metrics
    assert metrics["windows"] == [{"range": "0-8191", "start_ms": 10.0, "end_ms": 501.0}]
    assert metrics["by_range"]["8192-16383"] == {"writes": 0, "longest_ms": 0.0, "total_ms": 0.0, "windows": 0}
    assert metrics["errors"] == {"OOM": 2}
    assert np.isclose(metrics["operations_per_second"], 2 / 0.501, atol=0.1)


def test_everything_that_is_measured_of_a_small_run() -> None:
    run = load([(0, 10, "ok"), (100, 40, "fail"), (400, 20, "ok"), (420, 30, "ok"), (520, 100, "info")])
    run.operations.details[1]["error"] = "CLUSTERDOWN of n1"
    assert check_availability(run).metrics == {
        "checked": 5,
        "longest_ms": 320.0,
        "total_ms": 320.0,
        "windows": [{"range": "0-16383", "start_ms": 100.0, "end_ms": 420.0}],
        "by_range": {"0-16383": {"writes": 3, "longest_ms": 320.0, "total_ms": 320.0, "windows": 1}},
        "errors": {"CLUSTERDOWN": 1, "OOM": 1},
        "latency_ms": {"p50": 20.0, "p99": 30.0, "max": 30.0},
        "operations_per_second": round(3 / 0.520, 1),
    }


def test_a_window_is_listed_from_its_least_length_on_and_the_longest_come_first() -> None:
    windows = [(0, 1, "ok"), (1, 100, "ok"), (101, 99, "ok"), (200, 150, "ok")]
    metrics = check_availability(load(windows)).metrics
    assert [window["end_ms"] - window["start_ms"] for window in metrics["windows"]] == [150.0, 100.0]
    assert metrics["total_ms"] == 250.0
    assert metrics["by_range"]["0-16383"]["windows"] == 2
    many = [(0, 1, "ok"), *((1 + 100 * number, 100, "ok") for number in range(105))]
    metrics = check_availability(load(many)).metrics
    assert len(metrics["windows"]) == 100
    assert metrics["by_range"]["0-16383"]["windows"] == 105


def test_ranges_keep_their_own_windows_and_the_longest_of_all_counts() -> None:
    run = load([(0, 1, "ok"), (10, 300, "ok"), (400, 200, "ok")])
    slot = key_slot("s3")
    run.header["slots"] = [[0, slot - 1, "n1"], [slot, slot, "n2"], [slot + 1, 16383, "n3"]]
    metrics = check_availability(run).metrics
    assert {name: found["writes"] for name, found in metrics["by_range"].items()} == {
        f"0-{slot - 1}": 0,
        f"{slot}-{slot}": 3,
        f"{slot + 1}-16383": 0,
    }
    assert (metrics["longest_ms"], metrics["total_ms"]) == (300.0, 500.0)


def test_only_writes_that_could_succeed_are_waited_for() -> None:
    """Transactions that append count, those that only read do not, nor what the server has to refuse."""
    events = [
        *_operation(0, 0, 1, "txn", [["r", "l0", None]], "fail"),
        *_operation(1, 0, 1, "txn", [["r", "l0", None], ["append", "l0", 1]], "ok"),
        *_operation(2, 0, 1, "mset", {"a": 1, "b": 2}, "fail", via="cross-slot"),
        *_operation(3, 0, 1, "mset", {"a": 1, "b": 2}, "ok", via="undeclared"),
        *_operation(4, 0, 1, "cas", [1, 2], "ok"),
        *_operation(5, 0, 1, "read", 2, "ok"),
        *_operation(1_000_000, 500, 900, "write", 3, "ok", final=True),
    ]
    metrics = check_availability(from_events(events)).metrics
    assert metrics["checked"] == 2
    assert metrics["operations_per_second"] == 4000.0
    assert metrics["latency_ms"]["max"] == 1.0


def _operation(process: int, start: int, end: int, f: str, value: object, kind: str, **more: Any) -> list[Event]:
    return [
        Event("invoke", f, process, time=start * MS, key="s3", value=value, **more),
        Event(kind, f, process, time=end * MS, key="s3", value=value, **more),
    ]


ALL = [0, 16383]


def settled(
    maps: dict[str, list[list[Any]]],
    *reads: tuple[str, dict[str, Any]],
    holds: dict[str, list[str]] | None = None,
    slots: list[list[Any]] | None = None,
) -> Finding:
    """What is said of a run that came to rest, where nodes believe in these maps and final reads went like this."""
    said = [("phase", {"phase": "converged"})]
    said += [("map", {"node": node, "slots": belief}) for node, belief in maps.items()]
    said += [("holds", {"node": node, "keys": keys}) for node, keys in (holds or {}).items()]
    events = [Event("info", f, "controller", time=MS, value=value) for f, value in said]
    for number, (key, more) in enumerate(reads):
        process, time = 1_000_100 + number, (10 + 2 * number) * MS
        done = {"type": "ok", "value": None, "node": "n1", **more}
        kind = done.pop("type")
        start = done.pop("start", "n1")
        events.append(Event("invoke", "read", process, time=time, key=key, final=True, via=f"from:{start}"))
        events.append(Event(kind, "read", process, time=time + MS, key=key, final=True, **done))
    return check_slots(from_events(events, {"slots": slots} if slots else {}))


def test_nodes_that_believe_the_same_disagree_about_nothing() -> None:
    alike = [[0, 8191, "n1"], [8192, 16383, "n2"]]
    finding = settled({"n1": alike, "n2": alike})
    assert finding.counts == {}
    assert finding.metrics["maps"] == 2
    assert settled({"n1": [[*ALL, "n1"]]}).counts == {}
    assert settled({}).counts == {}


def test_each_range_of_a_disagreement_is_told_with_its_first_and_last_slot() -> None:
    found = settled(
        {"n1": [[0, 99, "n1"], [100, 16383, "n2"]], "n2": [[0, 49, "n1"], [50, 16382, "n2"], [16383, 16383, "n1"]]}
    )
    assert found.counts == {"map-disagreement": 2, "uncovered-slot": 1}  # slot 16383, which each gives to the other
    words = [anomaly.explanation for anomaly in found.anomalies]
    assert "slots 50-99 belong to n1 according to n1; n2 according to n2" in words[0]
    assert "slot 16383 belong to n1 according to n2; n2 according to n1" in words[1]
    three = settled(
        {"n1": [[*ALL, "n1"]], "n2": [[0, 9, "n2"], [10, 16383, "n1"]], "n3": [[0, 4, "n2"], [5, 16383, "n1"]]}
    )
    assert three.counts["map-disagreement"] == 2


def test_slots_that_nobody_claims_any_more_are_uncovered() -> None:
    one = {"n1": [[1, 8191, "n1"]], "n2": [[1, 8191, "n1"]]}
    found = settled(one)
    assert found.counts == {"uncovered-slot": 2}
    words = [anomaly.explanation for anomaly in found.anomalies]
    assert "no node claims slot 0," in words[0]
    assert "no node claims slots 8192-16383," in words[1]
    assert settled(one, slots=[[1, 8191, "n1"]]).counts == {}
    assert "no node claims slot 8192," in settled(one, slots=[[1, 8192, "n1"]]).anomalies[0].explanation
    assert settled({"n1": [[*ALL, "n9"]]}).counts == {}  # n9 was not asked
    assert settled({"n1": [[*ALL, "n1"]], "n2": [[0, 5, "n1"]]}).counts == {"map-disagreement": 1}


@pytest.mark.parametrize(
    ("error", "hops", "circles"),
    [
        ("MOVED", ["n1", "n2", "n1"], True),
        ("MOVED", ["n1", "n2"], False),
        ("MOVED", ["n1", "n1", "n2"], False),  # asked again, not sent back
        ("redirect-loop", ["n1"], True),
        ("CLUSTERDOWN", None, False),
    ],
)
def test_a_walk_that_comes_back_to_a_node_is_a_circle(error: str, hops: list[str] | None, circles: bool) -> None:
    calm = {"n1": [[*ALL, "n1"]]}
    failed = {"type": "fail", "error": error, "hops": hops}
    found = settled(calm, ("k1", {"value": 5}), ("k2", failed), ("k2", {**failed, "start": "n2"}))
    assert found.counts == ({"redirect-loop": 1} if circles else {})
    assert found.metrics["walks"] == 3
    assert found.metrics["keys_walked"] == 2
    if circles:
        [anomaly] = found.anomalies
        assert len(anomaly.operations) == 2
        assert "began at n1 and n2" in anomaly.explanation


def test_a_key_that_somebody_holds_and_nobody_reaches_is_stranded() -> None:
    calm, lost = {"n1": [[*ALL, "n1"]]}, {"type": "fail", "error": "CLUSTERDOWN"}
    holds = {"n1": ["k1", "k2", "k3"], "n2": ["k2"]}
    found = settled(calm, ("k1", {"value": 5}), ("k1", {}), ("k2", {}), ("k2", lost), ("k4", {}), holds=holds)
    assert found.counts == {"stranded-key": 1}
    [anomaly] = found.anomalies
    assert anomaly.key == "k2"
    assert len(anomaly.operations) == 2
    assert "n1 and n2 holds k2" in anomaly.explanation
    assert "1 got an error (CLUSTERDOWN)" in anomaly.explanation
    assert found.metrics["keys_held"] == 2
    empty = settled(calm, ("k2", {"value": []}), ("k2", {"value": 0}), holds={"n1": ["k2"]})
    assert empty.counts == {"stranded-key": 1}
    assert "all of them read it as absent" in empty.anomalies[0].explanation
    listed = [("k2", {"value": [["r", "k2", content]]}) for content in (None, [], [1])]
    assert settled(calm, *listed[:2], holds={"n1": ["k2"]}).counts == {"stranded-key": 1}
    assert settled(calm, *listed, holds={"n1": ["k2"]}).counts == {}


def test_a_client_that_is_sent_on_fifteen_times_is_sent_on_and_on() -> None:
    def sent(times: int, **more: Any) -> dict[str, int]:
        hops = [f"n{number % 3}" for number in range(times + 1)]
        events = [
            Event("invoke", "read", 0, time=0, key="k1"),
            Event("ok", "read", 0, time=MS, key="k1", value=1, node="n1", **({"hops": hops} | more)),
        ]
        return check_slots(from_events(events)).metrics["long_redirections"]

    assert [sent(times) for times in (14, 15, 16)] == [0, 1, 1]
    assert sent(0, hops=["n1"] * 40) == 0
    moved = [{"node": "n1", "error": "MOVED 5 n2"}] * 8 + [{"node": "n1", "error": "ASK 5 n2"}] * 7
    assert sent(0, attempts=moved) == 1
    assert sent(0, attempts=[*moved[1:], {"node": "n1", "error": "TRYAGAIN"}]) == 0

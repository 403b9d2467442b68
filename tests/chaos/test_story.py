"""The story of a run: what happened, in order, in words that the history can prove."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sample_run import MS, sample_run

from chaos.report.divergence import Divergence
from chaos.report.fault_words import slots
from chaos.report.story import story
from checkers.events import Event
from checkers.finding import Anomaly, Finding, Verdict
from checkers.history import History, from_events
from nemeses.fault import ExecutedFault


def told(history: History, findings: dict[str, Finding] | None = None, faults: tuple[ExecutedFault, ...] = ()) -> str:
    result = sample_run(rate=1).result
    result.findings = findings or {}
    return "\n".join(story(result, history, faults))


def view(time_ms: int, node: str, role: str, **more: Any) -> Event:
    owned = [[0, 5460]] if role == "primary" else []
    value = {"node": node, "state": "up", "role": role, "primary": None, "epoch": 7, "slots": owned, "cluster": "ok"}
    return Event("info", "view", "observer", time=time_ms * MS, value={**value, **more})


def nemesis(time_ms: int, kind: str, phase: str, **more: Any) -> Event:
    value = {"fault": 0, "phase": phase, "nodes": ["n1"], "roles": {"n1": "primary of slots 0-5460"}}
    return Event("info", kind, "nemesis", time=time_ms * MS, value={**value, **more})


def test_a_partition_is_told_from_its_cut_to_its_end_in_order() -> None:
    sample = sample_run()

    lines = story(sample.result, sample.history, sample.executed)

    expected = [
        "the load began",
        r"n1 \(primary of slots 0-5460\) was cut off, with clients 0 and 1 on the same side",
        r"first of \d+ lost writes: write \d+ of k\d+ was acknowledged by n1",
        r"n4 took over slots 0-5460 from n1 \(epoch 7\)",
        r"first of \d+ stale reads: read of k\d+ by n1",
        r"n1, cut off, acknowledged its last write \(write \d+ of k\d+\), number \d+ since the cut",
        "n1 saw the cluster as failed and stopped serving",
        "the links of n1 were healed",
        "n1 stepped down and follows n4",
        "the load ended",
        "every fault was healed",
        "the nodes agreed about the slots and every replica had caught up",
        "the final reads were done",
    ]
    assert len(lines) == len(expected)
    for line, pattern in zip(lines, expected, strict=True):
        assert re.search(pattern, line)
    times = [float(line.split()[0]) for line in lines]
    assert times == sorted(times)


def test_the_last_acknowledged_write_of_the_cut_off_node_is_counted_from_the_history() -> None:
    sample = sample_run()
    lost = sample.result.count("lost-write")  # in the sample all writes behind the cut are lost

    assert f"number {lost:,} since the cut" in "\n".join(story(sample.result, sample.history, sample.executed))


def test_a_node_that_was_killed_needs_no_second_sentence_for_its_silence() -> None:
    events = [
        view(0, "n1", "primary"),
        nemesis(1_000, "kill", "inject"),
        view(1_100, "n1", "primary", state="down"),
        nemesis(2_000, "kill", "heal"),
    ]

    text = told(from_events(events))

    assert "n1 (primary of slots 0-5460) was killed" in text
    assert "n1 was started again" in text
    assert "did not answer" not in text


@pytest.mark.parametrize(
    ("kind", "more", "sentence"),
    [
        (
            "kill-at",
            {"evidence": {"died": {"moment": "before", "number": 3, "call": "fsync", "of": "appendonly.aof"}}},
            "n1 (primary of slots 0-5460) was killed before its 3rd fsync, of appendonly.aof",
        ),
        (
            "kill-child",
            {"evidence": {"died": {"moment": "after", "number": 1, "call": "send", "of": "10.0.0.2:6379"}}},
            "(primary of slots 0-5460) was killed after its 1st send, to 10.0.0.2:6379",
        ),
        (
            "crash",
            {"evidence": {"under_way_bytes": {"n4": 1_200, "c2": 4}}},
            "the machine of n1 (primary of slots 0-5460) crashed, with 1,204 bytes under way to c2 and n4",
        ),
        (
            "disk",
            {"error": "EIO", "calls": 0, "evidence": {"refused": {"n1": {"call": "write", "of": "dump.rdb"}}}},
            "the disk of n1 (primary of slots 0-5460) began to refuse: EIO for write, every time, as of dump.rdb",
        ),
    ],
)
def test_the_exact_moment_is_told(kind: str, more: dict[str, Any], sentence: str) -> None:
    assert sentence in told(from_events([nemesis(1_000, kind, "inject", **more)]))


def test_a_node_that_dies_by_itself_is_told() -> None:
    events = [view(0, "n1", "primary"), view(1_100, "n1", "primary", state="down")]

    assert "1.100 s  n1 did not answer any more" in told(from_events(events))


def test_a_replica_takes_over_when_it_owns_slots_and_not_before() -> None:
    events = [
        view(0, "n1", "primary"),
        view(0, "n4", "replica"),
        view(1_000, "n4", "primary", slots=[]),
        view(1_200, "n4", "primary"),
    ]

    assert "1.200 s  n4 took over slots 0-5460 from n1 (epoch 7)" in told(from_events(events))


def test_a_primary_that_only_receives_slots_takes_nothing_over() -> None:
    events = [view(0, "n1", "primary"), view(0, "n7", "primary", slots=[]), view(900, "n7", "primary", slots=[[0, 9]])]

    assert "took over" not in told(from_events(events))


def test_thousands_of_steps_are_one_line() -> None:
    events = [
        nemesis(100 + n, "migrate", "step", step="handover", slots=[[n, n]], **{"from": "n1", "to": "n2"})
        for n in range(2_000)
    ]

    lines = told(from_events(events)).splitlines()

    assert lines == [
        "    0.100 s  fault 0: 2,000 slots in 2,000 ranges handed over from n1 to n2 in 2,000 steps until 2.099 s"
    ]


def test_a_step_of_an_unknown_shape_is_told_by_its_name() -> None:
    assert told(from_events([nemesis(100, "migrate", "step", step="open")])) == "    0.100 s  fault 0: step open"


def test_who_lost_its_slots_is_told_although_it_stepped_down_first() -> None:
    events = [
        view(0, "n1", "primary"),
        view(0, "n4", "replica"),
        view(1_000, "n1", "replica", primary="n4"),
        view(1_001, "n4", "primary"),
    ]

    assert "1.001 s  n4 took over slots 0-5460 from n1 (epoch 7)" in told(from_events(events))


def test_a_fault_that_failed_is_told_even_when_only_the_executed_plan_knows() -> None:
    fault = ExecutedFault(3, "kill", "primary of slot 7", [], {}, error="the process is still there")

    assert "fault 3: kill of primary of slot 7 failed: the process is still there" in told(
        from_events([]), None, (fault,)
    )


def test_when_not_all_anomalies_are_listed_the_earliest_listed_is_not_called_the_first() -> None:
    events = [
        Event("invoke", "write", 0, time=0, key="k0", value=1),
        Event("ok", "write", 0, time=5 * MS, key="k0", value=1, node="n1"),
    ]
    anomaly = Anomaly("lost-write", "write 1 is gone", [0])
    finding = Finding("durability", Verdict.INVALID, None, {"lost-write": 900}, {"checked": 1}, [anomaly])

    assert "0.005 s  an early one of 900 lost writes: write 1 is gone" in told(
        from_events(events), {"durability": finding}
    )


def test_why_the_nodes_did_not_converge_is_told() -> None:
    value = {"phase": "not-converged", "reason": "n5 lags 40 bytes behind"}
    events = [Event("info", "phase", "controller", time=MS, value=value)]

    assert "the nodes did not converge: n5 lags 40 bytes behind" in told(from_events(events))


@pytest.mark.parametrize(
    ("ranges", "words"),
    [
        ([[0, 5460]], "slots 0-5460"),
        ([[7, 7]], "slot 7"),
        ([[0, 1], [5, 5]], "slots 0-1 and 5"),
        ([[n, n + 1] for n in range(0, 40, 4)], "20 slots in 10 ranges"),
        ([], "no slots"),
    ],
)
def test_slots_are_named_as_ranges(ranges: list[list[int]], words: str) -> None:
    assert slots(ranges) == words


def test_a_takeover_tells_how_far_it_had_come_and_the_old_primary_what_it_discards() -> None:
    history = from_events(
        [
            view(0, "n1", "primary"),
            view(0, "n4", "replica", primary="n1"),
            view(100, "n4", "primary"),
            view(200, "n1", "replica", primary="n4"),
        ],
        {"slots": [[0, 5460, "n1"]]},
    )
    diverged = [Divergence("n4", 2_358, {"n1": 1_126}), Divergence("n4", 9_000, {})]
    first, second = story(sample_run(rate=1).result, history, (), diverged)[:2]
    assert "n4 took over slots 0-5460 from n1 (epoch 7), with the replication up to offset 2,357" in first
    assert second.endswith("n1 stepped down and follows n4, discarding 1,126 bytes of writes that n4 never had")


def test_a_window_of_loss_is_told_from_the_last_write_before_it_to_its_last_write() -> None:
    def add(number: int, node: str = "n1") -> list[Event]:
        about: dict[str, Any] = {"f": "add", "process": number, "key": "s0", "value": number}
        return [
            Event("invoke", time=10 * number * MS, **about),
            Event("ok", time=(10 * number + 1) * MS, node=node, **about),
        ]

    history = from_events([event for number in range(1, 6) for event in add(number)])
    window = {"writes": 3, "first_ms": 31, "last_ms": 51}
    finding = Finding("durability", Verdict.INVALID, counts={"lost-write": 3}, metrics={"loss_windows": {"n1": window}})
    lines = told(history, {"durability": finding})
    assert "0.021 s  n1 acknowledged add 2 of s0, its last write before those that are lost" in lines
    assert "0.051 s  n1 acknowledged the last of 3 writes that are lost" in lines
    assert lines.count("acknowledged") == 2


def test_slots_that_a_crash_left_open_are_told_and_replicas_apart() -> None:
    evidence = {
        "open": {"n1": {"migrating": {"7629": "n2", "7630": "n2"}}},
        "open_on_replicas": {"n4": {"importing": {"7629": "n1"}}},
        "keys": {"n1": 3},
    }
    lines = told(from_events([nemesis(5000, "migrate-crash", "heal", evidence=evidence)]))

    assert lines.endswith(
        "n1 was started again; slots 7629 and 7630 still open on n1; slot 7629 still open on the replica n4"
    )


def test_what_a_fault_of_another_origin_left_is_passed_over() -> None:
    for evidence in (None, "gone", {"open": ["n1"]}, {"open": {"n1": [[1, 2]]}}):
        lines = told(from_events([nemesis(5000, "kill", "heal", evidence=evidence)]))
        assert lines.endswith("n1 was started again")

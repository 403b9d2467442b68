"""Operations by node: every one of the load is counted once, and times are those of who answered."""

from __future__ import annotations

from sample_run import sample_run

from chaos.report.answers import NOBODY, answers
from chaos.report.charts import nodes, staleness
from checkers.events import TYPES, Event
from checkers.history import from_events

MS = 1_000_000


def test_every_operation_of_the_load_is_counted_for_one_node() -> None:
    operations = sample_run().history.operations

    answered = answers(sample_run().history)

    for code, outcome in enumerate(TYPES):
        expected = int(((operations.type == code) & ~operations.final).sum())
        assert sum(who.counts[outcome] for who in answered) == expected
    assert [who.name for who in answered] == ["n1", "n2", "n3", "n4", "n5", "n6", NOBODY]
    assert answered[-1].counts["ok"] == 0


def test_latency_is_of_what_a_node_answered() -> None:
    events = []
    for process, (node, took) in enumerate([("a", 1), ("a", 3), ("b", 7), ("a", 2), (None, 90)]):
        events.append(Event("invoke", "read", process, time=0, key="k"))
        outcome = "ok" if node else "info"
        events.append(Event(outcome, "read", process, time=took * MS, key="k", node=node))

    answered = answers(from_events(events))

    assert {who.name: who.latency_ms for who in answered} == {
        "a": {"p50": 2.0, "p99": 3.0, "max": 3.0},
        "b": {"p50": 7.0, "p99": 7.0, "max": 7.0},
        NOBODY: {},
    }
    drawn = nodes.data(answered)
    assert {(row["node"], row["outcome"], row["count"]) for row in drawn["answers"]} == {
        ("a", "ok", 3),
        ("b", "ok", 1),
        (NOBODY, "info", 1),
    }


def test_the_distribution_of_staleness_has_its_empty_buckets() -> None:
    rows = staleness.rows({"histogram_ms": {"up to 3": 2, "up to 30": 5}})

    assert [(row["stale"], row["reads"]) for row in rows] == [
        ("≤ 1 ms", 0),
        ("≤ 3 ms", 2),
        ("≤ 10 ms", 0),
        ("≤ 30 ms", 5),
    ]
    assert staleness.rows({"histogram_ms": {"more": 1}})[-1] == {"stale": "> 10,000 ms", "reads": 1}
    assert staleness.rows({}) == []

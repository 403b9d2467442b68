"""Slots and keys after everything has healed: each rule at its bounds, with the words and the proof."""

from __future__ import annotations

from typing import Any

import pytest

from checkers.context import Timeline
from checkers.events import Event
from checkers.finding import Collector, Finding
from checkers.history import from_events
from checkers.settled import check_settled, route

ALL = [[0, 16383, "n1"]]


def said(f: str, **value: Any) -> Event:
    return Event("info", f, "controller", time=50, value=value)


class Walks:
    """Final reads from nodes on, one after the other; number i has index 100 + i."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def walk(self, key: str, start: str, value: Any = None, error: str | None = None, **more: Any) -> Walks:
        number = len(self.events) // 2
        about: dict[str, Any] = {"key": key, "final": True}
        via = more.pop("via", f"from:{start}")
        process, time = 1_000_100 + number, 60 + 2 * number
        self.events += [
            Event("invoke", "read", process, 100 + number, time, via=via, **about),
            Event("ok" if error is None else "fail", "read", process, 500 + number, time + 1, value=value, error=error)
            if not more
            else Event("fail", "read", process, 500 + number, time + 1, error=error, **more),
        ]
        self.events[-1].key, self.events[-1].final = key, True
        return self


def found(*context: Event, walks: Walks | None = None, **header: Any) -> Finding:
    events = [said("phase", phase="converged"), *context, *(walks.events if walks else [])]
    history = from_events(events, header)
    collector = Collector("slots")
    metrics = check_settled(history, Timeline.of(history), collector)
    return collector.finding({"checked": 0, **metrics})


def words(finding: Finding) -> list[str]:
    return [anomaly.explanation.removesuffix(", with no fault before it") for anomaly in finding.anomalies]


@pytest.mark.parametrize(
    ("hops", "error", "circles"),
    [
        (["n1", "n2", "n1"], "gave up", True),
        (["n2", "n1", "n2", "n3"], "gave up", True),
        (["n1", "n1", "n2"], "MOVED", False),  # asked the same node again, which is no circle
        (["n1", "n2", "n3"], "timed out", False),
        (["n1"], "redirect-loop after 16 hops", True),
        (["n1"], "no redirect-loop", False),
        (None, "redirect-loop", True),
        (None, "refused", False),
    ],
)
def test_a_client_that_comes_to_a_node_again_goes_round_in_a_circle(
    hops: list[str] | None, error: str, circles: bool
) -> None:
    finding = found(walks=Walks().walk("k0", "n1", error=error, hops=hops))
    assert finding.counts == ({"redirect-loop": 1} if circles else {})
    assert finding.metrics == {"checked": 0, "maps": 0, "walks": 1, "keys_walked": 1, "keys_held": 0}


def test_a_circle_is_told_once_for_each_key_with_every_node_from_which_it_was_met() -> None:
    walks = Walks().walk("k0", "n2", error="x", hops=["n2", "n1", "n2"]).walk("k0", "n1", error="timed out")
    walks.walk("k0", "n3", error="redirect-loop").walk("k0", "n4", value=1).walk("k1", "n1", error="redirect-loop")
    one, two = found(walks=walks).anomalies
    assert (one.kind, one.key, one.operations) == ("redirect-loop", "k0", [100, 102])
    assert one.explanation == (
        "after convergence a client that began at n2 and n3 and followed redirections never reached k0 (slot 8579) "
        "(n2 → n1 → n2), with no fault before it"
    )
    assert (two.key, two.operations) == ("k1", [104])
    assert "(slot 12706) (redirect-loop), with" in two.explanation


def test_the_way_of_an_operation_in_words() -> None:
    assert route({"hops": ["n1", "n2"]}) == " (n1 → n2)"
    assert route({"hops": list("abcdef")}) == " (a → b → c → d → e → f)"
    assert route({"hops": list("abcdefg"), "error": "x"}) == " (a → b → c → d → e → f → …)"
    assert route({"hops": [], "error": "refused"}) == " (refused)"
    assert route({}) == ""


def test_a_key_that_a_primary_holds_and_nobody_reaches_is_stranded() -> None:
    held = [said("holds", node="n1", keys=["k0", "k1", "k2", "k9"]), said("holds", node="n2", keys=["k0"])]
    walks = Walks().walk("k0", "n1", error="refused").walk("k0", "n2").walk("k0", "n3", error="reset")
    walks.walk("k1", "n1").walk("k1", "n3", value=5).walk("k2", "n2").walk("k5", "n1", error="refused")
    walks.walk("k1", "n1", via="replica").walk("k1", "n1", via="")
    finding = found(*held, walks=walks)
    assert finding.metrics == {"checked": 0, "maps": 0, "walks": 7, "keys_walked": 4, "keys_held": 3}
    one, two = finding.anomalies
    assert (one.kind, one.key, one.operations) == ("stranded-key", "k0", [100, 101, 102])
    assert one.explanation == (
        "n1 and n2 holds k0 (slot 8579), but no client that began at n1, n2 and n3 and followed redirections reached "
        "it: 2 got an error (refused), with no fault before it"
    )
    assert (two.key, two.operations) == ("k2", [105])
    assert "began at n2 and followed redirections reached it: all of them read it as absent, with" in two.explanation


@pytest.mark.parametrize(
    ("content", "stranded"),
    [
        (None, True),
        ([], True),
        (0, True),
        ([["r", "l0", []]], True),
        ([["r", "l0", None]], True),
        ([["r", "l0", [3]]], False),
        ([3], False),
        ([3, 4], False),
        ([["r", "l0", []], ["r", "l0", [1]]], False),
        (7, False),
    ],
)
def test_how_a_missing_key_reads(content: Any, stranded: bool) -> None:
    finding = found(said("holds", node="n1", keys=["l0"]), walks=Walks().walk("l0", "n1", value=content))
    assert finding.counts == ({"stranded-key": 1} if stranded else {})


def test_each_key_of_a_group_is_reached_or_not() -> None:
    walks = Walks().walk("{g0}", "n1", value={"{g0}:a": 1, "{g0}:b": None}).walk("{g0}", "n2", error="refused")
    finding = found(said("holds", node="n1", keys=["{g0}:a", "{g0}:b"]), walks=walks)
    assert [(anomaly.kind, anomaly.key) for anomaly in finding.anomalies] == [("stranded-key", "{g0}:b")]


def maps(**believed: list[list[Any]]) -> list[Event]:
    return [said("map", node=node, slots=slots) for node, slots in believed.items()]


@pytest.mark.parametrize(
    ("one", "two", "told"),
    [
        ([[0, 9, "n1"], [10, 16383, "n2"]], [[0, 10, "n1"], [11, 16383, "n2"]], ["slot 10 belong"]),
        ([[0, 8191, "n1"], [8192, 16383, "n2"]], [[0, 16383, "n2"]], ["slots 0-8191 belong"]),
        ([[0, 16383, "n1"]], [[0, 16381, "n1"], [16382, 16383, "n2"]], ["slots 16382-16383 belong"]),
        ([[0, 9, "n1"], [10, 16383, "n2"]], [[0, 4, "n2"], [5, 16383, "n1"]], ["slots 0-4", "slots 10-16383"]),
        ([[0, 16383, "n1"]], [[0, 4, "n2"], [5, 16383, None]], ["slots 0-4", "slots 5-16383"]),
        ([[0, 16383, "n1"]], [[0, 16383, "n1"]], []),
    ],
)
def test_two_nodes_that_name_different_owners(one: list[Any], two: list[Any], told: list[str]) -> None:
    finding = found(*maps(n1=one, n2=two))
    texts = [text for text in words(finding) if "belong" in text]
    assert finding.counts.get("map-disagreement", 0) == len(told) == len(texts)
    assert all(part in text for part, text in zip(told, texts, strict=True))
    assert finding.metrics["maps"] == 2


def test_a_disagreement_tells_who_believes_what() -> None:
    finding = found(*maps(n3=[[0, 9, "n2"]], n1=ALL, n2=[[0, 16383, "n1"]]))
    assert words(finding) == [
        "after convergence slots 0-9 belong to n1 according to n1 and n2; n2 according to n3",
        "after convergence slots 10-16383 belong to n1 according to n1 and n2; nobody according to n3",
    ]
    assert finding.counts == {"map-disagreement": 2}
    assert found(*maps(n1=ALL)).counts == {}  # nobody to disagree with


@pytest.mark.parametrize(
    ("header", "believed", "told"),
    [
        ({}, {"n1": [[0, 16382, "n1"]]}, ["slot 16383"]),
        ({}, {"n1": [[1, 16383, "n1"]]}, ["slot 0"]),
        ({"slots": [[0, 9, "n1"]]}, {"n1": [[0, 9, "n1"]]}, []),
        ({"slots": [[0, 9, "n1"]]}, {"n1": [[0, 8, "n1"]]}, ["slot 9"]),
        ({"slots": [[0, 9, "n1"], [20, 29, "n2"]]}, {"n1": [[5, 24, "n1"]], "n2": [[5, 24, "n1"]]}, ["0-4", "25-29"]),
        ({}, {"n1": [[0, 9, "n1"], [10, 16383, "n2"]], "n2": [[0, 9, "n1"], [10, 16383, "n1"]]}, ["10-16383"]),
        ({}, {"n1": [[0, 9, "n1"], [10, 16383, "n2"]]}, []),  # n2 was not asked, and may serve them
        ({}, {}, []),
    ],
)
def test_a_slot_that_no_node_claims_for_itself(
    header: dict[str, Any], believed: dict[str, list[list[Any]]], told: list[str]
) -> None:
    finding = found(*maps(**believed), **header)
    texts = [text for text in words(finding) if "no node claims" in text]
    assert finding.counts.get("uncovered-slot", 0) == len(told) == len(texts)
    assert all(text.endswith(part) for part, text in zip(told, texts, strict=True))
    assert all(anomaly.operations == [] and anomaly.key is None for anomaly in finding.anomalies)

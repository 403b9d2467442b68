"""Where requests went and what a resize moved: every figure of small histories, worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from checkers import check
from checkers.balance import THEORY, check_balance
from checkers.events import Event
from checkers.finding import Verdict
from checkers.history import History, from_events
from checkers.resizes import resizes

FOUR, FIVE = ["n1", "n2", "n3", "n4"], ["n1", "n2", "n3", "n4", "n5"]


class Script:
    """A history, operation by operation, one a millisecond."""

    def __init__(self, **header: Any) -> None:
        self.header = {"slots": [], "groups": {"shards": FOUR, "spares": ["n5"]}, "route": "ring", **header}
        self.events: list[Event] = []
        self.ms = 0

    def does(self, f: str, key: str, value: Any, node: str | None, **more: Any) -> Script:
        return self._does(f, key, value, node, 0, **more)

    def final(self, key: str, value: Any, node: str) -> Script:
        return self._does("read", key, value, node, 1_000_000, final=True)

    def _does(self, f: str, key: str, value: Any, node: str | None, process: int, **more: Any) -> Script:
        self.ms += 1
        start = self.ms * 1_000_000
        final, via = more.pop("final", False), more.pop("via", None)
        asked = None if f == "read" else value
        self.events += [
            Event(type="invoke", f=f, process=process, time=start, key=key, value=asked, final=final, via=via),
            Event(type="ok", f=f, process=process, time=start + 500_000, key=key, value=value, node=node, final=final)
            if not more
            else Event(type="ok", f=f, process=process, time=start + 500_000, key=key, value=value, node=node, **more),
        ]
        return self

    def tells(self, before: list[str], after: list[str], phase: str = "inject", heard: bool = True) -> Script:
        self.ms += 1
        sent = self.ms * 1_000_000
        evidence = {"since_ns": sent, "from": before, "to": after, "heard_ns": {"0": sent + 200_000} if heard else {}}
        value = {"fault": 3, "phase": phase, "nodes": ["n5"], "evidence": evidence}
        self.events.append(Event(type="info", f="resize", process="nemesis", time=sent, value=value))
        return self

    def says(self, process: str, f: str, value: Any) -> Script:
        self.ms += 1
        self.events.append(Event(type="info", f=f, process=process, time=self.ms * 1_000_000, value=value))
        return self

    def history(self) -> History:
        return from_events(self.events, self.header)


def test_an_operation_that_asked_several_nodes_was_a_request_to_each() -> None:
    script = Script()
    script.does("read", "k0", None, "n1").does("write", "k0", 1, "n2", hops=["n1", "n2"])
    script.does("write", "k1", 2, "n1", hops=["n1", "n3", "n3"])  # copies of one key
    script.does("read", "k2", 3, "n4", via="hit", fill={"asked": ["n4"]})
    script.does("read", "k2", 3, None, fill={"asked": ["n4", "n4"]})  # missed, loaded, and put there
    metrics = check_balance(script.history()).metrics
    assert metrics["requests"] == {"n1": 3, "n2": 1, "n3": 2, "n4": 3}
    assert metrics["hottest_share"] == pytest.approx(3 / 9)
    assert metrics["max_over_mean"] == pytest.approx(3 * 4 / 9)


def resized() -> Script:
    """Four keys are written and read; then k3 is on n5, and its first read there finds nothing."""
    script = Script()
    for key, node in zip(("k0", "k1", "k2", "k3"), FOUR, strict=True):
        script.does("write", key, int(key[1]) + 1, node).does("read", key, int(key[1]) + 1, node)
    script.tells(FOUR, FIVE)
    for key, node in zip(("k0", "k1", "k2"), FOUR, strict=False):
        script.does("read", key, int(key[1]) + 1, node)
    return script.does("read", "k3", None, "n5").does("write", "k3", 9, "n5").does("read", "k3", 9, "n5")


def test_keys_moved_are_those_that_another_node_answers_for_afterwards() -> None:
    metrics = check_balance(resized().history()).metrics
    (resize,) = metrics["resizes"]
    assert (resize["keys"], resize["keys_moved"], resize["moved_share"]) == (4, 1, 0.25)
    assert metrics["keys_moved"] == 0.25
    assert resize["theory"] == pytest.approx(0.2)
    assert resize["told_within_ms"] == pytest.approx(0.2)
    assert (resize["from"], resize["to"], resize["fault"]) == (FOUR, FIVE, 3)


def test_a_read_that_finds_nothing_where_the_key_is_now_is_a_miss() -> None:
    metrics = check_balance(resized().history()).metrics
    (resize,) = metrics["resizes"]
    assert resize["missed"] == 1
    assert (resize["hit_rate_before"], resize["hit_rate_after"]) == (1.0, 0.8)
    assert metrics["hit_rate"] == pytest.approx(8 / 9)
    assert metrics["hit_rate_over_time"] == [{"at_ms": 0, "reads": 9, "rate": 0.8889}]


def test_what_nobody_had_written_yet_is_no_miss_of_the_cache() -> None:
    history = Script().does("read", "k0", None, "n1").does("write", "k0", 1, "n1").does("read", "k0", 1, "n1").history()
    metrics = check_balance(history).metrics
    assert metrics["hit_rate"] == 1.0
    assert metrics["hit_rate_over_time"][0]["reads"] == 1


def test_requests_are_counted_by_node_and_who_got_none_counts_in_the_mean() -> None:
    history = Script().does("write", "k0", 1, "n1").does("read", "k0", 1, "n1").does("write", "k1", 2, "n2").history()
    metrics = check_balance(history).metrics
    assert metrics["requests"] == {"n1": 2, "n2": 1, "n3": 0, "n4": 0}
    assert (metrics["hottest_node"], metrics["hottest_share"]) == ("n1", pytest.approx(2 / 3))
    assert metrics["max_over_mean"] == pytest.approx(2 / 0.75)
    assert metrics["checked"] == 3


def test_final_reads_and_answers_of_a_cache_in_the_client_are_no_requests() -> None:
    script = Script().does("write", "k0", 1, "n1").does("read", "k0", 1, "near", via="cache").final("k0", 1, "n2")
    metrics = check_balance(script.history()).metrics
    assert metrics["requests"] == {"n1": 1, "n2": 0, "n3": 0, "n4": 0}


def test_hops_are_the_nodes_asked_for_one_operation() -> None:
    script = Script().does("write", "k0", 1, "n3", hops=["n1", "n2", "n3"]).does("read", "k0", 1, "n1")
    metrics = check_balance(script.history()).metrics
    assert (metrics["hops_mean"], metrics["hops_most"]) == (2.0, 3)


def test_slots_handed_over_are_counted_once_each() -> None:
    script = Script(slots=[[0, 16383, "n1"]], route="bare").does("write", "k0", 1, "n1")
    for source, target in (("n1", "n2"), ("n2", "n1")):
        step = {"fault": 0, "phase": "step", "step": "handover", "slots": [[5, 9]], "from": source, "to": target}
        script.says("nemesis", "migrate", step)
    assert check_balance(script.history()).metrics["slots_moved"] == 5


def test_while_clients_may_disagree_no_answer_tells_where_a_key_is() -> None:
    script = Script().does("write", "k0", 1, "n1").does("read", "k0", 1, "n1").tells(FOUR, FIVE)
    script.ms -= 1  # the read begins with the telling, before the last client has heard of it
    script.does("read", "k0", None, "n5").does("read", "k0", 1, "n1")
    (resize,) = check_balance(script.history()).metrics["resizes"]
    assert (resize["keys"], resize["keys_moved"]) == (1, 0)


def test_a_change_of_which_no_client_heard_is_none() -> None:
    script = resized().tells(FIVE, FIVE, "heal", heard=False)
    assert [str(resize) for resize in resizes(script.history())] == [
        "the resize from 4 to 5 nodes at 0.01 s (fault 3)",
    ]


def test_nothing_is_measured_in_an_empty_history_and_nothing_is_wrong() -> None:
    finding = check_balance(Script().says("controller", "phase", {"phase": "start"}).history())
    assert finding.verdict is Verdict.VALID
    assert finding.metrics["checked"] == 0
    assert (finding.metrics["keys_moved"], finding.metrics["hit_rate"], finding.metrics["hottest_node"]) == (None,) * 3


@pytest.mark.parametrize(
    ("route", "before", "after", "share"),
    [
        ("modulo", 4, 5, 0.8),
        ("modulo", 5, 4, 0.8),
        ("modulo", 4, 8, 0.5),
        ("modulo", 4, 6, 1 - 4 / 12),
        ("ring", 4, 5, 0.2),
        ("ring", 5, 4, 0.2),
    ],
)
def test_theory(route: str, before: int, after: int, share: float) -> None:
    assert THEORY[route](before, after) == pytest.approx(share)
    if route == "modulo":
        hashes = range(before * after * 10)
        assert sum(h % before != h % after for h in hashes) / len(hashes) == pytest.approx(share)


def test_an_anomaly_says_where_its_key_went_and_that_the_old_value_is_still_there() -> None:
    script = Script().does("write", "k3", 4, "n4").tells(FOUR, FIVE).does("read", "k3", None, "n5")
    script.says("controller", "phase", {"phase": "converged"})
    script.says("controller", "holds", {"node": "n4", "keys": ["k3"]})
    script.final("k3", None, "n5")
    findings = check(script.history())
    told = "k3 moved from n4 to n5 by the resize from 4 to 5 nodes at 0.00 s (fault 3) and is still on n4"
    for checker, kind in (("durability", "lost-write"), ("linearizability", "non-linearizable")):
        (anomaly,) = findings[checker].anomalies
        assert anomaly.kind == kind
        assert anomaly.explanation.endswith(told)
        assert anomaly.fault == 3
    (lost,) = findings["durability"].anomalies
    assert "slots" not in lost.explanation


def test_an_anomaly_of_one_node_is_not_blamed_on_a_resize() -> None:
    script = Script().does("write", "k3", 4, "n4").tells(FOUR, FIVE)
    script.says("controller", "phase", {"phase": "converged"}).final("k3", None, "n4")
    (lost,) = check(script.history(), ["durability"])["durability"].anomalies
    assert "moved" not in lost.explanation


def test_where_keys_have_no_slots_nothing_is_said_about_slots() -> None:
    script = Script().does("write", "k3", 4, "n4").does("write", "k3", 5, "n5").does("write", "k3", 6, "n4")
    crossing = {"{a}:a": 1, "{b}:a": 1}
    script.does("mset", "{a}", crossing, "n1", via="cross-slot")
    findings = check(script.history(), ["slots", "multikey"])
    assert [finding.verdict for finding in findings.values()] == [Verdict.VALID, Verdict.VALID]
    assert findings["slots"].reason == "nothing to check: keys have no slots here"
    assert findings["multikey"].metrics["cross_slot_attempts"] == 1

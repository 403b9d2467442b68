"""Changes of the nodes among which clients share the keys: what is read from a history, and said of an anomaly."""

from __future__ import annotations

from typing import Any

import pytest

from checkers.events import Event
from checkers.finding import Anomaly, Finding, Verdict
from checkers.history import History, from_events
from checkers.resizes import Moves, Resize, resizes

TWO, THREE = ["n1", "n2"], ["n1", "n2", "n3"]
MS = 1_000_000


def change(time: int, phase: str = "inject", heard: dict[str, int] | None = None, **evidence: Any) -> Event:
    """The nemesis tells clients of a third node, or that it is gone again."""
    before, after = (TWO, THREE) if phase == "inject" else (THREE, TWO)
    evidence = {"from": before, "to": after, "heard_ns": {"0": 0} if heard is None else heard} | evidence
    value = {"fault": 4, "phase": phase, "nodes": ["n3"], "evidence": evidence}
    return Event("info", "resize", "nemesis", time=time, value=value)


def test_changes_are_read_in_order_of_time_with_who_heard_last() -> None:
    events = [
        Event("info", "resize", "nemesis", time=1, value="no table"),
        Event("info", "resize", "observer", time=1, value=change(1).value),
        Event("info", "kill", "nemesis", time=1, value=change(1).value),
        change(2, "step"),
        change(3, heard={}),
        change(9 * MS, "heal", heard={"0": 11 * MS, "1": 10 * MS}),
        change(5 * MS, heard={"0": 6 * MS, "1": 8 * MS, "2": 7 * MS}, since_ns=4 * MS),
    ]
    there, back = resizes(from_events(events))
    assert there == Resize(4, False, 4 * MS, 8 * MS, tuple(TWO), tuple(THREE))
    assert back == Resize(4, True, 9 * MS, 11 * MS, tuple(THREE), tuple(TWO))
    assert str(there) == "the resize from 2 to 3 nodes at 0.00 s (fault 4)"
    assert str(back) == "the resize back from 3 to 2 nodes at 0.01 s (fault 4)"
    assert resizes(from_events([change(None, heard={"0": 5})]))[0].sent_ns == 0  # type: ignore[arg-type]


def told(first: tuple[str | None, int, int], last: tuple[str | None, int, int], *context: Event) -> Anomaly:
    """An anomaly of two operations on k (node, start and end in ms), as told with the changes of a history."""
    events = list(context)
    for process, (node, start, end) in enumerate((first, last)):
        events.append(Event("invoke", "read", process, 10 + process, time=start * MS, key="k"))
        events.append(Event("ok", "read", process, 20 + process, time=end * MS, key="k", value=1, node=node))
    history = from_events(sorted(events, key=lambda event: event.time or 0))
    anomaly = Anomaly("stale-read", "it was stale", [11, 10], "k", None)
    finding = Finding("staleness", Verdict.INVALID, counts={"stale-read": 1}, anomalies=[anomaly])
    (found,) = Moves.of(history).told(finding).anomalies
    return found


AT_FIVE = change(5 * MS, heard={"0": 8 * MS})


@pytest.mark.parametrize(
    ("first", "last", "moved"),
    [
        (("n1", 1, 2), ("n3", 9, 10), True),
        (("n1", 1, 2), ("n3", 5, 6), True),
        (("n1", 1, 2), ("n3", 4, 9), False),  # it began before anybody was told
        (("n1", 8, 9), ("n3", 9, 10), True),
        (("n1", 9, 10), ("n3", 11, 12), False),  # both began when all had heard
        (("n1", 1, 2), ("n1", 9, 10), False),
        ((None, 1, 2), ("n3", 9, 10), False),
        (("n1", 1, 2), (None, 9, 10), False),
    ],
)
def test_a_key_moved_when_another_node_answered_on_the_other_side_of_a_change(
    first: tuple[str | None, int, int], last: tuple[str | None, int, int], moved: bool
) -> None:
    anomaly = told(first, last, AT_FIVE)
    words = "; k moved from n1 to n3 by the resize from 2 to 3 nodes at 0.01 s (fault 4)" if moved else ""
    assert anomaly.explanation == f"it was stale{words}"
    assert anomaly.fault == (4 if moved else None)


@pytest.mark.parametrize(
    ("holders", "words"),
    [
        (["n1"], " and is still on n1"),
        (["n3"], ""),
        (["n1", "n3"], ", and in the end n1 and n3 each held a copy"),
    ],
)
def test_where_the_key_was_in_the_end(holders: list[str], words: str) -> None:
    held = [
        Event("info", "holds", "controller", time=20 * MS, value={"node": node, "keys": ["j", "k"]}) for node in holders
    ]
    held.append(Event("info", "holds", "controller", time=20 * MS, value={"node": "n2", "keys": ["j"]}))
    anomaly = told(("n1", 1, 2), ("n3", 9, 10), AT_FIVE, *held)
    assert anomaly.explanation.endswith(f"(fault 4){words}")


def test_of_several_changes_the_last_is_blamed_and_without_any_nothing_is_said() -> None:
    back = change(6 * MS, "heal", heard={"0": 7 * MS})
    assert "resize back from 3 to 2" in told(("n1", 1, 2), ("n3", 9, 10), AT_FIVE, back).explanation
    assert told(("n1", 1, 2), ("n3", 9, 10)).explanation == "it was stale"


def test_a_finding_without_anomalies_or_keys_stays_as_it_is() -> None:
    history = from_events([AT_FIVE])
    empty = Finding("staleness", Verdict.VALID)
    assert Moves.of(history).told(empty) is empty
    unchanged: History = from_events([])
    assert Moves.of(unchanged).holders == {}
    keyless = Anomaly("uncovered-slot", "no node claims slot 3", [], None, 7)
    finding = Finding("slots", Verdict.INVALID, counts={"uncovered-slot": 1}, anomalies=[keyless])
    assert Moves.of(history).told(finding).anomalies == [keyless]

"""What the general search tells of a history: which operations it looks at, and each part of an accusation."""

from __future__ import annotations

from typing import Any

import pytest

from checkers.events import Event
from checkers.finding import Verdict
from checkers.history import History, from_events
from checkers.linearizability_general import check_model, named
from checkers.models import MODELS


def recorded(*ops: tuple[Any, ...], **header: Any) -> History:
    """Operations (f, key, value, kind, via) one after the other; number i has index i and is at 10 i to 10 i + 6 ms."""
    events = []
    for number, (f, key, value, *rest) in enumerate(ops):
        kind, via = (*rest, *("ok", None)[len(rest) :])
        time = number * 10_000_000
        events.append(Event("invoke", f, number, number, time, key=key, value=value, via=via))
        events.append(Event(kind, f, number, 1000 + number, time + 6_000_000, key=key, value=value))
    return from_events(events, header)


def test_an_accusation_names_the_last_operations_that_fit_and_those_that_do_not() -> None:
    ops = [("write" if n % 2 == 0 else "read", "k0", n // 2) for n in range(14)]
    finding = check_model(recorded(*ops, ("read", "k0", 3), ("read", "k0", 6)), "register")
    (anomaly,) = finding.anomalies
    assert finding.verdict is Verdict.INVALID
    assert (anomaly.kind, anomaly.key, anomaly.fault) == ("non-linearizable", "k0", None)
    assert anomaly.operations == [14, *range(13, 1, -1)]
    assert anomaly.measured == {"placed": 14, "prefix": list(range(14)), "stuck": [14], "states": ["6"]}
    assert anomaly.explanation == (
        "key k0 is not linearizable as a register: read 3 (operation 14), between 0.14 s and 0.15 s, has no place, "
        "because in every order of the operations before it the state is 6; 14 of the 16 operations can be placed; "
        "with no fault before it"
    )
    assert finding.metrics["checked"] == 16
    assert (finding.metrics["keys"], finding.metrics["model"], finding.metrics["undecided"]) == (1, "register", {})


def open_writes(count: int) -> History:
    """Writes of one moment, and then a read of something else."""
    events = []
    for number in range(count):
        events.append(Event("invoke", "write", number, number, 0, value=number))
        events.append(Event("ok", "write", number, 100 + number, 9, value=number))
    events.append(Event("invoke", "read", 50, 50, 10))
    events.append(Event("ok", "read", 50, 150, 12, value=77))
    return from_events(events)


@pytest.mark.parametrize(
    ("count", "told", "listed"),
    [(2, "0 or 1", 2), (6, "0 or 1 or 2 or 3 or 4 or 5", 6), (8, "0 or 1 or 2 or 3 or 4 or 5 or one of 2 others", 6)],
)
def test_the_states_that_are_possible_are_named_up_to_six(
    count: int, told: str, listed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("checkers.search._SECOND_LOOK_S", 60.0)
    (anomaly,) = check_model(open_writes(count), "register").anomalies
    assert f" the state is {told}; {count} of the {count + 1} operations can be placed" in anomaly.explanation
    assert anomaly.measured["states"] == [str(number) for number in range(listed)]
    assert anomaly.explanation.startswith("the object is")
    assert anomaly.key is None
    assert anomaly.operations[0] == 50


def test_what_did_not_happen_or_asked_no_owner_takes_no_part() -> None:
    history = recorded(
        ("write", "k0", 1),
        ("write", "k0", 2, "fail"),
        ("read", "k0", 7, "info"),
        ("read", "k0", 7, "fail"),
        ("read", "k0", 7, "ok", "replica"),
        ("read", "k0", 1),
        ("write", "k0", 3, "info"),
        ("read", "k0", 3),
        ("read", "k1", 9, "ok", "replica"),
    )
    finding = check_model(history, "register")
    assert finding.verdict is Verdict.VALID
    assert (finding.metrics["checked"], finding.metrics["keys"]) == (4, 1)


def test_each_object_is_judged_alone_and_only_those_that_were_asked_for() -> None:
    bad = recorded(("write", "k0", 1), ("read", "k0", 2), ("write", "k1", 1), ("read", "k1", 1), ("write", None, 5))
    assert check_model(bad, "register").counts == {"non-linearizable": 1}
    assert check_model(bad, "register", keys=["k0"]).metrics["checked"] == 2
    good = check_model(bad, "register", keys=["k1", ""])
    assert (good.verdict, good.metrics["checked"], good.metrics["keys"]) == (Verdict.VALID, 3, 2)


def test_the_first_value_may_be_given() -> None:
    history = recorded(("read", "k0", 5), ("write", "k0", 6))
    assert check_model(history, "register").verdict is Verdict.INVALID
    assert check_model(history, "register", 5).verdict is Verdict.VALID
    assert check_model(recorded(("read", "k0", [1])), MODELS["set"](), [1]).verdict is Verdict.VALID
    with pytest.raises(ValueError, match="no model is called 'stack'; there are register, cas-register"):
        named("stack")


def test_objects_of_another_kind_are_left_alone_and_half_known_ones_undecided() -> None:
    history = recorded(
        ("acquire", "lock", "t"),
        ("read", "c", 1),
        ("incr", "c", 1),
        ("write", "m", 1),
        ("incr", "m", 1),
        ("zap", "m", 1),
    )
    finding = check_model(history, "register")
    assert finding.verdict is Verdict.UNKNOWN
    reason = "it has operations that a register does not know: incr, zap"
    assert finding.metrics["undecided"] == {"m": reason}
    assert finding.reason == f"key m is not decided: {reason}"
    assert finding.metrics["checked"] == 0


def test_out_of_budget_is_told_with_the_object() -> None:
    calls = [Event("invoke", "enqueue", n, n, 0, key="q", value=n) for n in range(14)]
    calls += [Event("ok", "enqueue", n, 100 + n, 10, key="q", value=n) for n in range(14)]
    taken = [3, 1, 2, 0, 5, 4, 7, 6, 9, 8, 11, 10, 13]
    calls += [Event("invoke", "dequeue", 20 + n, 20 + n, 20, key="q") for n in taken]
    calls += [Event("ok", "dequeue", 20 + n, 120 + n, 30, key="q", value=n % 12) for n in taken]
    finding = check_model(from_events(calls), "queue", budget_s=0.0)
    assert finding.verdict is Verdict.UNKNOWN
    assert finding.reason == "key q is not decided: out of budget: 0 s were not enough"
    assert finding.metrics["configurations"] > 0

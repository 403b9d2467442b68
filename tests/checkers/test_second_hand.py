"""Reads that a client's own cache or another copy of a key answered: old perhaps, but no word of the key's owner."""

from __future__ import annotations

import pytest

from checkers import check
from checkers.events import Event
from checkers.finding import Verdict
from checkers.history import History, from_events
from checkers.keyslot import SLOTS

MS = 1_000_000
CHECKERS = ["linearizability", "staleness", "durability", "slots", "sessions"]


def history(*operations: tuple[str, int | None, int, int, str, str | None], final: int | None = None) -> History:
    """Operations (f, value, start and end in ms, node, via) on `h0`, each of another process, after an observer's view.

    `final` is what the owner, n1, holds in the end.
    """
    view = {"state": "up", "role": "primary", "primary": None, "cluster": "ok"}
    events = [
        Event("info", "view", "observer", time=0, value={**view, "node": node, "epoch": epoch, "slots": slots})
        for node, epoch, slots in (("n1", 2, [[0, SLOTS - 1]]), ("n2", 1, []))
    ]
    for process, (f, value, start, end, node, via) in enumerate(operations):
        asked = value if f == "write" else None
        events.append(Event("invoke", f, process, time=start * MS, key="h0", value=asked, via=via))
        events.append(Event("ok", f, process, time=end * MS, key="h0", value=value, node=node))
    last = max(end for _, _, _, end, _, _ in operations) * MS
    events.append(Event("info", "phase", "controller", time=last + MS, value={"phase": "converged"}))
    for kind, value in (("invoke", None), ("ok", final)):
        time = last + (2 if kind == "invoke" else 3) * MS
        events.append(Event(kind, "read", 1_000_000, time=time, key="h0", value=value, node="n1", final=True))
    return from_events(events)


@pytest.mark.parametrize(("via", "node", "named"), [("cache", "l1", "local cache"), ("copy", "n2", "copy of the key")])
def test_an_old_value_is_stale_and_no_register_but_nothing_is_lost(via: str, node: str, named: str) -> None:
    run = history(
        ("write", 1, 10, 20, "n1", None),
        ("write", 2, 30, 40, "n1", None),
        ("read", 1, 60, 61, node, via),
        final=2,
    )
    found = check(run, CHECKERS)
    assert found["staleness"].metrics["by_answerer"] == {named: {"stale": 1, "max_ms": 20.0}}
    assert found["linearizability"].verdict is Verdict.INVALID
    assert found["durability"].verdict is Verdict.VALID


def test_a_replica_promises_no_register() -> None:
    run = history(
        ("write", 1, 10, 20, "n1", None),
        ("write", 2, 30, 40, "n1", None),
        ("read", 1, 60, 61, "n2", "replica"),
        final=2,
    )
    assert check(run, ["linearizability"])["linearizability"].verdict is Verdict.VALID


@pytest.mark.parametrize(("via", "split"), [("copy", 0), ("cache", 0), (None, 1)])
def test_copies_that_answer_by_turns_own_no_slot(via: str | None, split: int) -> None:
    """Two seconds apart, so that the lag of the observer excuses nothing."""
    run = history(
        ("write", 1, 10, 20, "n1", None),
        ("read", 1, 3_000, 3_001, "n2", via),
        ("read", 1, 6_000, 6_001, "n1", None),
        final=1,
    )
    assert check(run, ["slots"])["slots"].counts.get("split-ownership", 0) == split


def test_what_another_copy_showed_does_not_date_a_write() -> None:
    """The write of 1 is slow: one copy had it early, the key itself only after the write of 2. So 2 is not lost."""
    run = history(
        ("write", 1, 10, 90, "n1", None),
        ("read", 1, 20, 25, "n2", "copy"),
        ("write", 2, 30, 40, "n1", None),
        final=1,
    )
    assert check(run, ["durability"])["durability"].counts == {}
    plain = history(
        ("write", 1, 10, 90, "n1", None),
        ("read", 1, 20, 25, "n1", None),
        ("write", 2, 30, 40, "n1", None),
        final=1,
    )
    assert check(plain, ["durability"])["durability"].counts == {"lost-write": 1}

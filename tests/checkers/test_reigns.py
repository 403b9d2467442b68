"""When a node was primary without a break, and whether it contradicted itself in that time, against plain loops."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checkers.context import Timeline
from checkers.events import Event
from checkers.history import from_events
from checkers.reigns import contradicted, reigns


def view(time: int, epoch: int, role: str = "primary", state: str = "up") -> Event:
    value = {"node": "n1", "state": state, "role": role, "primary": None, "epoch": epoch, "slots": [[0, 16383]]}
    return Event("info", "view", "observer", time=time, value=value)


def fault(time: int, kind: str, node: str = "n1", phase: str = "inject") -> Event:
    return Event("info", kind, "nemesis", time=time, value={"fault": 0, "phase": phase, "nodes": [node]})


def numbers(*context: Event, times: tuple[int, ...]) -> list[int]:
    return reigns(Timeline.of(from_events(context)), "n1", np.array(times)).tolist()


@pytest.mark.parametrize(
    ("context", "same"),
    [
        ((view(0, 1),), True),
        ((view(0, 1), view(5, 1)), True),
        ((view(0, 1), view(5, 2)), False),
        ((view(0, 1), view(4, 1, state="down"), view(5, 1)), False),
        ((view(0, 1), view(4, 1, role="replica"), view(5, 1)), False),
        ((view(0, 1), fault(5, "kill")), False),
        ((view(0, 1), fault(5, "power-loss")), False),
        ((view(0, 1), fault(5, "kill-at")), False),
        ((view(0, 1), fault(5, "crash")), False),
        ((view(0, 1), fault(5, "kill-child")), True),
        ((view(0, 1), fault(1, "disk"), fault(5, "disk", phase="heal")), False),
        ((view(0, 1), fault(1, "disk"), fault(9, "disk", phase="heal")), True),
        ((view(0, 1), fault(5, "kill", "n2")), True),
        ((view(0, 1), fault(5, "partition")), True),
    ],
)
def test_what_ends_a_reign(context: tuple[Event, ...], same: bool) -> None:
    one, two = numbers(*context, times=(3, 8))
    assert min(one, two) >= 0
    assert (one == two) == same


def test_who_is_no_primary_yet_has_the_reign_of_the_next_view() -> None:
    context = (view(0, 1, role="replica"), view(5, 2))
    assert len(set(numbers(*context, times=(3, 5, 9)))) == 1
    assert numbers(view(0, 1, role="replica"), times=(3,)) == [-1]
    assert numbers(view(4, 1), times=(3,)) == [-1]
    assert numbers(times=(3,)) == [-1]


class Op(NamedTuple):
    key: str
    node: str
    start: int
    end: int
    reads: bool
    version: int
    """Versions of a key begin and take effect one after the other: at 10 times their number and 5 later."""


operations = st.lists(
    st.builds(
        lambda key, node, start, length, reads, version: Op(key, node, start, start + length, reads, version),
        st.sampled_from("ab"),
        st.sampled_from(["n1", "n2"]),
        st.integers(0, 20),
        st.integers(0, 4),
        st.booleans(),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=9,
)


@settings(max_examples=300, deadline=None)
@given(operations, st.integers(0, 20))
def test_a_node_contradicts_itself_when_it_goes_back_in_one_reign(ops: list[Op], promoted: int) -> None:
    events = [view(-1, 1), view(promoted, 2)]
    for number, op in enumerate(ops):
        f = "read" if op.reads else "write"
        events.append(Event("invoke", f, number, time=op.start, key=op.key, value=op.version))
        events.append(Event("ok", f, number, time=op.end, key=op.key, value=op.version, node=op.node))
    history = from_events(events)
    rows = np.arange(len(ops))
    ordered = [ops[process] for process in history.operations.process.tolist()]
    versions = np.array([op.version for op in ordered])
    reads = np.array([op.reads for op in ordered])
    found = contradicted(Timeline.of(history), history.operations, rows, reads, 10 * versions, 10 * versions + 5)

    def reign(op: Op) -> int | None:
        time = op.start if op.reads else op.end
        return None if op.node == "n2" else int(time >= promoted)

    liars = {
        reign(late)
        for late in ordered
        for early in ordered
        if late.reads and late.key == early.key and reign(late) == reign(early) is not None
        if early.end < late.start and late.version < early.version
    }
    assert found.tolist() == [reign(op) is not None and reign(op) in liars for op in ordered]


def test_a_version_that_may_be_as_new_contradicts_nothing() -> None:
    """The newer one began before the older one had taken effect, so either may have come last."""
    events = [view(-1, 1)]
    for number, (f, start) in enumerate((("write", 0), ("read", 10))):
        events.append(Event("invoke", f, number, time=start, key="a"))
        events.append(Event("ok", f, number, time=start + 5, key="a", node="n1"))
    history = from_events(events)
    for done, lies in ((4, True), (5, False), (6, False)):
        found = contradicted(
            Timeline.of(history),
            history.operations,
            np.arange(2),
            np.array([False, True]),
            np.array([5, 0]),
            np.array([9, done]),
        )
        assert found.tolist() == [lies, lies]

"""Register histories for tests: anything at all in the small, and correct ones by construction of any size."""

from __future__ import annotations

import random
from typing import NamedTuple

from exhaustive import On, Op
from hypothesis import strategies as st

from checkers.events import Event
from checkers.history import History, from_events


@st.composite
def anything(draw: st.DrawFn, most: int = 7, strangers: bool = True) -> list[Op]:
    """Up to `most` operations on one register, with unique writes and reads of whatever was tried, or never was."""
    count = draw(st.integers(1, most))
    ops: list[Op] = []
    for number in range(count):
        start = draw(st.integers(0, 12))
        end = start + draw(st.integers(0, 6))
        if draw(st.booleans()):
            kind = draw(st.sampled_from(("ok", "ok", "ok", "info", "fail")))
            ops.append(Op("write", number + 1, start, end, kind))
        else:
            ops.append(Op("read", None, start, end, draw(st.sampled_from(("ok", "ok", "ok", "fail")))))
    values: list[int | None] = [None, *(op.value for op in ops if op.f == "write")]
    if strangers:
        values.append(99)
    return [op._replace(value=draw(st.sampled_from(values))) if op.f == "read" else op for op in ops]


@st.composite
def in_sessions(draw: st.DrawFn, most: int = 12) -> list[Op]:
    """Operations of three processes, one after the other each, that read whatever was written."""
    clocks = dict.fromkeys(range(3), 0)
    ops: list[Op] = []
    for number in range(draw(st.integers(1, most))):
        process = draw(st.sampled_from(sorted(clocks)))
        start = clocks[process] + draw(st.integers(1, 3))
        end = start + draw(st.integers(0, 4))
        clocks[process] = end
        f, value = ("write", number + 1) if draw(st.booleans()) else ("read", None)
        ops.append(Op(f, value, start, end, "ok", process))
    values = [None, *(op.value for op in ops if op.f == "write")]
    return [op._replace(value=draw(st.sampled_from(values))) if op.f == "read" else op for op in ops]


@st.composite
def on_keys(draw: st.DrawFn, most: int = 14) -> list[On]:
    """Operations of three processes on three registers; some writes stay unknown, which ends their process."""
    clocks = dict.fromkeys(range(3), 0)
    ons: list[On] = []
    for number in range(draw(st.integers(1, most))):
        process = draw(st.sampled_from(sorted(clocks)))
        start = clocks[process] + draw(st.integers(1, 3))
        end = start + draw(st.integers(0, 4))
        writes = draw(st.booleans())
        lost = writes and draw(st.integers(0, 7)) == 0
        op = Op(*(("write", number + 1) if writes else ("read", None)), start, end, "info" if lost else "ok", process)
        ons.append(On(draw(st.sampled_from("xyz")), op))
        clocks[process] = end
        if lost:
            clocks[process + 3] = clocks.pop(process)
    values: dict[str, list[int | None]] = {key: [None] for key in "xyz"}
    for key, op in ons:
        values[key] += [op.value] if op.f == "write" else []
    return [On(key, op._replace(value=draw(st.sampled_from(values[key]))) if op.f == "read" else op) for key, op in ons]


class _Moment(NamedTuple):
    """An operation with the hidden moment at which it happened, or None if it did not."""

    op: Op
    key: str
    at: int | None


def correct(seed: int, *, count: int = 60, clients: int = 4, keys: int = 2) -> History:
    """A history in which each operation happened at a hidden moment between its start and its end.

    One write in eight stays indeterminate, and half of those took effect, some of them long after; one in eight
    fails. So the history is linearizable and nothing in it is stale.
    """
    rng = random.Random(seed)
    agenda = []
    clocks = [rng.randrange(10) for _ in range(clients)]
    process = list(range(clients))
    for number in range(count):
        client = min(range(clients), key=clocks.__getitem__)
        start = clocks[client] + rng.randint(1, 5)
        end = clocks[client] = start + rng.randint(0, 20)
        f = rng.choice(("read", "write"))
        outcome = rng.choice(("ok",) * 6 + ("info", "fail"))
        happened = outcome == "ok" or (outcome == "info" and rng.random() < 0.5)
        moment = rng.randint(start, end if outcome == "ok" else end + 80) if happened else None
        op = Op(f, number + 1 if f == "write" else None, start, end, outcome, process[client])
        agenda.append(_Moment(op, f"k{rng.randrange(keys)}", moment))
        process[client] += clients * (outcome == "info")
    return _played(agenda)


def _played(agenda: list[_Moment]) -> History:
    """Let the operations happen in order of their moments, and record what each returned."""
    state: dict[str, int | None] = {}
    returned: dict[int, int | None] = {}
    for _, number in sorted((entry.at, number) for number, entry in enumerate(agenda) if entry.at is not None):
        op, key = agenda[number].op, agenda[number].key
        if op.f == "write":
            state[key] = op.value
        returned[number] = state.get(key)
    events = []
    for number, (op, key, _) in enumerate(agenda):
        answer = returned[number] if op.type == "ok" else op.value
        events.append(Event("invoke", op.f, op.process, 2 * number, op.start, key, op.value))
        events.append(Event(op.type, op.f, op.process, 2 * number + 1, op.end, key, answer))
    return from_events(events)

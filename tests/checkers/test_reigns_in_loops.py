"""Reigns and the contradictions of nodes, against plain loops over many small histories."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from checkers.context import OBSERVER_LAG_NS, Timeline
from checkers.events import Event
from checkers.history import from_events
from checkers.reigns import contradicted, reigns

ENDING = ("kill", "terminate", "restart", "migrate-crash", "power-loss", "kill-at")
STEP_NS = OBSERVER_LAG_NS // 2


def context(rng: random.Random, node: str) -> list[Event]:
    """Views and faults of one node, at a few moments."""
    events = []
    for time in sorted(rng.sample(range(20), rng.randrange(6))):
        role = rng.choice(["primary", "primary", "replica"])
        view = {"node": node, "state": rng.choice(["up", "up", "down"]), "role": role, "primary": None}
        view |= {"epoch": rng.randrange(1, 3), "slots": []}
        events.append(Event("info", "view", "observer", time=time * STEP_NS, value=view))
    for number in range(rng.randrange(4)):
        kind = rng.choice([*ENDING, "partition", "pause", "disk"])
        start = rng.randrange(20)
        value = {"fault": number, "phase": "inject", "nodes": rng.choice([[node], ["other", node], ["other"]])}
        events.append(Event("info", kind, "nemesis", time=start * STEP_NS, value=value))
        if rng.random() < 0.7:
            healed = (start + rng.randrange(1, 6)) * STEP_NS
            events.append(Event("info", kind, "nemesis", time=healed, value={**value, "phase": "heal"}))
    return events


def reign(timeline: Timeline, node: str, time: int) -> tuple[int, int] | None:
    """Which stretch as a primary of one epoch, and which life of the process, a node was in."""
    stretches: list[int | None] = []
    views = timeline.views.get(node, [])
    number, last = 0, None
    for view in views:
        epoch = view.epoch if view.up and view.role == "primary" else None
        number += epoch != last
        last = epoch
        stretches.append(None if epoch is None else number)
    place = sum(view.time_ns <= time for view in views) - 1
    if place < 0:
        return None
    stretch = stretches[place]
    if timeline.owners_only:
        if stretch is None and place + 1 < len(views):
            stretch = stretches[place + 1]
    elif stretches[sum(view.time_ns <= time + OBSERVER_LAG_NS for view in views) - 1] != stretch:
        stretch = None
    ends = [fault.start_ns for fault in timeline.faults if node in fault.nodes and fault.kind in (*ENDING, "disk")]
    ends += [fault.end_ns for fault in timeline.faults if node in fault.nodes and fault.kind == "disk"]
    return None if stretch is None else (stretch, sum(end < time for end in ends))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("owners_only", [True, False])
def test_a_reign_is_one_stretch_as_a_primary_in_one_life(owners_only: bool, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        events = sorted(context(rng, "n1"), key=lambda event: event.time or 0)
        timeline = replace(Timeline.of(from_events(events)), owners_only=owners_only)
        times = [time * STEP_NS for time in range(-1, 24)]
        found = reigns(timeline, "n1", np.array(times)).tolist()
        wanted = [reign(timeline, "n1", time) for time in times]
        assert [number < 0 for number in found] == [stretch is None for stretch in wanted]
        assert len(set(zip(found, wanted, strict=True))) == len(set(found)) == len(set(wanted)), events


class Op(NamedTuple):
    key: str | None
    node: str
    start: int
    end: int
    reads: bool
    version: int


@pytest.mark.parametrize("seed", range(6))
def test_who_goes_back_in_one_reign_is_not_believed_in_it(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        events = context(rng, "n1") + context(rng, "n2")
        ops = []
        for _ in range(rng.randint(1, 10)):
            start = rng.randrange(22)
            key, node = rng.choice(["a", "b", None]), rng.choice(["n1", "n2", "n3"])
            ops.append(Op(key, node, start, start + rng.randrange(4), rng.random() < 0.6, rng.randrange(4)))
        ops.sort(key=lambda op: op.start)
        for process, op in enumerate(ops):
            f = "read" if op.reads else "write"
            events.append(Event("invoke", f, process, time=op.start * STEP_NS, key=op.key, value=op.version))
            events.append(Event("ok", f, process, time=op.end * STEP_NS, key=op.key, value=op.version, node=op.node))
        history = from_events(sorted(events, key=lambda event: event.time or 0))
        timeline = Timeline.of(history)
        ops = [ops[process] for process in history.operations.process.tolist()]
        versions = np.array([op.version for op in ops])
        lasts = rng.choice([5, 10, 15])  # a version may begin before the one before it has taken effect
        reads = np.array([op.reads for op in ops])
        rows = np.arange(len(ops))
        found = contradicted(timeline, history.operations, rows, reads, 10 * versions, 10 * versions + lasts)
        mine = [
            (op.node, stretch)
            if (stretch := reign(timeline, op.node, STEP_NS * (op.start if op.reads else op.end)))
            else None
            for op in ops
        ]
        liars = {
            mine[late]
            for late, two in enumerate(ops)
            for early, one in enumerate(ops)
            if two.reads and one.key == two.key and mine[late] == mine[early]
            if one.end < two.start and 10 * two.version + lasts < 10 * one.version
        }
        assert found.tolist() == [stretch is not None and stretch in liars for stretch in mine], (events, ops)

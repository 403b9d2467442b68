"""Where requests went, against plain loops over all operations: each figure from its definition."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from typing import Any, NamedTuple

import pytest

from checkers.balance import check_balance
from checkers.context import Timeline
from checkers.events import Event
from checkers.history import History, from_events

STEP_NS = 250_000_000
"""All that happens does so at a multiple of this, so much at equal times and just at the bounds."""
NODES = ["n1", "n2", "n3"]


class Op(NamedTuple):
    f: str
    key: str
    value: int | None
    node: str | None
    start: int
    end: int
    type: str = "ok"
    final: bool = False
    via: str | None = None
    asking: bool = False
    hops: list[str] | None = None


class Change(NamedTuple):
    before: list[str]
    after: list[str]
    sent: int
    heard: int


def drawn(rng: random.Random) -> tuple[list[Op], list[Change]]:
    """Operations of a few seconds, and one or two changes of the nodes."""
    ops = []
    for n in range(rng.randint(4, 24)):
        start = rng.randrange(24)
        f = rng.choice(["read", "get", "write", "put", "incr"])
        node = rng.choices([*NODES, None], [5, 5, 5, 1])[0]
        hops = [name for name in rng.choice([["n2"], ["n3", "n2"]]) if name != node]
        ops.append(
            Op(
                f,
                rng.choice("abc"),
                n if f not in ("read", "get") or rng.random() < 0.5 else None,
                node,
                start,
                start + rng.randrange(4),
                rng.choices(["ok", "fail", "info"], [12, 1, 1])[0],
                rng.random() < 0.08,
                rng.choices([None, "replica", "cache"], [10, 1, 1])[0],
                rng.random() < 0.08,
                [*hops, node] if node and hops and rng.random() < 0.4 else None,
            )
        )
    changes, sent = [], rng.randrange(2, 10)
    for before, after in pairwise(rng.choice([[NODES[:2], NODES], [NODES, NODES[:1], NODES]])):
        heard = sent + rng.randrange(3)
        changes.append(Change(before, after, sent, heard))
        sent = heard + rng.randrange(1, 8)
    return sorted(ops, key=lambda op: op.start), changes


def recorded(ops: list[Op], changes: list[Change]) -> History:
    events = []
    for process, op in enumerate(ops):
        asked = None if op.f in ("read", "get") else op.value
        about: dict[str, Any] = {"key": op.key, "final": op.final}
        events.append(Event("invoke", op.f, process, time=op.start * STEP_NS, value=asked, via=op.via, **about))
        node = op.node if op.type == "ok" else None
        more = {"node": node, "asking": op.asking, "hops": op.hops, **about}
        events.append(Event(op.type, op.f, process, time=op.end * STEP_NS, value=op.value, **more))
    for number, change in enumerate(changes):
        heard = {"0": change.sent * STEP_NS, "1": change.heard * STEP_NS}
        evidence = {"since_ns": change.sent * STEP_NS, "from": change.before, "to": change.after, "heard_ns": heard}
        value = {"fault": number, "phase": "inject", "nodes": [], "evidence": evidence}
        events.append(Event("info", "resize", "nemesis", time=change.sent * STEP_NS, value=value))
    return from_events(sorted(events, key=lambda event: event.time or 0), {"slots": [], "route": "modulo"})


def share(found: list[bool]) -> float | None:
    return sum(found) / len(found) if found else None


def figures(ops: list[Op], changes: list[Change], load: tuple[int, int]) -> dict[str, Any]:
    """The metrics from their definitions; times in steps."""
    served = [op for op in ops if op.type == "ok" and op.node and not op.final and op.via != "cache"]
    answered = [op for op in ops if op.type == "ok" and not op.final]
    asked = Counter(name for op in answered if op.via != "cache" for name in op.hops or ([op.node] if op.node else []))
    writes = [op for op in ops if op.f in ("write", "put") and op.type == "ok" and op.node]
    reads = [op for op in served if op.f in ("read", "get")]
    reads = [read for read in reads if any(w.key == read.key and w.end < read.start for w in writes)]
    redirected = [len(op.hops) - 1 for op in answered if op.hops]
    total = sum(asked.values())
    resizes = []
    times = [(load[0], load[0]), *((change.sent, change.heard) for change in changes), (load[1], load[1])]
    stretches = [(heard, sent) for (_, heard), (sent, _) in pairwise(times)]
    for number, change in enumerate(changes):
        before, after = (
            {key: holder for key in "abc" if (holder := answerer(served, key, *stretches[number + side])) is not None}
            for side in (0, 1)
        )
        both = [key for key in before if key in after]
        moved = sum(before[key] != after[key] for key in both)
        missed = 0
        for read in reads:
            if read.value is None and change.sent <= read.start < times[number + 2][0]:
                known = [w for w in writes if w.key == read.key and w.end <= change.heard]
                missed += bool(known) and max(reversed(known), key=lambda w: w.end).node != read.node
        second = 10**9 // STEP_NS
        resizes.append(
            {
                "fault": number,
                "from": change.before,
                "to": change.after,
                "at_ms": change.sent * STEP_NS / 1e6,
                "told_within_ms": (change.heard - change.sent) * STEP_NS / 1e6,
                "keys": len(both),
                "keys_moved": moved,
                "moved_share": moved / len(both) if both else None,
                "theory": {(2, 3): 0.6667, (3, 1): 0.6667, (1, 3): 0.6667}[len(change.before), len(change.after)],
                "missed": missed,
                "hit_rate_before": share([r.value is not None for r in reads if -second <= r.start - change.sent < 0]),
                "hit_rate_after": share([r.value is not None for r in reads if 0 <= r.start - change.heard < second]),
            }
        )
    return {
        "checked": len(served),
        "requests": {name: asked[name] for name in sorted(asked)},
        "hottest_share": max(asked.values()) / total if total else None,
        "max_over_mean": max(asked.values()) * len(asked) / total if total else None,
        "hops_mean": 1 + sum(redirected) / len(served) if served else None,
        "hops_most": 1 + max(redirected, default=0) if served else None,
        "keys_moved": max((resize["moved_share"] for resize in resizes if resize["keys"]), default=None),
        "resizes": resizes,
        "hit_rate": share([read.value is not None for read in reads]),
    }


def rounded(value: Any) -> Any:
    """The same with fractions cut off where only the way of computing shows."""
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return round(value, 9) if isinstance(value, float) else value


def answerer(served: list[Op], key: str, since: int, until: int) -> str | None:
    """The one node that answered for a key, as its owner, between two times."""
    nodes = {
        op.node
        for op in served
        if op.key == key and since <= op.start and op.end <= until and op.via != "replica" and not op.asking
    }
    return nodes.pop() if len(nodes) == 1 else None


@pytest.mark.parametrize("seed", range(8))
def test_every_figure_is_what_its_definition_says(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(30):
        ops, changes = drawn(rng)
        history = recorded(ops, changes)
        load = Timeline.of(history).load
        wanted = figures(ops, changes, (load[0] / STEP_NS, load[1] / STEP_NS))
        metrics = check_balance(history).metrics
        got = {name: metrics[name] for name in wanted}
        assert rounded(got) == rounded(wanted), (ops, changes)


def cached(times_ms: list[int], found: list[bool]) -> History:
    """A write, and reads of it at these times."""
    events = [
        Event("invoke", "put", 0, time=0, key="a", value=1),
        Event("ok", "put", 0, time=1, key="a", value=1, node="n1"),
    ]
    for time_ms, hit in zip(times_ms, found, strict=True):
        events.append(Event("invoke", "get", 0, time=time_ms * 1_000_000, key="a"))
        value = 1 if hit else None
        events.append(Event("ok", "get", 0, time=time_ms * 1_000_000 + 1, key="a", value=value, node="n1"))
    return from_events(events, {"slots": [], "groups": {"shards": ["n1", "n2"]}})


@pytest.mark.parametrize(
    ("times_ms", "found", "expected"),
    [
        ([], [], []),
        ([99, 100, 11_999], [True, False, True], [(0, 1, 1.0), (100, 1, 0.0), (11_900, 1, 1.0)]),
        ([99, 100, 12_000], [True, False, True], [(0, 2, 0.5), (12_000, 1, 1.0)]),
        ([50, 60, 70, 29_999], [True, True, False, True], [(0, 3, 0.6667), (29_750, 1, 1.0)]),
        ([1, 7_300_000], [True, False], [(0, 1, 1.0), (7_260_000, 1, 0.0)]),
    ],
)
def test_the_hit_rate_over_time_is_told_in_at_most_120_stretches(
    times_ms: list[int], found: list[bool], expected: list[tuple[int, int, float]]
) -> None:
    finding = check_balance(cached(times_ms, found))
    over_time = finding.metrics["hit_rate_over_time"]
    assert [(part["at_ms"], part["reads"], part["rate"]) for part in over_time] == expected
    assert finding.checker == "balance"


def test_nodes_that_are_to_serve_and_got_nothing_are_named_with_none() -> None:
    events = list(recorded([], []).context)
    for header in ({"slots": [[0, 99, "n2"], [100, 16383, "n1"]]}, {"groups": {"shards": ["n1", "n2"]}}):
        metrics = check_balance(from_events(events, header)).metrics
        assert metrics["requests"] == {"n1": 0, "n2": 0}
        assert (metrics["hottest_node"], metrics["hottest_share"], metrics["max_over_mean"]) == (None, None, None)
        assert metrics["hops_mean"] is metrics["hops_most"] is None


@pytest.mark.parametrize(
    ("header", "theory"),
    [
        ({"slots": [], "route": "modulo"}, 0.8),
        ({"slots": [], "route": "ring"}, 0.2),
        ({"slots": [], "route": "proxy", "way": "modulo"}, 0.8),
        ({"slots": [], "route": "proxy", "way": "ring"}, 0.2),
        ({"slots": [], "route": "bare"}, None),
        ({"slots": [[0, 16383, "n1"]], "route": "bare"}, 0.2),
    ],
)
def test_theory_goes_by_the_way_by_which_keys_are_shared(header: dict[str, Any], theory: float | None) -> None:
    four = ["n1", "n2", "n3", "n4"]
    changed = recorded([], [Change(four, [*four, "n5"], 2, 3)])
    (resize,) = check_balance(History(header, changed.operations, changed.context, [])).metrics["resizes"]
    assert resize["theory"] == theory
    assert (resize["keys"], resize["moved_share"], resize["missed"]) == (0, None, 0)
    assert (resize["hit_rate_before"], resize["hit_rate_after"]) == (None, None)

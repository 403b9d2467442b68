"""How soon replicas show writes, against plain loops over all reads and writes."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import numpy as np
import pytest

from checkers.events import Event
from checkers.history import from_events
from checkers.visibility import check_visibility

BOUNDS_MS = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1_000, 3_000)


class Op(NamedTuple):
    key: str
    value: int | None
    start: int
    end: int
    type: str = "ok"
    via: str | None = None
    final: bool = False
    acked: int | None = None


def drawn(rng: random.Random) -> tuple[list[Op], list[Op]]:
    """Writes and reads, at few moments (in tenths of a millisecond), some of each key at the same time."""
    wait = rng.random() < 0.5
    writes = []
    for value in range(1, rng.randint(2, 6)):
        start = rng.randrange(40)
        acked = rng.choice([0, 1, 2]) if wait and rng.random() < 0.8 else None
        kind = rng.choices(["ok", "info"], [6, 1])[0]
        writes.append(Op(rng.choice("ab"), value, start, start + rng.randrange(1, 9), kind, acked=acked))
    reads = []
    for _ in range(rng.randint(1, 8)):
        start, key = rng.randrange(60), rng.choice("ab")
        values = [None, *(w.value for w in writes if w.key == key and w.start < start)]
        via = rng.choices(["replica", None, "cache"], [8, 1, 1])[0]
        reads.append(Op(key, rng.choice(values), start, start + 1, "ok", via, rng.random() < 0.1))
    return writes, reads


def figures(asked: list[tuple[Op, Op, bool]]) -> dict[str, Any]:
    """The figures of (read, the write that it is asked for, whether it missed it)."""
    ages = [(read.start - write.end) / 10 for read, write, _ in asked]
    lacking = [missed for *_, missed in asked]
    windows: dict[Op, float] = {}
    for age, (_, write, missed) in zip(ages, asked, strict=True):
        windows[write] = max(windows.get(write, 0.0), age if missed else 0.0)
    by_age, low = [], -1.0
    for bound in [*BOUNDS_MS, None]:
        high = float("inf") if bound is None else bound
        inside = [n for n, age in enumerate(ages) if low < age <= high]
        if inside:
            by_age.append({"up_to_ms": bound, "reads": len(inside), "missed": sum(lacking[n] for n in inside)})
        low = high
    lengths = list(windows.values())
    quantiles = {f"p{q:g}": float(np.quantile(lengths, q / 100)) for q in (50, 90, 99, 99.9)} if lengths else {}
    return {
        "checked": len(asked),
        "missed": sum(lacking),
        "missed_share": sum(lacking) / len(asked) if asked else None,
        "by_age": by_age,
        "window_ms": {**quantiles, "max": max(lengths)} if lengths else {},
        "writes": len(windows),
    }


def expected(writes: list[Op], reads: list[Op]) -> dict[str, Any]:
    asked = []
    for read in reads:
        known = [w for w in writes if w.key == read.key and w.type == "ok" and w.end < read.start]
        if read.via != "replica" or read.final or not known:
            continue
        write = max(known, key=lambda w: w.end)
        shown = [w.end for w in writes if w.value == read.value and w.type == "ok"]
        shown += [r.end for r in reads if (r.key, r.value) == (read.key, read.value)]
        missed = read.value is None or (read.value != write.value and min(shown) < write.start)
        asked.append((read, write, missed))
    metrics = figures(asked)
    named = {write: "no WAIT" if write.acked is None else f"{write.acked} replicas" for _, write, _ in asked}
    if set(named.values()) - {"no WAIT"}:
        metrics["by_wait"] = {
            name: figures([entry for entry in asked if named[entry[1]] == name]) for name in set(named.values())
        }
    return metrics


def recorded(writes: list[Op], reads: list[Op]) -> list[Event]:
    events = []
    for process, op in enumerate([*writes, *reads]):
        f = "write" if op in writes else "read"
        asked = op.value if f == "write" else None
        time = 100_000
        events.append(Event("invoke", f, process, time=op.start * time, key=op.key, value=asked, via=op.via))
        events[-1].final = op.final
        more = {"final": op.final, "acked": op.acked, "node": "n2"} if op.type == "ok" else {"final": op.final}
        events.append(Event(op.type, f, process, time=op.end * time, key=op.key, value=op.value, **more))
    return sorted(events, key=lambda event: event.time or 0)


def rounded(value: Any) -> Any:
    """The same with fractions cut off where only the way of computing shows."""
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return round(value, 9) if isinstance(value, float) else value


def test_ages_are_counted_up_to_each_bound_and_beyond_the_last() -> None:
    steps = [1, 2, 3, 4, 10, 11, 30, 99, 100, 101, 300, 301, 1000, 1001, 3000, 3001, 10_000, 10_001, 30_000, 30_001]
    write = Op("a", 1, 0, 5)
    reads = [Op("a", 1, write.end + step, write.end + step + 1, via="replica") for step in steps]
    by_age = check_visibility(from_events(recorded([write], reads))).metrics["by_age"]
    assert [(part["up_to_ms"], part["reads"]) for part in by_age] == [
        *((0.1, 1), (0.3, 2), (1, 2), (3, 2), (10, 2), (30, 2), (100, 2), (300, 2), (1_000, 2), (3_000, 2), (None, 1))
    ]


@pytest.mark.parametrize("seed", range(8))
def test_every_figure_is_what_its_definition_says(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(30):
        writes, reads = drawn(rng)
        if len({write.end for write in writes}) < len(writes):
            continue  # of two that were acknowledged together either may be the last
        finding = check_visibility(from_events(recorded(writes, reads)))
        assert rounded(finding.metrics) == rounded(expected(writes, reads)), (writes, reads)
        assert (finding.checker, finding.counts) == ("visibility", {})


@pytest.mark.parametrize(("start", "missed"), [(5, 0), (6, 1)])
def test_a_write_that_began_as_the_other_ended_may_be_the_older(start: int, missed: int) -> None:
    ops = [Op("a", 1, 0, 5), Op("a", 2, start, 8)], [Op("a", 1, 10, 11, via="replica")]
    assert check_visibility(from_events(recorded(*ops))).metrics["missed"] == missed

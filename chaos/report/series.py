"""A history as series over time: throughput, latency and the roles of the nodes, ready to be drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from checkers.events import FAIL, INFO, NEVER, OK, Event
from checkers.history import History, Operations

_BUCKETS_NS = tuple(n * 1_000_000 for n in (100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000))
_MOST_BUCKETS = 240


@dataclass(frozen=True)
class Timeline:
    """Operations of the load per bucket of time. Final reads are left out: they belong to no client."""

    bucket_ns: int
    starts: NDArray[np.int64]
    """When each bucket begins, in nanoseconds since the run began."""
    rates: dict[str, NDArray[np.float64]]
    """Operations a second that ended `ok`, `fail` or `info`; the last stand where they began: they have no end."""
    latency_ms: dict[str, NDArray[np.float64]]
    """`p50`, `p99` and `max` of the `ok` operations that ended in a bucket; NaN where none did."""


class Segment(NamedTuple):
    """What a node said of itself from `start` to `end` (nanoseconds since the run began)."""

    start: int
    end: int
    state: str
    """`primary`, `replica` or `down`; `refusing` for a primary that sees the cluster as failed."""
    told: dict[str, Any]
    """The observer's whole view at `start`."""


def end_of(history: History) -> int:
    """The last moment that the history knows of, in nanoseconds since the run began."""
    operations = history.operations
    returned = operations.end[operations.end != NEVER]
    last = [event.time or 0 for event in history.context[-1:]]
    return int(max([*last, *returned.max(initial=0, keepdims=True), *operations.start.max(initial=0, keepdims=True)]))


def rows_by_index(operations: Operations, indexes: Iterable[int]) -> dict[int, int]:
    """Row numbers of the operations that anomalies name by `index`; unknown indexes are left out."""
    wanted = np.flatnonzero(np.isin(operations.index, list(indexes)))
    return {int(operations.index[row]): row for row in wanted.tolist()}


def timeline(history: History) -> Timeline:
    """Throughput and latency over time, in buckets of 100 ms or, for longer runs, of more."""
    operations = history.operations
    load = ~operations.final
    until = end_of(history) + 1
    bucket = next((size for size in _BUCKETS_NS if until <= size * _MOST_BUCKETS), _BUCKETS_NS[-1])
    count = -(-until // bucket)
    when = np.where(operations.end == NEVER, operations.start, operations.end) // bucket
    rates = {
        name: np.bincount(when[load & (operations.type == code)], minlength=count).astype(np.float64) * (1e9 / bucket)
        for name, code in (("ok", OK), ("fail", FAIL), ("info", INFO))
    }
    chosen = load & (operations.type == OK)
    took_ms = (operations.end[chosen] - operations.start[chosen]) / 1e6
    return Timeline(bucket, np.arange(count) * bucket, rates, _quantiles(when[chosen], took_ms, count))


def _quantiles(bucket: NDArray[np.int64], took_ms: NDArray[np.float64], count: int) -> dict[str, NDArray[np.float64]]:
    """Median, 99th percentile (nearest rank) and maximum per bucket, from one sort of everything."""
    ordered = took_ms[np.lexsort((took_ms, bucket))]
    sizes = np.bincount(bucket, minlength=count)
    first = np.cumsum(sizes) - sizes
    some = sizes > 0
    quantiles = {}
    for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
        rank = np.maximum(np.ceil(share * sizes[some]).astype(np.int64), 1) - 1
        quantiles[name] = np.full(count, np.nan)
        quantiles[name][some] = ordered[first[some] + rank]
    return quantiles


def views(history: History) -> list[Event]:
    """What the observer saw, in time order."""
    return [event for event in history.context if event.process == "observer" and event.f == "view"]


def roles(history: History) -> dict[str, list[Segment]]:
    """For each node what it was, without gaps from its first view to the end; nodes in the order of the header."""
    until = end_of(history)
    seen: dict[str, list[Event]] = {name: [] for name in history.header.get("nodes", {})}
    for event in views(history):
        seen.setdefault(str(event.value["node"]), []).append(event)
    return {name: _segments(events, until) for name, events in seen.items() if events}


def _segments(events: Sequence[Event], until: int) -> list[Segment]:
    merged: list[Segment] = []
    for event in events:
        state, time = _state(event.value), event.time or 0
        if merged and merged[-1].state == state and not _other_primary(merged[-1].told, event.value):
            continue
        if merged:
            merged[-1] = merged[-1]._replace(end=time)
        merged.append(Segment(time, until, state, event.value))
    return merged


def _other_primary(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether a Sentinel went over to another primary."""
    return now.get("role") == "sentinel" and before.get("primary") != now.get("primary")


def _state(view: dict[str, Any]) -> str:
    if view.get("state") == "down":
        return "down"
    role = str(view.get("role"))
    return "refusing" if role == "primary" and view.get("cluster") == "fail" else role

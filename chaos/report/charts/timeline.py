"""The charts of a run over time, every one over the same axis, so that cause stands above effect."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chaos.report.charts.style import (
    GUTTER,
    OUTCOMES,
    QUANTILES,
    SECONDS,
    Spec,
    coloured,
    milliseconds,
    rows,
    stretch,
    upright,
    whole,
)
from chaos.report.fault_words import slots
from chaos.report.series import Segment, Timeline
from chaos.report.words import enumeration, seconds
from nemeses.fault import ExecutedFault

STATES = ("primary", "replica", "sentinel", "refusing", "down")
HITS = ("cut", "hit")
"""What a fault does to a node while it holds: cuts it off, or something else."""
_CUTTING = frozenset({"partition"})
_LETTER, _PLOT = 6.6, 960
"""Pixels of a letter and of a wide plot, near enough to keep the labels of faults apart."""
_LEAST_MS = 0.001
"""Shown for a latency of nothing: the axis is logarithmic."""
_UNLABELLED: Spec = {**SECONDS, "labels": False, "ticks": False}

Row = dict[str, Any]


def specs(drawn: Mapping[str, Sequence[Row]], nodes: Sequence[str]) -> dict[str, Spec]:
    """The charts by name, for `drawn` as `data` gives it, and with a row for each of `nodes`."""
    lanes = max((row["lane"] for row in drawn["faults"]), default=-1) + 1
    most = max((row["high"] for row in drawn["undone"]), default=1.0)
    return {
        "faults": whole(_faults(lanes), (0, 1)),
        "throughput": whole(_over_bands(_throughput(), 110), (0, 1)),
        "errors": whole(_over_bands(_errors(most), 80), (0, 1)),
        "latency": whole(_over_bands(_latency(), 130), (0, 1)),
        "roles": whole(_roles(nodes), (0, 1)),
    }


def data(
    series: Timeline, nodes: dict[str, list[Segment]], faults: Sequence[ExecutedFault], until: int
) -> dict[str, list[Row]]:
    """The rows that the charts draw; times in seconds since the run began, until `until` nanoseconds."""
    spans = [span(fault, until) for fault in faults]
    _into_lanes(spans, until / 1e9)
    return {
        "buckets": list(_buckets(series)),
        "undone": list(_undone(series)),
        "faults": spans,
        "roles": [_segment(node, segment) for node, segments in nodes.items() for segment in segments],
        "hits": [row for node in nodes for row in _hits(node, faults, until)],
    }


def name_of(fault: ExecutedFault) -> str:
    """A fault in short: `1 partition of n1`."""
    return f"{fault.number} {fault.kind} of {enumeration(fault.nodes) or fault.target}"


def span(fault: ExecutedFault, until: int) -> Row:
    """A fault as a row: from `a` to `b` seconds, and `until` nanoseconds where it was not healed."""
    start, end = fault.injected_ns or 0, until if fault.healed_ns is None else fault.healed_ns
    told = f"{name_of(fault)}, {seconds(start)} to {seconds(end)}"
    return {"a": start / 1e9, "b": end / 1e9, "what": name_of(fault), "short": str(fault.number), "told": told}


def _bands() -> list[Spec]:
    """Layers that shade the time of each fault; its beginning is a line, which shows a fault of no length as well."""
    shade = {"type": "rect", "color": "var(--band)", "opacity": 0.1, "clip": True}
    edge = {"type": "rule", "color": "var(--band)", "opacity": 0.35, "clip": True}
    return [
        {"data": {"name": "faults"}, "mark": shade, "encoding": {"x": stretch("a", SECONDS), "x2": {"field": "b"}}},
        {"data": {"name": "faults"}, "mark": edge, "encoding": {"x": stretch("a", SECONDS)}},
    ]


def _over_bands(layers: Sequence[Spec], height: int) -> Spec:
    return {"height": height, "layer": [*_bands(), *layers]}


def _throughput() -> list[Spec]:
    tip = [
        {"field": "told", "title": "from"},
        *({"field": name, "title": f"{name} a second", "format": ",.1f"} for name in OUTCOMES),
    ]
    return [
        {
            "data": {"name": "buckets"},
            "mark": {"type": "rect", "color": "var(--ok)", "opacity": 0.75, "clip": True},
            "encoding": {
                "x": stretch("a", SECONDS),
                "x2": {"field": "b"},
                "y": upright("ok", axis={"format": "~s"}),
                "y2": {"datum": 0},
                "tooltip": tip,
            },
        }
    ]


def _errors(most: float) -> list[Spec]:
    tip = [
        {"field": "told", "title": "from"},
        {"field": "outcome", "title": "outcome"},
        {"field": "rate", "title": "a second", "format": ",.1f"},
    ]
    return [
        {
            "data": {"name": "undone"},
            "mark": {"type": "rect", "clip": True},
            "encoding": {
                "x": stretch("a", SECONDS),
                "x2": {"field": "b"},
                "y": upright("high", axis={"format": "~s"}, scale={"domain": [0, most], "nice": True}),
                "y2": {"field": "low"},
                "color": coloured("outcome", OUTCOMES),
                "tooltip": tip,
            },
        }
    ]


def _latency() -> list[Spec]:
    width = {"condition": {"test": "datum.quantile === 'max'", "value": 0.9}, "value": 1.8}
    tip = [
        {"field": "told", "title": "from"},
        *({"field": name, "title": f"{name}, ms", "format": ",.3f"} for name in QUANTILES),
    ]
    return [
        {
            "data": {"name": "buckets"},
            "transform": [{"fold": list(reversed(QUANTILES)), "as": ["quantile", "ms"]}],
            "mark": {"type": "line", "clip": True, "strokeJoin": "round", "strokeCap": "round"},
            "encoding": {
                "x": stretch("m", SECONDS),
                "y": upright("ms", scale={"type": "log"}, axis=milliseconds()),
                "color": coloured("quantile", QUANTILES),
                "strokeWidth": width,
            },
        },
        {  # what the pointer is over: the bucket, as a line is too thin to hit
            "data": {"name": "buckets"},
            "mark": {"type": "rect", "opacity": 0, "clip": True},
            "encoding": {"x": stretch("a", SECONDS), "x2": {"field": "b"}, "tooltip": tip},
        },
    ]


def _faults(lanes: int) -> Spec:
    lane = {
        "field": "lane",
        "type": "ordinal",
        "scale": {"domain": list(range(lanes))},
        "axis": {
            "title": None,
            "labels": False,
            "ticks": False,
            "domain": False,
            "minExtent": GUTTER,
            "maxExtent": GUTTER,
        },
    }
    x = {"x": stretch("a", _UNLABELLED), "x2": {"field": "b"}}
    bar = {"type": "bar", "color": "var(--band)", "opacity": 0.32, "cornerRadius": 3, "clip": True}
    edge = {"type": "tick", "color": "var(--band)", "thickness": 2, "clip": True}
    text = {"type": "text", "align": "left", "dx": 5, "fontSize": 11, "clip": True}
    return {
        "usermeta": {"below": 8},  # pixels that the script keeps free: there are no labels
        "height": max(22 * lanes, 1),
        "data": {"name": "faults"},
        "encoding": {"y": lane, "tooltip": {"field": "told", "title": "fault"}},
        "layer": [
            {"mark": bar, "encoding": x},
            {"mark": edge, "encoding": {"x": stretch("a", _UNLABELLED)}},
            {
                # A label stays in sight as long as its fault does.
                "transform": [
                    {"filter": "datum.b >= since"},
                    {"calculate": "max(datum.a, since)", "as": "seen"},
                    {"calculate": "(min(datum.room, until) - datum.seen) / (until - since) * width", "as": "pixels"},
                    {
                        "calculate": "datum.pixels > 5.7 * length(datum.what) ? datum.what : datum.short",
                        "as": "label",
                    },
                ],
                "mark": text,
                "encoding": {"x": stretch("seen", _UNLABELLED), "text": {"field": "label"}},
            },
        ],
    }


def _roles(nodes: Sequence[str]) -> Spec:
    y = rows("node", nodes)
    span_ = {"x": stretch("a", SECONDS), "x2": {"field": "b"}, "y": y}
    tip = {"field": "told", "title": "state"}
    return {
        "height": 24 * len(nodes),
        "layer": [
            *_bands(),
            {
                "data": {"name": "roles"},
                "mark": {"type": "bar", "height": 19, "clip": True},
                "encoding": {**span_, "color": coloured("state", STATES), "tooltip": tip},
            },
            {
                "data": {"name": "hits"},
                "mark": {"type": "bar", "height": 5, "yOffset": 7, "clip": True},
                "encoding": {**span_, "color": {**coloured("state", HITS)}, "tooltip": tip},
            },
            {
                "data": {"name": "roles"},
                "transform": [
                    {"calculate": "max(datum.a, since)", "as": "seen"},
                    {"calculate": "min(datum.b, until)", "as": "last"},
                    {"filter": "(datum.last - datum.seen) / (until - since) * width > 8 * length(datum.state)"},
                ],
                "mark": {"type": "text", "align": "left", "dx": 5, "yOffset": -2, "fontSize": 10, "clip": True},
                "encoding": {
                    "x": stretch("seen", SECONDS),
                    "y": y,
                    "text": {"field": "state"},
                    "color": {
                        "field": "state",
                        "scale": {"domain": list(STATES), "range": [f"var(--on-{name})" for name in STATES]},
                        "legend": None,
                    },
                },
            },
        ],
        "resolve": {"scale": {"color": "independent"}},
    }


def _buckets(series: Timeline) -> Iterator[Row]:
    for place, start in enumerate(series.starts.tolist()):
        end = start + series.bucket_ns
        yield {
            "a": start / 1e9,
            "b": end / 1e9,
            "m": (start + end) / 2e9,
            "told": seconds(start),
            **{name: round(float(series.rates[name][place]), 2) for name in OUTCOMES},
            **{name: _milliseconds(float(series.latency_ms[name][place])) for name in QUANTILES},
        }


def _milliseconds(value: float) -> float | None:
    return None if math.isnan(value) else round(max(value, _LEAST_MS), 4)


def _undone(series: Timeline) -> Iterator[Row]:
    """Refused operations from nothing upwards, undecided ones on top of them."""
    for place, start in enumerate(series.starts.tolist()):
        low = 0.0
        for outcome in ("fail", "info"):
            rate = float(series.rates[outcome][place])
            if rate:
                times = {"a": start / 1e9, "b": (start + series.bucket_ns) / 1e9, "told": seconds(start)}
                yield {**times, "outcome": outcome, "rate": round(rate, 2), "low": low, "high": low + rate}
            low += rate


def _into_lanes(spans: Sequence[Row], until: float) -> None:
    """Give each fault a `lane` such that no two labels overlap while a wide plot shows the whole run.

    `room` is when the next fault of the lane begins: where less is shown, or the plot is narrow, labels are shorter.
    """
    free: list[float] = []
    latest: list[Row] = []
    for row in spans:
        wide = (_LETTER * len(row["what"]) + 12) / _PLOT * until
        lane = next((number for number, edge in enumerate(free) if edge <= row["a"]), len(free))
        if lane < len(free):
            latest[lane]["room"] = row["a"]
        row |= {"lane": lane, "room": until}
        free[lane : lane + 1] = [max(row["b"], row["a"] + wide)]
        latest[lane : lane + 1] = [row]


def _segment(node: str, segment: Segment) -> Row:
    told = f"{node}: {state_of(segment)}, {seconds(segment.start)} to {seconds(segment.end)}"
    return {"node": node, "a": segment.start / 1e9, "b": segment.end / 1e9, "state": segment.state, "told": told}


def state_of(segment: Segment) -> str:
    """What a node was, in words: `primary of slots 0-5460, epoch 7`."""
    told = segment.told
    role = f"primary of {slots(told.get('slots') or [])}" if told.get("role") == "primary" else segment.state
    shown = {
        "down": "does not answer",
        "refusing": f"{role}, sees the cluster as failed",
        "sentinel": f"Sentinel, names {told.get('primary')} as primary",
    }.get(segment.state, role)
    return shown if told.get("epoch") is None else f"{shown}, epoch {told['epoch']}"


def _hits(node: str, faults: Sequence[ExecutedFault], until: int) -> Iterator[Row]:
    for fault in faults:
        if node in fault.nodes:
            state = "cut" if fault.kind in _CUTTING else "hit"
            yield {"node": node, "state": state, **span(fault, until)}

"""What each node answered: how many operations, how they ended, and how long they took."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chaos.report.answers import Answers
from chaos.report.charts.style import OUTCOMES, QUANTILES, Spec, coloured, milliseconds, rows, whole

ANSWERS, WAITS = "answers", "waits"


def specs(names: Sequence[str]) -> dict[str, Spec]:
    """Two charts with a row for each of `names`: operations by outcome, and latency from median to maximum."""
    return {ANSWERS: whole(_answers(names)), WAITS: whole(_waits(names))}


def data(answered: Sequence[Answers]) -> dict[str, list[dict[str, Any]]]:
    """The rows that both charts draw."""
    counts = [
        {"node": who.name, "outcome": outcome, "count": who.counts[outcome]}
        for who in answered
        for outcome in OUTCOMES
        if who.counts[outcome]
    ]
    waits = [
        {"node": who.name, **{name: max(ms, 0.001) for name, ms in who.latency_ms.items()}}
        for who in answered
        if who.latency_ms
    ]
    return {"answers": counts, "waits": waits}


def _answers(names: Sequence[str]) -> Spec:
    x = {"field": "count", "type": "quantitative", "axis": {"title": None, "format": "~s", "tickCount": 5}}
    return {
        "height": 24 * len(names),
        "data": {"name": "answers"},
        "mark": {"type": "bar", "height": 16},
        "encoding": {
            "y": rows("node", names),
            "x": x,
            "color": coloured("outcome", OUTCOMES),
            "order": {"field": "outcome", "sort": "descending"},
            "tooltip": [{"field": "node"}, {"field": "outcome"}, {"field": "count", "format": ","}],
        },
    }


def _waits(names: Sequence[str]) -> Spec:
    def x(name: str) -> Spec:
        return {"field": name, "type": "quantitative", "scale": {"type": "log"}, "axis": milliseconds()}

    def dot(name: str) -> Spec:
        mark = {"type": "point", "filled": True, "opacity": 1, "size": 70, "color": f"var(--{name})"}
        return {"mark": mark, "encoding": {"x": x(name)}}

    tip = [{"field": "node"}, *({"field": name, "format": ",.3f"} for name in QUANTILES)]
    return {
        "height": 24 * len(names),
        "data": {"name": "waits"},
        "encoding": {"y": rows("node", names), "tooltip": tip},
        "layer": [
            {"mark": {"type": "rule", "color": "var(--rule)"}, "encoding": {"x": x("p50"), "x2": {"field": "max"}}},
            *(dot(name) for name in QUANTILES),
        ],
    }

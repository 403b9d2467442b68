"""How stale reads were: how many of them by how much, as the staleness checker measured it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chaos.report.charts.style import Spec, upright, whole
from checkers.staleness import BUCKETS_MS

STALENESS = "staleness"


def spec() -> Spec:
    """One bar for each stretch of staleness, in the order of the rows."""
    x = {
        "field": "stale",
        "type": "ordinal",
        "sort": None,
        "axis": {"title": None, "labelAngle": 0, "labelOverlap": True, "ticks": False},
    }
    y = upright("reads", axis={"format": "~s", "tickMinStep": 1})
    bar = {
        "type": "bar",
        "color": "var(--stale)",
        "width": {"band": 0.72},
        "cornerRadiusTopLeft": 3,
        "cornerRadiusTopRight": 3,
    }
    text = {"type": "text", "dy": -8, "fontSize": 11}
    return whole(
        {
            "height": 150,
            "data": {"name": "staleness"},
            "encoding": {"x": x, "y": y},
            "layer": [{"mark": bar}, {"mark": text, "encoding": {"text": {"field": "reads", "format": ","}}}],
        }
    )


def rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The histogram of the checker's metrics, the empty buckets before the last full one with it."""
    histogram = metrics.get("histogram_ms") or {}
    names = [*(f"up to {bound}" for bound in BUCKETS_MS), "more"]
    last = max((place for place, name in enumerate(names) if histogram.get(name)), default=-1)
    labels = [*(f"\u2264 {bound:,} ms" for bound in BUCKETS_MS), f"> {BUCKETS_MS[-1]:,} ms"]
    return [{"stale": labels[place], "reads": histogram.get(names[place], 0)} for place in range(last + 1)]

"""How stale reads were: how many of them by how much, as the staleness checker measured it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chaos.report.charts.style import Spec, upright, whole

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
    bar = {"type": "bar", "color": "var(--stale)", "cornerRadiusTopLeft": 3, "cornerRadiusTopRight": 3}
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
    """The histogram of the checker's metrics, each bucket with its unit: `up to 30 ms`."""
    histogram = metrics.get("histogram_ms") or {}
    return [{"stale": name if name == "more" else f"{name} ms", "reads": count} for name, count in histogram.items()]

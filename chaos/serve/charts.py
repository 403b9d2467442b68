"""The charts of the results browser's own pages: anomalies from run to run, and where in a run operations are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chaos.report.charts.style import OUTCOMES, SECONDS, Spec, coloured, stretch, upright, whole
from chaos.serve.catalogue import Summary

TREND, DENSITY = "trend", "density"
_LABELS = {"labels": False, "ticks": False, "title": None, "domain": True}


def specs() -> dict[str, Spec]:
    """Both charts, by name."""
    return {TREND: whole(_trend()), DENSITY: whole(_density(), (0, 1))}


def trend(runs: Sequence[Summary], links: Sequence[str]) -> list[dict[str, Any]]:
    """One row for each run, in their order; each leads to one of the links."""
    return [
        {"run": number, "name": run.name, "anomalies": run.anomalies, "link": link, "state": run.state}
        for number, (run, link) in enumerate(zip(runs, links, strict=True))
    ]


def density(starts_ns: NDArray[np.int64], counts: dict[str, NDArray[np.int64]]) -> list[dict[str, Any]]:
    """One row for each stretch of the run and outcome that has operations; outcomes stand on one another."""
    wide = float(starts_ns[1] - starts_ns[0]) / 1e9 if len(starts_ns) > 1 else 1.0
    rows = []
    for place, start in enumerate((starts_ns / 1e9).tolist()):
        low = 0
        for outcome in OUTCOMES:
            if count := int(counts[outcome][place]):
                told = f"{count:,} {outcome} from {start:.3f} s"
                rows.append(
                    {"a": start, "b": start + wide, "outcome": outcome, "low": low, "high": low + count, "told": told}
                )
                low += count
    return rows


def _trend() -> Spec:
    return {
        "height": 100,
        "data": {"name": "runs"},
        "mark": {
            "type": "bar",
            "color": "var(--fail)",
            "cursor": "pointer",
            "width": {"expr": "min(bandwidth('x'), 40)"},
        },
        "encoding": {
            "x": {"field": "run", "type": "ordinal", "axis": _LABELS, "scale": {"paddingInner": 0.15}},
            "y": upright("anomalies", axis={"format": ",d", "tickMinStep": 1}),
            "href": {"field": "link"},
            "tooltip": [{"field": "name", "title": "run"}, {"field": "anomalies", "format": ","}, {"field": "state"}],
        },
    }


def _density() -> Spec:
    return {
        "height": 100,
        "data": {"name": "density"},
        "mark": {"type": "rect", "clip": True},
        "encoding": {
            "x": stretch("a", SECONDS),
            "x2": {"field": "b"},
            "y": upright("high", axis={"format": ",d", "tickMinStep": 1}, scale={"domainMin": 0}),
            "y2": {"field": "low"},
            "color": coloured("outcome", OUTCOMES),
            "tooltip": {"field": "told", "title": "operations"},
        },
    }

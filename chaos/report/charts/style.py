"""What specifications have in common: how they look, and the stretch of an axis that is shown.

Colours are custom properties of the page's style sheet, which SVG understands: so a chart is light or dark as the page
is, without being drawn again. Charts say nothing to screen readers: the figure around them has a name and a table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Spec = dict[str, Any]
"""A Vega-Lite specification, or a part of one."""

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
"""Names the version of the language; nothing is fetched from there."""
OUTCOMES = ("ok", "fail", "info")
QUANTILES = ("p50", "p99", "max")
"""Of latencies."""
GUTTER = 62
"""Pixels left of every plot for the labels of its axis, so that plots under each other have one axis of time."""

_FONT = "system-ui, sans-serif"
_AXIS = {
    "domainColor": "var(--rule)",
    "gridColor": "var(--rule)",
    "tickColor": "var(--rule)",
    "labelColor": "var(--soft)",
    "titleColor": "var(--soft)",
    "labelFont": _FONT,
    "labelFontSize": 11,
    "titleFont": _FONT,
    "titleFontWeight": 600,
}
_CONFIG = {
    "aria": False,
    "background": "transparent",
    "font": _FONT,
    "axis": _AXIS,
    "view": {"stroke": None},
    "text": {"color": "var(--ink)", "font": _FONT},
}


def whole(spec: Spec, shown: Sequence[float] | None = None) -> Spec:
    """A complete specification: as wide as its place, and with `shown` able to show only a stretch of its axis."""
    zoom = [{"name": name, "value": value} for name, value in zip(("since", "until"), shown or (), strict=False)]
    params = [*zoom, *spec.get("params", [])]
    common = {"$schema": SCHEMA, "config": _CONFIG, "autosize": {"type": "fit-x", "contains": "padding"}}
    return {"width": "container", **common, **spec, **({"params": params} if params else {})}


def colours(names: Sequence[str]) -> Spec:
    """A scale that gives each name the colour of that name."""
    return {"domain": list(names), "range": [f"var(--{name})" for name in names]}


def coloured(field: str, names: Sequence[str]) -> Spec:
    """The encoding of a field by colour; the legend is the page's."""
    return {"field": field, "type": "nominal", "scale": colours(names), "legend": None}


def stretch(field: str, axis: Mapping[str, Any]) -> Spec:
    """The encoding of a field by the horizontal axis, of which `since` to `until` is shown (see `whole`)."""
    scale = {"domain": [{"expr": "since"}, {"expr": "until"}], "nice": False, "zero": False}
    return {"field": field, "type": "quantitative", "scale": scale, "axis": dict(axis)}


SECONDS: Spec = {"title": None, "labelExpr": "datum.label + ' s'", "labelOverlap": True, "tickCount": 8}
"""The axis of time in seconds."""


def milliseconds() -> Spec:
    """The axis of a logarithmic scale of milliseconds; marks that are not within it are left out."""
    marks = [float(f"{digit}e{power}") for power in range(-3, 7) for digit in (1, 3)]
    label = "format(datum.value, '~r') + ' ms'"
    return {"values": marks, "labelExpr": label, "labelOverlap": "greedy", "title": None}


def upright(field: str, title: str | None = None, **more: Any) -> Spec:
    """The encoding of a number by the vertical axis, with its labels in the gutter."""
    axis = {"title": title, "minExtent": GUTTER, "maxExtent": GUTTER, "tickCount": 4, **more.pop("axis", {})}
    return {"field": field, "type": "quantitative", "axis": axis, **more}


def rows(field: str, names: Sequence[str]) -> Spec:
    """The encoding of a name by a row: one for each of `names`, in their order."""
    axis = {
        "title": None,
        "minExtent": GUTTER,
        "maxExtent": GUTTER,
        "labelLimit": GUTTER,
        "domain": False,
        "ticks": False,
    }
    return {"field": field, "type": "nominal", "scale": {"domain": list(names)}, "axis": axis}

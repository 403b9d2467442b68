"""The report's timeline: charts over the time of the run, what their colours mean, and their numbers as tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

from chaos.report.charts import timeline as drawn
from chaos.report.charts.embed import Charts, figure, zoom
from chaos.report.charts.style import QUANTILES
from chaos.report.markup import Html, join, tag
from chaos.report.series import Segment, Timeline, end_of, roles, timeline
from chaos.report.tables import folded, table
from chaos.report.words import seconds
from checkers.history import History
from nemeses.fault import ExecutedFault

AXIS = "run"
"""The axis that the charts of the timeline share."""
_LEGENDS = {
    "throughput": ("ok",),
    "errors": ("fail", "info"),
    "latency": QUANTILES,
}
_NAMES = {
    "cut": "cut off",
    "hit": "hit by another fault",
    "down": "down (does not answer)",
    "refusing": "refusing (sees the cluster as failed)",
}
_HEADINGS = {
    "faults": "Faults, from when they were seen to hold until they were undone",
    "throughput": "Operations a second that were answered",
    "errors": "Operations a second that were refused (fail), or of which nobody knows (info)",
    "latency": "Latency of ok operations: median, 99th percentile and maximum (logarithmic)",
    "roles": "What each node said it was, and what was done to it",
}


def timeline_section(charts: Charts, history: History, executed: Sequence[ExecutedFault]) -> Html:
    """The charts, each in a figure with a legend, and then the tables."""
    until = max(end_of(history), 1)
    series, nodes = timeline(history), roles(history)
    faults = [fault for fault in executed if fault.injected_ns is not None]
    data = drawn.data(series, nodes, faults, until)
    charts.define(drawn.specs(data, list(nodes)))
    charts.share(AXIS, data)
    shown = [
        name for name in _HEADINGS if not (name == "faults" and not faults) and not (name == "roles" and not nodes)
    ]
    seen = {row["state"] for row in (*data["roles"], *data["hits"])}
    legends = _LEGENDS | {"roles": [state for state in (*drawn.STATES, *drawn.HITS) if state in seen]}
    figures = [_figure(charts, name, legends.get(name, ()), until / 1e9) for name in shown]
    unknown = Html() if nodes else tag("p", "The history does not say what each node was.", class_="meaning")
    per = f"per {series.bucket_ns // 1_000_000} ms"
    tables = [
        folded("Faults as a table", _fault_table(faults)) if faults else Html(),
        folded(f"Operations a second and latency as a table ({per})", _bucket_table(series)),
        folded("Roles of nodes as a table", _role_table(nodes)) if nodes else Html(),
    ]
    return join(
        [
            zoom(AXIS, "timeline", more=tag("span", "or drag over a chart")) if len(charts) else Html(),
            *figures,
            unknown,
            *tables,
        ]
    )


def _figure(charts: Charts, name: str, colours: Sequence[str], until: float) -> Html:
    plot = charts.place(f"chart-{name}", _HEADINGS[name], [name], AXIS, axis=AXIS, whole={name: [0, until]})
    keys = {it: _NAMES.get(it, it) for it in colours}
    return figure(_HEADINGS[name], plot, keys=keys) if plot else Html()


def _fault_table(faults: Sequence[ExecutedFault]) -> Html:
    rows = [
        [
            fault.number,
            fault.kind,
            ", ".join(f"{node} ({fault.roles[node]})" if node in fault.roles else node for node in fault.nodes),
            seconds(fault.injected_ns or 0),
            "never" if fault.healed_ns is None else seconds(fault.healed_ns),
        ]
        for fault in faults
    ]
    return table(["number", "fault", "nodes", "from", "to"], rows)


def _bucket_table(series: Timeline) -> Html:
    rows = [
        [
            seconds(start),
            *(f"{series.rates[outcome][place]:,.0f}" for outcome in ("ok", "fail", "info")),
            *(_milliseconds(float(series.latency_ms[name][place])) for name in QUANTILES),
        ]
        for place, start in enumerate(series.starts.tolist())
    ]
    return table(["from", "ok", "fail", "info", *(f"{name}, ms" for name in QUANTILES)], rows)


def _milliseconds(value: float) -> str:
    return "" if math.isnan(value) else f"{value:,.2f}"


def _role_table(nodes: dict[str, list[Segment]]) -> Html:
    rows = [
        [node, seconds(segment.start), seconds(segment.end), drawn.state_of(segment)]
        for node, segments in nodes.items()
        for segment in segments
    ]
    return table(["node", "from", "to", "what it was"], rows)

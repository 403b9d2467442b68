"""What the report shows of measurements beside anomalies: how stale reads were, and what each node answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chaos.report.answers import answers
from chaos.report.charts import nodes, staleness
from chaos.report.charts.embed import Charts, figure
from chaos.report.charts.style import OUTCOMES, QUANTILES
from chaos.report.markup import Html, join, tag
from chaos.report.tables import table
from chaos.result import Result
from checkers.history import History


def staleness_section(charts: Charts, result: Result) -> Html:
    """How many reads were stale by how much, for how many; words alone where none was."""
    finding = result.findings.get("staleness")
    metrics: Mapping[str, Any] = finding.metrics if finding else {}
    if not metrics.get("checked"):
        return tag("p", "No read of this run is of a kind whose staleness can be measured.")
    back = _rolled_back(metrics)
    if not metrics.get("stale"):
        return tag("p", f"None of {metrics['checked']:,} reads was stale.{back}")
    bars = staleness.rows(metrics)
    charts.define({staleness.STALENESS: staleness.spec()})
    heading = "Stale reads by how stale they were"
    plot = charts.place("chart-staleness", heading, [staleness.STALENESS], {"staleness": bars})
    quantiles = {**(metrics.get("quantiles_ms") or {}), "max": metrics.get("max_ms", 0.0)}
    said = (
        f"{metrics['stale']:,} of {metrics['checked']:,} reads were stale, at the most by {metrics['max_ms']:,.1f} ms "
        f"and {metrics.get('max_versions', 0):,} versions.{back}"
    )
    by = [
        [who, f"{group['stale']:,}", f"{group['max_ms']:,.1f} ms"]
        for who, group in {**metrics.get("by_answerer", {}), **metrics.get("by_node", {})}.items()
    ]
    return join(
        [
            tag("p", said),
            figure(heading, plot) if plot else Html(),
            tag(
                "div",
                table(["stale", "reads"], [[bar["stale"], f"{bar['reads']:,}"] for bar in bars]),
                table(["quantile", "stale by"], [[name, f"{value:,.1f} ms"] for name, value in quantiles.items()]),
                table(["answered by", "stale reads", "at most"], by),
                class_="beside",
            ),
        ]
    )


def _rolled_back(metrics: Mapping[str, Any]) -> str:
    count = metrics.get("rolled_back")
    if not count:
        return ""
    most = f"by up to {metrics['rolled_back_max_ms']:,.1f} ms"
    return f" Not counted: {count:,} reads {most} that only writes contradict which were lost (rolled-back reads)."


def nodes_section(charts: Charts, history: History) -> Html:
    """Operations by the node that answered them, and how long they took there."""
    answered = answers(history)
    names = [who.name for who in answered]
    charts.define(nodes.specs(names))
    data = nodes.data(answered)
    figures = []
    for name, heading, keys in (
        (nodes.ANSWERS, "Operations by the node that answered", OUTCOMES),
        (nodes.WAITS, "Latency of ok operations (logarithmic)", QUANTILES),
    ):
        if not data[name]:
            continue
        plot = charts.place(f"chart-{name}", heading, [name], {name: data[name]})
        if plot:
            figures.append(figure(heading, plot, keys={key: key for key in keys}))
    rows = [
        [
            who.name,
            *(f"{who.counts[outcome]:,}" for outcome in OUTCOMES),
            *(f"{who.latency_ms[name]:,.2f} ms" if who.latency_ms else "" for name in QUANTILES),
        ]
        for who in answered
    ]
    listed = table(["node", *OUTCOMES, *QUANTILES], rows)
    return join([tag("div", *figures, class_="beside") if figures else Html(), listed])

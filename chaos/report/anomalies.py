"""The report's anomalies.

Each has its sentence, its operations as intervals and in a table, and its cycle if it is one; the first of each kind
has what the servers logged around it as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from chaos.report.charts import cycle, intervals
from chaos.report.charts.embed import Charts, figure, zoom
from chaos.report.charts.timeline import name_of
from chaos.report.logs import Line, around
from chaos.report.markup import Html, join, tag
from chaos.report.series import rows_by_index
from chaos.report.story import describe
from chaos.report.tables import folded, operation_cells, table
from chaos.report.timeline import AXIS
from chaos.report.words import by_kind, counted, counts, kind, seconds, text, worst
from chaos.result import Result
from checkers.events import NEVER
from checkers.finding import Anomaly
from checkers.history import History
from nemeses.fault import ExecutedFault

MOST_SHOWN = 160
"""Anomalies on the page, the first of each kind before the second of any; results.json lists more."""
_MOST_ROWS = 640
"""Operations of all of them together."""
_MOST_OF_A_KIND = 40
_OPEN = 2
"""Anomalies of one kind that are shown with their operations unfolded."""
_MOST_OPERATIONS = 12
"""Operations of one anomaly on the page: the most important come first."""
_MARGIN_NS = 500_000_000
"""Shown of the timeline before and after the operations of an anomaly."""


@dataclass
class Anomalies:
    """Writes the anomalies of one run."""

    charts: Charts
    result: Result
    history: History
    faults: dict[int, ExecutedFault]
    logs: Sequence[Line]
    number: int = 0
    """Of the latest anomaly that was written."""
    rows: dict[int, int] = field(default_factory=dict)
    """Row numbers of the operations that the page shows, by index."""

    def section(self) -> Html:
        """All kinds, the worst first."""
        total = counts(self.result)
        if not total:
            return tag("p", "None was found.")
        self.charts.define(intervals.specs() | {cycle.CYCLE: cycle.spec()})
        shown = set(map(id, self._chosen()))
        kinds = {
            name: [anomaly for anomaly in anomalies if id(anomaly) in shown][:_MOST_OF_A_KIND]
            for name, anomalies in by_kind(self.result).items()
        }
        indexes = (index for anomalies in kinds.values() for it in anomalies for index in it.operations)
        self.rows = rows_by_index(self.history.operations, indexes)
        return join([self._kind(name, anomalies, total[name]) for name, anomalies in kinds.items()])

    def _chosen(self) -> list[Anomaly]:
        """The anomalies to show, as many as there is room for, but one of each kind at least."""
        candidates = worst(self.result, MOST_SHOWN)
        sizes = accumulate(min(len(anomaly.operations), _MOST_OPERATIONS) for anomaly in candidates)
        least = len(counts(self.result))
        return [
            anomaly
            for place, (anomaly, rows) in enumerate(zip(candidates, sizes, strict=True))
            if place < least or rows <= _MOST_ROWS
        ]

    def _kind(self, name: str, anomalies: Sequence[Anomaly], total: int) -> Html:
        meaning = kind(name).meaning
        parts: list[object] = [tag("h3", counted(name, total), id=f"kind-{name}", data_kind=name, data_count=total)]
        if meaning:
            parts.append(tag("p", f"{meaning[:1].upper()}{meaning[1:]}.", class_="meaning"))
        parts += [self._anomaly(anomaly, place) for place, anomaly in enumerate(anomalies)]
        if total > len(anomalies):
            rest = (
                f"{total - len(anomalies):,} more are counted here and not shown; results.json lists the first of them."
            )
            parts.append(tag("p", rest, class_="meaning"))
        return join(parts)

    def _anomaly(self, anomaly: Anomaly, place: int) -> Html:
        self.number += 1
        rows = [self.rows[index] for index in anomaly.operations[:_MOST_OPERATIONS] if index in self.rows]
        fault = self.faults.get(anomaly.fault) if anomaly.fault is not None else None
        more = len(anomaly.operations) - _MOST_OPERATIONS
        content: list[object] = []
        if rows:
            content += [self._intervals(rows, fault), self._operations(rows)]
        if more > 0:
            content.append(tag("p", f"and {more:,} more operations, see results.json", class_="meaning"))
        if anomaly.edges:
            content.append(self._cycle(anomaly))
        if anomaly.measured:
            figures = ", ".join(f"{name} {text(value)}" for name, value in anomaly.measured.items())
            content.append(tag("p", f"Measured: {figures}", class_="meaning"))
        if rows and place == 0:
            content.append(self._logged(rows, fault))
        return tag(
            "details",
            tag("summary", anomaly.explanation),
            *content,
            open=place < _OPEN,
            id=f"anomaly-{self.number}",
            class_="anomaly",
            data_kind=anomaly.kind,
        )

    def _intervals(self, rows: Sequence[int], fault: ExecutedFault | None) -> Html:
        drawn = intervals.chart(self.history.operations, rows, fault)
        axis, label = f"anomaly-{self.number}", f"{len(rows)} operations in the order of time"
        plot = self.charts.place(
            f"intervals-{self.number}",
            label,
            [intervals.IN_ORDER, intervals.TO_SCALE],
            drawn["data"],
            axis=axis,
            params=drawn["params"],
            whole=drawn["whole"],
            height=drawn["height"],
        )
        if not plot:
            return Html()
        first, last = drawn["span"]
        window = f"{max(first - _MARGIN_NS, 0) / 1e9:.6f} {(last + _MARGIN_NS) / 1e9:.6f}"
        shade = tag("span", tag("i", class_="key band"), f" {name_of(fault)}") if fault is not None else ""
        there = tag("a", "show in the timeline", href="#timeline", data_show=window, data_axis=AXIS)
        return tag("figure", zoom(axis, f"anomaly {self.number}", more=join([there, shade])), plot)

    def _operations(self, rows: Sequence[int]) -> Html:
        return table(
            ["operation", "process", "what", "from", "to", "outcome", "node", ""],
            [operation_cells(self.history.operations, row, " ms") for row in rows],
        )

    def _cycle(self, anomaly: Anomaly) -> Html:
        names = {index: f"T{number}" for number, index in enumerate(anomaly.operations, 1)}
        told = {
            index: describe(self.history.operations, row) for index in names if (row := self.rows.get(index, -1)) >= 0
        }
        plot = self.charts.place(
            f"cycle-{self.number}",
            f"Cycle of {len(names)} transactions: "
            + ", ".join(f"{names.get(it.before)} {it.relation} {names.get(it.after)}" for it in anomaly.edges),
            [cycle.CYCLE],
            cycle.data(anomaly.edges, anomaly.operations, told),
        )
        rows = [
            [
                names.get(it.before, it.before),
                it.relation,
                names.get(it.after, it.after),
                cycle.RELATIONS.get(it.relation, ""),
            ]
            for it in anomaly.edges
        ]
        listed = table(["from", "", "to", "because the first"], rows)
        return figure("The cycle: each must come before the next", plot, listed, class_="cycle")

    def _logged(self, rows: Sequence[int], fault: ExecutedFault | None) -> Html:
        """What servers logged near the operations and the fault, and nothing where they logged nothing."""
        operations = self.history.operations
        times = {int(time) for row in rows for time in (operations.start[row], operations.end[row])} - {NEVER}
        if fault is not None:
            times |= {time for time in (fault.injected_ns, fault.healed_ns) if time is not None}
        lines = around(self.logs, times)
        if not lines:
            return Html()
        cells = [[seconds(line.time), line.node, tag("code", line.text)] for line in lines]
        heading = f"What the servers logged around it: {len(lines)} lines, at the time of the run by their own clocks"
        return folded(heading, table(["time", "node", "line"], cells), class_="log")

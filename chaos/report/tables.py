"""Tables of the pages that people look at: of the report, and of the results browser."""

from __future__ import annotations

from collections.abc import Sequence

from chaos.report.charts.intervals import process_name
from chaos.report.markup import Html, tag
from chaos.report.story import describe
from chaos.report.words import text
from checkers.events import NEVER, TYPES
from checkers.history import Operations


def table(headings: Sequence[object], rows: Sequence[Sequence[object]]) -> Html:
    """A table that can be scrolled sideways where the page is narrow."""
    head = tag("thead", tag("tr", *(tag("th", heading, scope="col") for heading in headings)))
    body = tag("tbody", *(tag("tr", *(tag("td", cell) for cell in row)) for row in rows))
    return tag("div", tag("table", head, body), class_="wide")


def folded(heading: str, content: object, class_: str = "numbers-of") -> Html:
    """Content that is unfolded by its heading."""
    return tag("details", tag("summary", heading), content, class_=class_)


def operation_cells(operations: Operations, row: int, unit: str = "") -> list[object]:
    """Index, process, what was done, beginning and end in milliseconds (followed by `unit`), outcome, node, details."""
    start, end = int(operations.start[row]), int(operations.end[row])
    details = {name: value for name, value in operations.details.get(row, {}).items() if value}
    return [
        int(operations.index[row]),
        process_name(int(operations.process[row])),
        tag("code", describe(operations, row)),
        f"{start / 1e6:,.3f}{unit}",
        "never" if end == NEVER else f"{end / 1e6:,.3f}{unit}",
        TYPES[operations.type[row]],
        operations.node_name(row) or "",
        ", ".join(f"{name}: {text(value)}" for name, value in details.items()),
    ]

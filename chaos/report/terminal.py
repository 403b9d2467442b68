"""The end of a run in a terminal, and the same words as plain text for a failing test."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from chaos.report.words import GLYPHS, cut, in_passing, judged, measured, printable, sentence, worst
from chaos.result import Result
from checkers.finding import Verdict

_MOST_STORY = 12
_STORY_LETTERS = 160
"""Of a line of the story: the worst anomalies follow whole, and the report tells the rest."""
_STYLES = {True: "green", False: "red", None: "yellow"}

Line = tuple[str, str]
"""A style of rich and a line of text."""


def print_verdict(console: Console, result: Result, run_dir: Path) -> None:
    """Print the verdict in one sentence and the directory of the run: what `--quiet` leaves."""
    good = judged(result)
    console.print(Text(printable(f"{GLYPHS[good]} {sentence(result)}"), style=f"bold {_STYLES[good]}"), soft_wrap=True)
    console.print(Text(printable(_short(run_dir))), soft_wrap=True)


def print_summary(console: Console, result: Result, run_dir: Path, story: Sequence[str]) -> None:
    """Print what a run came to: verdict, claims, story, the three worst anomalies, the report, the way to repeat it.

    In a terminal long lines are folded under their own beginning; elsewhere they are left whole for grep.
    """
    for style, line in _summary(result, run_dir, story):
        folded = _fold(line, console.width) if console.is_terminal else [line]
        for part in folded:
            console.print(Text(part, style=style), soft_wrap=True)


def explain(result: Result, run_dir: Path | None = None, story: Sequence[str] = ()) -> str:
    """The same as plain text: what a failing test prints."""
    return "\n".join(line for _, line in _summary(result, run_dir, story))


def _summary(result: Result, run_dir: Path | None, story: Sequence[str]) -> Iterator[Line]:
    for style, line in _lines(result, run_dir, story):
        yield style, printable(line)


def _lines(result: Result, run_dir: Path | None, story: Sequence[str]) -> Iterator[Line]:
    good = judged(result)
    yield f"bold {_STYLES[good]}", f"{GLYPHS[good]} {sentence(result)}"
    if result.error:
        yield "yellow", f"  The run did not go as planned: {result.error}"
    if result.claims:
        yield "", ""
        yield from _claims(result)
    yield "", ""
    yield "", f"  operations: {_operations(result)}"
    yield from (("", f"  {f'{about}:':<11} {words}") for about, words in in_passing(result).items())
    yield from (("yellow", f"  {name}: unknown: {reason}") for name, reason in _doubts(result))
    if story:
        yield "", ""
        yield "bold", "What happened"
        yield from (("", f"  {cut(line, _STORY_LETTERS)}") for line in _shortened(story))
    if anomalies := worst(result):
        yield "", ""
        yield "bold", "Worst anomalies"
        yield from (("", f"  {anomaly.kind}: {anomaly.explanation}") for anomaly in anomalies)
    yield "", ""
    if run_dir is not None:
        yield "", f"  report     {_short(run_dir / 'report.html')}"
    yield "", f"  reproduce  {result.reproduce}"


def _claims(result: Result) -> Iterator[Line]:
    width = max(len(claim.claim) for claim in result.claims)
    for claim in result.claims:
        outcome = f"unknown: {claim.reason}" if claim.holds is None else f"measured {measured(claim.measured)}"
        yield _STYLES[claim.holds], f"  {GLYPHS[claim.holds]} {claim.claim:<{width}}  {outcome}"


def _operations(result: Result) -> str:
    return ", ".join(f"{result.operations.get(name, 0):,} {name}" for name in ("ok", "fail", "info"))


def _doubts(result: Result) -> Iterator[tuple[str, str]]:
    """Checkers that could not decide, but for those that a claim tells already."""
    told = {claim.reason for claim in result.claims}
    for name, finding in result.findings.items():
        if finding.verdict is Verdict.UNKNOWN and f"{name}: {finding.reason}" not in told:
            yield name, finding.reason or "no reason given"


def _shortened(story: Sequence[str]) -> list[str]:
    if len(story) <= _MOST_STORY:
        return list(story)
    left_out = f"{'...':>11}  {len(story) - _MOST_STORY + 1} more, see the report"
    return [*story[: _MOST_STORY - 4], left_out, *story[-3:]]


def _fold(line: str, width: int) -> list[str]:
    """Fold a line so that its continuation stands under its text, right of a time or a mark."""
    body = line.lstrip()
    head, gap, _ = body.partition("  ")
    indent = len(line) - len(body) + (len(head) + 2 if gap and len(head) < 24 else 0)
    return textwrap.wrap(line, max(width, 40), subsequent_indent=" " * indent, break_on_hyphens=False) or [""]


def _short(path: Path) -> str:
    """The path as a person would type it here."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)

"""`cachequake check FILE...`: histories of any origin, judged by the verdict of the findings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from chaos.errors import BadInput
from chaos.result import VERDICT_EXIT_CODES
from chaos.units import duration
from checkers.files import check_file
from checkers.finding import Verdict, merge
from checkers.history import HistoryError

MOST_SHOWN = 3


def check_files(
    paths: Sequence[str],
    model: str | None,
    initial: str | None,
    names: Sequence[str],
    budget: str,
    null_reads: str,
    as_json: bool,
    quiet: bool = False,
) -> int:
    """Check each file and print its answer; the exit code is 0 all valid, 1 any invalid, 2 otherwise.

    Only the verdict of each is printed when `quiet`. Raises BadInput for an option that is wrong, and for a file
    that is no history.
    """
    try:
        value = None if initial is None else msgspec.json.decode(initial)
    except msgspec.MsgspecError as error:
        raise BadInput(f"--initial {initial}: not JSON: {error}") from error
    verdicts = []
    for path in paths:
        try:
            answer = check_file(path, model, value, names or None, duration(budget) / 1000, null_reads)
        except (HistoryError, ValueError) as error:
            raise BadInput(str(error)) from error
        verdicts.append(Verdict(answer["verdict"]))
        words = msgspec.json.encode(answer).decode() if as_json else _in_words(answer)
        click.echo(words.partition("\n")[0] if quiet else words)
    return VERDICT_EXIT_CODES[merge(verdicts)]


def _in_words(answer: dict[str, Any]) -> str:
    seconds = answer["seconds"]
    model = answer["model"] or "no single model"
    took = f"read in {seconds['read']:.2f} s, checked in {seconds['check']:.2f} s"
    lines = [f"{Path(answer['file']).name}: {answer['verdict']} ({answer['operations']:,} operations, {model}; {took})"]
    for finding in answer["findings"]:
        counts = ", ".join(f"{count} {kind}" for kind, count in finding["counts"].items())
        lines.append(f"  {finding['checker']}: {counts or finding['reason'] or finding['verdict']}")
        lines += [f"    {anomaly['kind']}: {anomaly['explanation']}" for anomaly in finding["anomalies"][:MOST_SHOWN]]
    return "\n".join(lines)

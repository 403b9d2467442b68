"""Golden histories: small ones kept on disk, with what the checkers must say of them, and their anomalies drawn.

`NAME.jsonl` is the history. `NAME.expected.json` has the findings by checker: verdict, counts, metrics
and every anomaly, word for word. `NAME.txt` draws the operations of each anomaly as intervals under the checker and
kind that found it, or the whole history where nothing is wrong.

To add one, write the history and run `python tests/support/golden.py NAME CHECKER...`, then read what it wrote: only
you can say whether it is right.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from checkers import CHECKERS, Checker, Finding, History, load
from checkers.choose import check_linearizability
from checkers.drawing import draw, rows_of
from checkers.sets import check_sets

EVERY: dict[str, Checker] = {**CHECKERS, "linearizability": check_linearizability, "sets": check_sets}
"""As one asks of a file of any origin: objects of any model, not only the registers of a run."""
GOLDEN = Path(__file__).parents[1] / "golden"
NAMES = sorted(path.name.removesuffix(".jsonl") for path in GOLDEN.glob("*.jsonl"))
MEASURES_OF_WORK = ("configurations", "components", "components_not_searched")
"""Metrics that say how hard it was to decide, and may change when that is done better."""


def history(name: str) -> History:
    return load(GOLDEN / f"{name}.jsonl")


def expected(name: str) -> dict[str, dict[str, Any]]:
    """The findings that the file wants, by checker."""
    wanted: dict[str, dict[str, Any]] = msgspec.json.decode((GOLDEN / f"{name}.expected.json").read_bytes())
    return wanted


def plain(finding: Finding) -> dict[str, Any]:
    """A finding as the file has it."""
    found: dict[str, Any] = msgspec.to_builtins(finding)
    return {
        "verdict": found["verdict"],
        "reason": found["reason"],
        "counts": found["counts"],
        "metrics": {name: value for name, value in found["metrics"].items() if name not in MEASURES_OF_WORK},
        "anomalies": found["anomalies"],
    }


def drawing(run: History, findings: Mapping[str, Finding]) -> str:
    """Every anomaly drawn under its name; the whole history where there is none."""
    parts = []
    for checker, finding in findings.items():
        for anomaly in finding.anomalies:
            shown = draw(run, rows_of(run.operations, anomaly.operations)) or "(what the nodes say, not operations)"
            parts.append(f"{checker}: {anomaly.kind}\n{shown}\n")
    return "\n".join(parts) or f"nothing is wrong\n{draw(run, range(len(run.operations)))}\n"


def write(name: str, checkers: Iterable[str]) -> None:
    """Write down what these checkers say of a history now."""
    run = history(name)
    findings = {checker: EVERY[checker](run) for checker in checkers}
    verdicts = {checker: plain(finding) for checker, finding in findings.items()}
    text = msgspec.json.format(msgspec.json.encode(verdicts), indent=2).decode()
    (GOLDEN / f"{name}.expected.json").write_text(f"{text}\n")
    (GOLDEN / f"{name}.txt").write_text(drawing(run, findings))


if __name__ == "__main__":
    write(sys.argv[1], sys.argv[2:])

"""From a run directory to its result: merge the history, run the checkers, judge the claims, write the report."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

import checkers
from chaos.claims import judge
from chaos.plan import read_plan
from chaos.report.html import write_report
from chaos.report.markdown import write_markdown
from chaos.result import CLAIMS_HOLD, CLAIMS_UNKNOWN, Result, Server
from chaos.store import PLAN, Executed, finish_history, read_executed
from checkers.events import TYPES
from checkers.finding import merge
from checkers.history import History


def check_run(run_dir: Path) -> Result:
    """Check what a run recorded, and write `results.json`, `report.html` and `report.md` into its directory.

    Works on the run of a killed controller as well: what was recorded until then is checked.
    """
    history = checkers.load(finish_history(run_dir))
    executed = read_executed(run_dir)
    result = _result(run_dir, history, executed)
    result.save(run_dir)
    write_report(run_dir, result, history, executed.faults)
    write_markdown(run_dir, result)
    return result


def _result(run_dir: Path, history: History, executed: Executed) -> Result:
    plan = read_plan(run_dir / PLAN)
    findings = checkers.check(history)
    claims_verdict, claims = judge(plan.scenario.claims, findings)
    if executed.error and claims_verdict == CLAIMS_HOLD:
        claims_verdict = CLAIMS_UNKNOWN  # what was claimed was not put to the test that the scenario describes
    name, _, version = str(history.header.get("server", "")).partition(" ")
    types = np.bincount(history.operations.type, minlength=len(TYPES))
    return Result(
        run=run_dir.name,
        scenario=plan.scenario.name,
        seed=plan.seed,
        server=Server(name, version),
        deployment=str(history.header.get("deployment", plan.scenario.deploy)),
        verdict=merge(finding.verdict for finding in findings.values()),
        claims_verdict=claims_verdict,
        operations={outcome: int(types[code]) for code, outcome in enumerate(TYPES)},
        findings=findings,
        claims=claims,
        reproduce=f"cachequake replay {_short(run_dir)}",
        error=executed.error,
    )


def _short(path: Path) -> str:
    """The path as a person would type it here."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)

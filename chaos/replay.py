"""Run the plan of an earlier run again, with its faults on the roles that were hit, and compare what is found.

On real machines time is not repeatable, so a replay does not promise the same bytes; it runs the same operations of
the same clients, strikes the same roles with the same faults when the load has come as far as it had then, and says
which kinds of anomaly came back. In virtual time nothing of that is needed: the plan alone gives the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from chaos.claims import broken_kinds
from chaos.judge import check_run
from chaos.plan import Plan, read_plan
from chaos.result import Result, read_result
from chaos.run import Listener, run_plan
from chaos.store import PLAN, Executed, finish_history, read_executed
from checkers.finding import Verdict
from checkers.history import History, Operations, load
from nemeses.fault import ExecutedFault, PlannedFault, Reached

_ROLE = re.compile(r"(primary|replica) of slots? (\d+)")


@dataclass(frozen=True)
class Replay:
    """What came back: counts of anomalies by kind, in the first run and in the replay."""

    run_dir: Path
    result: Result
    """Of the replay."""
    before: dict[str, int]
    after: dict[str, int]
    wanted: set[str]
    """Kinds that must come back: those that broke a claim of the first run; where none did, all that it had."""
    undecided: bool
    """Whether a checker could not decide about the replay, so that what is missing may only not have been seen."""

    @property
    def missing(self) -> list[str]:
        """Wanted kinds that the replay had not."""
        return sorted(self.wanted - self.after.keys())

    @property
    def exit_code(self) -> int:
        """0 every wanted kind came back, 1 one did not, 2 that could not be decided."""
        return 0 if not self.missing else 2 if self.undecided else 1

    def in_words(self) -> str:
        """One line a kind."""
        if not self.before and not self.after:
            return "neither run had an anomaly"
        kinds = sorted(self.before.keys() | self.after.keys())
        rows = [f"{kind}: {self.before.get(kind, 0)} before, {self.after.get(kind, 0)} now" for kind in kinds]
        verdict = "came back" if not self.missing else f"did not come back: {', '.join(self.missing)}"
        return "\n".join([*rows, verdict])

    def to_json(self) -> str:
        """What `replay --json` prints."""
        fields = {
            "run": str(self.run_dir),
            "before": self.before,
            "after": self.after,
            "wanted": sorted(self.wanted),
            "missing": self.missing,
            "came_back": not self.missing,
        }
        return msgspec.json.format(msgspec.json.encode(fields), indent=2).decode()


def replay_run(
    run_dir: Path,
    *,
    server: str | None = None,
    image: str | None = None,
    deploy: str | None = None,
    out: Path,
    on_progress: Listener | None = None,
    allow_faults_on: Collection[str] = (),
) -> Replay:
    """Run the plan of `run_dir` again, on another deployment if `deploy` names one.

    Raises what `chaos.run.run_plan` raises.
    """
    first = read_result(run_dir) if (run_dir / "results.json").is_file() else check_run(run_dir)
    plan = read_plan(run_dir / PLAN)
    if deploy is not None:
        plan = msgspec.structs.replace(plan, scenario=msgspec.structs.replace(plan.scenario, deploy=deploy))
    before = first.counts
    wanted = broken_kinds(plan.scenario.claims, first.findings) or set(before)
    if plan.scenario.deploy != "virtual":
        executed = read_executed(run_dir)
        plan = at_same_progress(as_executed(plan, executed), executed, load(finish_history(run_dir)))
    again = run_plan(
        plan, server=server, image=image, out=out, on_progress=on_progress, allow_faults_on=allow_faults_on
    )
    undecided = any(finding.verdict is Verdict.UNKNOWN for finding in again.result.findings.values())
    return Replay(again.run_dir, again.result, before, again.result.counts, wanted, undecided)


def as_executed(plan: Plan, executed: Executed) -> Plan:
    """The plan with every choice of a target that was left to the system's state replaced by who was named."""
    struck = {fault.number: fault for fault in executed.faults}
    return msgspec.structs.replace(plan, faults=[_pinned(fault, struck.get(fault.number)) for fault in plan.faults])


def at_same_progress(plan: Plan, executed: Executed, history: History) -> Plan:
    """The plan with every fault struck when a client has begun as many operations as it had when it was struck first.

    That is the client which was the last to begin one. A fault is not moved to before half of its time or after twice
    its time, nor so late that its length does not fit into the run any more (unless it never did).
    """
    struck = {fault.number: fault.struck_ns for fault in executed.faults}
    faults = [_when(fault, struck.get(fault.number), plan, history.operations) for fault in plan.faults]
    return msgspec.structs.replace(plan, faults=faults)


def _when(planned: PlannedFault, struck_ns: int | None, plan: Plan, operations: Operations) -> PlannedFault:
    if struck_ns is None:
        return planned
    before = np.flatnonzero((operations.start < struck_ns) & ~operations.final)
    if not len(before):
        return planned
    client = operations.process[before] % plan.scenario.clients.count
    last = int(client[-1])
    begun = int(np.count_nonzero(client == last))
    room_ms = plan.scenario.duration_ms - planned.for_ms
    latest_ms = max(planned.at_ms, min(2 * planned.at_ms, room_ms))
    return msgspec.structs.replace(planned, when=Reached(last, begun, planned.at_ms // 2, latest_ms))


def _pinned(planned: PlannedFault, executed: ExecutedFault | None) -> PlannedFault:
    roles = list(executed.resolved.values()) if executed is not None else []
    role = _ROLE.match(roles[0]) if len(roles) == 1 else None
    return planned if role is None else msgspec.structs.replace(planned, target=f"{role[1]} of slot {role[2]}")

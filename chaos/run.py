"""Carry out a plan: start the controller as a process of its own, listen to it, and check what it recorded.

The controller is a child because it may have to enter namespaces before its first thread, and because a pytest
session must survive whatever happens to it. The two share the run directory, and a pipe each way: progress comes up
as JSON lines, and closing the way down tells the controller to heal, stop and finish. So a parent that dies, however
it dies, takes the run down with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from chaos.deploy.base import NeedsLeave
from chaos.deploy.kinds import DEPLOYMENTS
from chaos.errors import BadInput, RunFailed
from chaos.judge import check_run
from chaos.plan import Plan, draw_seed, make_plan
from chaos.progress import Failure, Progress
from chaos.result import Result
from chaos.scenario import Scenario
from chaos.store import create_run_dir

Listener = Callable[[Progress], None]


@dataclass(frozen=True)
class Run:
    """A run that has ended: where it is and what it came to."""

    run_dir: Path
    result: Result


def run_scenario(
    scenario: Scenario,
    *,
    seed: int | None = None,
    server: str | None = None,
    image: str | None = None,
    out: Path = Path("runs"),
    on_progress: Listener | None = None,
    allow_faults_on: Collection[str] = (),
) -> Run:
    """Run a scenario and check it. `seed` goes before the scenario's own; without either one is drawn.

    On servers that somebody else runs, faults need `allow_faults_on`, which names every host.

    Raises BadInput when the deployment cannot do what the scenario asks, and RunFailed when the run could not be
    carried out; the run directory is kept in either case.
    """
    chosen = next(value for value in (seed, scenario.seed, draw_seed()) if value is not None)
    return run_plan(
        make_plan(scenario, chosen),
        server=server,
        image=image,
        out=out,
        on_progress=on_progress,
        allow_faults_on=allow_faults_on,
    )


def run_plan(
    plan: Plan,
    *,
    server: str | None = None,
    image: str | None = None,
    out: Path = Path("runs"),
    on_progress: Listener | None = None,
    allow_faults_on: Collection[str] = (),
) -> Run:
    """Run a plan as it stands and check it; see `run_scenario`."""
    kind = DEPLOYMENTS[plan.scenario.deploy]
    kind.refuse_impossible(plan, server, image)
    if isinstance(kind, NeedsLeave):
        kind.refuse_unallowed(plan, allow_faults_on)
    run_dir = create_run_dir(out, plan)
    listen = on_progress or (lambda progress: None)
    listen(Progress("start", 0, plan.scenario.duration_ms, note=f"run {run_dir.name}, seed {plan.seed}"))
    command = [*kind.prefix(), sys.executable, "-m", "chaos.controller", str(run_dir)]
    command += ["--server", server] if server else []
    command += ["--image", image] if image else []
    try:
        _control(command, {**os.environ, **kind.environment()}, run_dir, listen)
    finally:
        kind.clean(run_dir)
    listen(Progress("check", plan.scenario.duration_ms, plan.scenario.duration_ms))
    return Run(run_dir, check_run(run_dir))


def _control(command: list[str], environment: Mapping[str, str], run_dir: Path, listen: Listener) -> None:
    log = run_dir / "logs" / "controller.log"
    with log.open("wb") as errors:
        child = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,  # Ctrl-C is for us; the child hears of it through its closed input
        )
    failure = _listen(child, listen)
    if failure is not None and failure.bad_input:
        raise BadInput(failure.error)
    if failure is not None:
        raise RunFailed(f"{failure.error}; the run's logs are in {run_dir / 'logs'}")
    if child.returncode != 0:
        raise RunFailed(f"the controller ended with status {child.returncode}; see {log}\n{_tail(log)}")


def _listen(child: subprocess.Popen[bytes], listen: Listener) -> Failure | None:
    """Pass progress on until the child ends; a first Ctrl-C lets it heal and finish, a second one kills it."""
    assert child.stdout is not None
    assert child.stdin is not None
    failure = None
    try:
        while True:
            try:
                for line in child.stdout:
                    if b'"error"' in line[:10]:
                        failure = msgspec.json.decode(line, type=Failure)
                    else:
                        listen(msgspec.json.decode(line, type=Progress))
                break
            except KeyboardInterrupt:
                if child.stdin.closed:
                    raise
                child.stdin.close()
    finally:
        if not child.stdin.closed:
            child.stdin.close()
        if sys.exc_info()[0] is not None:
            child.kill()
        child.wait()
        child.stdout.close()
    return failure


def _tail(log: Path, lines: int = 12) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])

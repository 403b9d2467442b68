"""Commands that take a run up again: `replay`, `verify`, `shrink`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from chaos.commands.shared import (
    ALLOW,
    DEPLOY,
    IMAGE,
    JSON,
    OUT,
    QUIET,
    SERVER,
    progress,
    seconds,
    show,
)
from chaos.errors import BadInput
from chaos.side_by_side import refuse_disturbance


@click.command()
@click.argument("run_name", metavar="RUN")
@click.option(
    "--times", type=click.IntRange(min=1), default=1, help="How often; then it says in how many it came back."
)
@click.option("--history", "recorded", is_flag=True, help="Run nothing: check the recorded history again and compare.")
@DEPLOY
@SERVER
@IMAGE
@ALLOW
@OUT
@JSON
@QUIET
def replay(
    run_name: str,
    times: int,
    recorded: bool,
    deploy: str | None,
    server: str | None,
    image: str | None,
    allowed: tuple[str, ...],
    out: Path,
    as_json: bool,
    quiet: bool,
) -> int:
    """Run the plan of RUN again, with its faults as they were executed, and say which anomalies came back."""
    from chaos.deploy.kinds import DEPLOYMENTS
    from chaos.replay import replay_run
    from chaos.store import find_run

    run_dir = find_run(run_name, out)
    if deploy is not None and deploy not in DEPLOYMENTS:
        raise BadInput(f"--deploy {deploy}: there are {', '.join(DEPLOYMENTS)}")
    if recorded:
        return _recheck(run_dir)
    how: dict[str, Any] = {"deploy": deploy, "server": server, "image": image, "out": out, "allow_faults_on": allowed}
    if times > 1:
        return _replay_times(run_dir, times, as_json, quiet, how)
    with progress(as_json or quiet) as listener:
        outcome = replay_run(run_dir, on_progress=listener, **how)
    if as_json:
        click.echo(outcome.to_json())
    else:
        show(outcome.run_dir, outcome.result, as_json=False, quiet=quiet)
        click.echo(outcome.in_words())
    return outcome.exit_code


def _recheck(run_dir: Path) -> int:
    from chaos.replays import recheck

    same = recheck(run_dir)
    click.echo("results.json is the same, byte for byte" if same else "results.json differs: other checkers made it")
    return 0 if same else 1


def _replay_times(run_dir: Path, times: int, as_json: bool, quiet: bool, how: dict[str, Any]) -> int:
    from chaos.replay import Replay
    from chaos.replays import replay_times

    def show(done: Replay) -> None:
        if not quiet:
            click.echo(f"{done.run_dir.name}: {', '.join(sorted(done.after)) or 'no anomaly'}", err=True)

    several = replay_times(run_dir, times, show, **how)
    click.echo(several.to_json() if as_json else several.in_words())
    return several.exit_code


@click.command()
@click.argument("run_name", metavar="RUN")
@click.option("--times", type=click.IntRange(min=1), help="Run it so often, keep what differs, and count.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, help="How many of them at a time.")
@SERVER
@OUT
@JSON
def verify(run_name: str, times: int | None, jobs: int, server: str | None, out: Path, as_json: bool) -> int:
    """Run the seed of RUN, a run in virtual time, once more, and name the first turn of a server that differs."""
    from chaos.store import find_run
    from chaos.verify import verify_run, verify_times

    if times is not None:
        several = verify_times(find_run(run_name, out), times, jobs=jobs, server=server, out=out)
        click.echo(several.to_json() if as_json else several.in_words())
        return several.exit_code
    with progress(as_json) as listener:
        outcome = verify_run(find_run(run_name, out), server=server, out=out, on_progress=listener)
    click.echo(outcome.to_json() if as_json else outcome.in_words())
    return outcome.exit_code


@click.command()
@click.argument("run_name", metavar="RUN")
@click.option("--keep", "kinds", metavar="KIND", multiple=True, help="The anomaly that must come back: lost-write.")
@click.option("--budget", default="10m", help="How long to go on looking.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, help="How many candidates at a time (virtual only).")
@click.option("--try", "elsewhere", metavar="KIND", multiple=True, help="Then try the result on this deployment, too.")
@DEPLOY
@SERVER
@OUT
def shrink(
    run_name: str,
    kinds: tuple[str, ...],
    budget: str,
    jobs: int,
    elsewhere: tuple[str, ...],
    deploy: str | None,
    server: str | None,
    out: Path,
) -> int:
    """Find the smallest scenario that still fails as RUN did: fewer faults, clients, keys, and less time."""
    from chaos.shrink import TRIES, comes_back, kinds_to_keep, save, scenarios_of
    from chaos.shrink import shrink as reduce
    from chaos.store import find_run

    run_dir = find_run(run_name, out)
    keep = kinds_to_keep(run_dir, kinds)
    scenarios = scenarios_of(run_dir, keep, deploy)
    refuse_disturbance(jobs, scenarios[0].deploy)
    budget_s = seconds("--budget", budget)
    done = reduce(scenarios, keep, budget_s=budget_s, out=out, server=server, jobs=jobs, on_step=click.echo)
    click.echo(f"{done.in_words()}\nkept in {', '.join(map(str, save(done, out / done.scenario.name)))}")
    for other in elsewhere:
        click.echo(f"on {other} it came back in {comes_back(done, other, TRIES, server, out)} of {TRIES} runs")
    return 0

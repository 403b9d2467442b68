"""Commands that run something new: `run`, `demo`, `compare`, `search`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from chaos.commands.shared import (
    ALLOW,
    DEPLOY,
    IMAGE,
    JSON,
    OUT,
    QUIET,
    SEED,
    SERVER,
    overrides,
    progress,
    seconds,
    show,
)
from chaos.errors import BadInput
from chaos.side_by_side import refuse_disturbance

if TYPE_CHECKING:
    from chaos.scenario import Scenario


@click.command()
@click.argument("scenario")
@SEED
@click.option("--time", "duration", metavar="30s", help="How long the load lasts.")
@DEPLOY
@SERVER
@IMAGE
@click.option(
    "--endpoint",
    "urls",
    metavar="URL",
    multiple=True,
    help="Test servers that run already: rediss://HOST:PORT. Short for --deploy endpoint and endpoint.urls.",
)
@ALLOW
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="Override a key of the scenario.")
@click.option("--seeds", metavar="1..1000", help="Run each of these seeds, and sum up what they found.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, help="How many of them at a time (virtual only).")
@click.option("--verify", is_flag=True, help="Run each of --seeds twice, and compare (virtual only).")
@OUT
@JSON
@QUIET
def run(
    scenario: str,
    seed: int | None,
    duration: str | None,
    deploy: str | None,
    server: str | None,
    image: str | None,
    urls: tuple[str, ...],
    allowed: tuple[str, ...],
    settings: tuple[str, ...],
    seeds: str | None,
    jobs: int,
    verify: bool,
    out: Path,
    as_json: bool,
    quiet: bool,
) -> int:
    """Run a built-in SCENARIO, or one from a YAML file, and judge its claims.

    User and password of servers that somebody else runs come from CACHEQUAKE_USER and CACHEQUAKE_PASSWORD.
    """
    from chaos.run import run_scenario
    from chaos.scenario import load_scenario

    if urls and deploy not in (None, "endpoint"):
        raise BadInput(f"--endpoint names servers that run already, and --deploy {deploy} starts some: say one of them")
    named = {"deploy": "endpoint", "endpoint.urls": list(urls)} if urls else {"deploy": deploy}
    loaded = load_scenario(scenario, overrides(settings, duration=duration, **named))
    if verify and (seeds is None or loaded.deploy != "virtual"):
        raise BadInput(
            "--verify compares two runs of each of --seeds in virtual time: add --seeds and --deploy virtual"
        )
    if seeds is not None:
        return _campaign(loaded, seeds, jobs, verify, server, out, as_json, quiet, allowed)
    with progress(as_json or quiet) as listener:
        done = run_scenario(
            loaded, seed=seed, server=server, image=image, out=out, on_progress=listener, allow_faults_on=allowed
        )
    show(done.run_dir, done.result, as_json, quiet)
    return done.result.exit_code


def _campaign(
    scenario: Scenario,
    seeds: str,
    jobs: int,
    verify: bool,
    server: str | None,
    out: Path,
    as_json: bool,
    quiet: bool,
    allowed: tuple[str, ...],
) -> int:
    from chaos.campaign import Trial, parse_seeds, run_campaign

    def show(trial: Trial) -> None:
        found = ", ".join(f"{count} {kind}" for kind, count in trial.counts.items()) or "nothing"
        again = "; a second run differs" if trial.differs else ""
        click.echo(f"seed {trial.seed}: {trial.error or found}{again}", err=as_json)

    done = run_campaign(
        scenario,
        parse_seeds(seeds),
        jobs=jobs,
        verify=verify,
        server=server,
        out=out,
        on_trial=(lambda trial: None) if quiet else show,
        allow_faults_on=allowed,
    )
    click.echo(done.to_json() if as_json else done.in_words())
    return done.exit_code


@click.command()
@SEED
@DEPLOY
@SERVER
@IMAGE
@OUT
@QUIET
def demo(seed: int | None, deploy: str | None, server: str | None, image: str | None, out: Path, quiet: bool) -> int:
    """Cut a primary off while a client stays on its side, and show which acknowledged writes are lost."""
    from chaos.run import run_scenario
    from chaos.scenario import load_scenario

    loaded = load_scenario("primary-partition", overrides((), deploy=deploy))
    with progress(quiet) as listener:
        done = run_scenario(loaded, seed=seed, server=server, image=image, out=out, on_progress=listener)
    show(done.run_dir, done.result, as_json=False, quiet=quiet)
    return 0 if done.result.count("lost-write") else 1


@click.command()
@click.argument("suite", default="distributed-caching")
@click.option("--seeds", "count", type=click.IntRange(min=1), help="How many seeds each cell has; the suite's own.")
@click.option("--time", "duration", metavar="6s", help="How long the load lasts in each run.")
@click.option("--only", metavar="SYSTEM", multiple=True, help="Only this system of the suite; can be repeated.")
@DEPLOY
@SERVER
@OUT
@JSON
def compare(
    suite: str,
    count: int | None,
    duration: str | None,
    only: tuple[str, ...],
    deploy: str | None,
    server: str | None,
    out: Path,
    as_json: bool,
) -> int:
    """Put the systems of a SUITE under the same faults, and print them side by side."""
    from chaos.compare import compare as run_suite
    from chaos.report.comparison import as_terminal, reasons, save
    from chaos.suite import load_suite

    loaded = load_suite(suite, overrides((), duration=duration, deploy=deploy)).only(only)
    done = run_suite(loaded, seeds=count, server=server, out=out, on_run=lambda line: click.echo(line, err=True))
    files = save(done, out)
    if as_json:
        click.echo(done.to_json())
    else:
        Console().print(as_terminal(done))
        for line in (*reasons(done), f"kept in {', '.join(map(str, files))}"):
            click.echo(line)
    return 0


@click.command()
@click.argument("scenario")
@click.option("--budget", default="5m", help="How long to look.")
@click.option(
    "--for", "wanted", metavar="KIND", multiple=True, help="An anomaly to look for; else what breaks a claim."
)
@click.option("--fault", "kinds", metavar="KIND", multiple=True, help="A kind of fault to draw from; else all.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, help="How many at a time (virtual only).")
@click.option(
    "--dask",
    metavar="[ADDRESS]",
    is_flag=False,
    flag_value="",
    help="Run on the Dask cluster with its scheduler at tcp://HOST:8786; without an address, on --jobs workers here.",
)
@click.option("--store", type=click.Path(path_type=Path), help="Where failures are kept; .cachequake/failures.")
@click.option("--time", "duration_", metavar="5s", help="How long the load lasts in each run.")
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="Override a key of the scenario.")
@click.option("--deploy", metavar="KIND", default="virtual", show_default=True, help="Where nodes live.")
@SEED
@SERVER
@OUT
def search(
    scenario: str,
    budget: str,
    wanted: tuple[str, ...],
    kinds: tuple[str, ...],
    jobs: int,
    dask: str | None,
    store: Path | None,
    duration_: str | None,
    settings: tuple[str, ...],
    deploy: str,
    seed: int | None,
    server: str | None,
    out: Path,
) -> int:
    """Look for a schedule of faults that breaks the claims of SCENARIO; failures found earlier are tried first."""
    from chaos.plan import draw_seed
    from chaos.scenario import load_scenario
    from chaos.search import STORE
    from chaos.search import search as look

    loaded = load_scenario(scenario, overrides(settings, duration=duration_, deploy=deploy))
    refuse_disturbance(jobs, loaded.deploy)
    done = look(
        loaded,
        budget_s=seconds("--budget", budget),
        seed=draw_seed() if seed is None else seed,
        out=out,
        kinds=kinds,
        wanted=wanted,
        store=store or STORE,
        server=server,
        jobs=jobs,
        dask=dask,
        on_run=lambda schedules, found: click.echo(f"{schedules} schedules, {found} situations", err=True),
    )
    click.echo(done.in_words())
    return 1 if done.failure else 0

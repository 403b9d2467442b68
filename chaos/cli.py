"""The command `cachequake`."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml
from rich.console import Console
from rich.table import Table

from chaos.errors import BadInput, CachequakeError
from chaos.result import EXIT_BAD_INPUT, EXIT_CRASH, Result
from chaos.units import duration

if TYPE_CHECKING:
    from chaos.report.progress import LiveProgress
    from chaos.scenario import Scenario

OUT = click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("runs"), help="Where run directories go."
)
SERVER = click.option("--server", metavar="PATH", help="The server program to test; see `cachequake doctor`.")
DEPLOY = click.option("--deploy", metavar="KIND", help="Where nodes live; the scenario's own choice by default.")
IMAGE = click.option("--image", metavar="IMAGE", help="The container image to test, with --deploy docker.")
ALLOW = click.option(
    "--allow-faults-on",
    "allowed",
    metavar="HOST",
    multiple=True,
    help="Faults may strike servers of this host, which somebody else runs; with --deploy endpoint.",
)
SEED = click.option("--seed", type=click.IntRange(min=0), help="Decides everything that is decided by chance.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print the results as JSON, and nothing else.")


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit with its code: 254 for bad input, 255 for a crash of ours."""
    sys.exit(run_command(arguments))


def run_command(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    try:
        return int(cli.main(arguments, prog_name="cachequake", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return EXIT_BAD_INPUT
    except BadInput as error:
        click.echo(f"cachequake: {error}", err=True)
        return EXIT_BAD_INPUT
    except CachequakeError as error:
        click.echo(f"cachequake: {error}", err=True)
        return EXIT_CRASH
    except (click.Abort, KeyboardInterrupt):
        click.echo("cachequake: interrupted", err=True)
        return EXIT_CRASH
    except Exception:  # noqa: BLE001  (the last resort: whatever it is, the exit code says that it is ours)
        traceback.print_exc()
        return EXIT_CRASH


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cachequake")
def cli() -> None:
    """Find out which promises a Redis or Valkey cache keeps while nodes die, links fail and slots move."""


def _overrides(settings: tuple[str, ...], **named: Any) -> dict[str, Any]:
    """`--set key=value` (values are YAML) and the options that are short for one of them."""
    overrides = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise BadInput(f"--set {setting}: write KEY=VALUE, for example --set clients.count=20")
        try:
            overrides[key] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise BadInput(f"--set {setting}: the value is not YAML: {error}") from error
    return overrides | {key: value for key, value in named.items() if value is not None}


@cli.command()
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
@OUT
@JSON
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
    out: Path,
    as_json: bool,
) -> int:
    """Run a built-in SCENARIO, or one from a YAML file, and judge its claims.

    User and password of servers that somebody else runs come from CACHEQUAKE_USER and CACHEQUAKE_PASSWORD.
    """
    from chaos.run import run_scenario
    from chaos.scenario import load_scenario

    if urls and deploy not in (None, "endpoint"):
        raise BadInput(f"--endpoint names servers that run already, and --deploy {deploy} starts some: say one of them")
    named = {"deploy": "endpoint", "endpoint.urls": list(urls)} if urls else {"deploy": deploy}
    loaded = load_scenario(scenario, _overrides(settings, duration=duration, **named))
    if seeds is not None:
        return _campaign(loaded, seeds, jobs, server, out, as_json, allowed)
    with _progress(as_json) as listener:
        done = run_scenario(
            loaded, seed=seed, server=server, image=image, out=out, on_progress=listener, allow_faults_on=allowed
        )
    _show(done.run_dir, done.result, as_json)
    return done.result.exit_code


def _campaign(
    scenario: Scenario,
    seeds: str,
    jobs: int,
    server: str | None,
    out: Path,
    as_json: bool,
    allowed: tuple[str, ...],
) -> int:
    from chaos.campaign import Trial, parse_seeds, run_campaign

    def show(trial: Trial) -> None:
        found = ", ".join(f"{count} {kind}" for kind, count in trial.counts.items()) or "nothing"
        click.echo(f"seed {trial.seed}: {trial.error or found}", err=as_json)

    done = run_campaign(
        scenario, parse_seeds(seeds), jobs=jobs, server=server, out=out, on_trial=show, allow_faults_on=allowed
    )
    click.echo(done.to_json() if as_json else done.in_words())
    return done.exit_code


@cli.command()
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

    loaded = load_suite(suite, _overrides((), duration=duration, deploy=deploy)).only(only)
    done = run_suite(loaded, seeds=count, server=server, out=out, on_run=lambda line: click.echo(line, err=True))
    files = save(done, out)
    if as_json:
        click.echo(done.to_json())
    else:
        Console().print(as_terminal(done))
        for line in (*reasons(done), f"kept in {', '.join(map(str, files))}"):
            click.echo(line)
    return 0


@cli.command()
@SEED
@DEPLOY
@SERVER
@IMAGE
@OUT
def demo(seed: int | None, deploy: str | None, server: str | None, image: str | None, out: Path) -> int:
    """Cut a primary off while a client stays on its side, and show which acknowledged writes are lost."""
    from chaos.run import run_scenario
    from chaos.scenario import load_scenario

    loaded = load_scenario("primary-partition", _overrides((), deploy=deploy))
    with _progress(quiet=False) as listener:
        done = run_scenario(loaded, seed=seed, server=server, image=image, out=out, on_progress=listener)
    _show(done.run_dir, done.result, as_json=False)
    return 0 if done.result.count("lost-write") else 1


@cli.command()
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
        return _replay_times(run_dir, times, as_json, how)
    with _progress(as_json) as listener:
        outcome = replay_run(run_dir, on_progress=listener, **how)
    if as_json:
        click.echo(outcome.to_json())
    else:
        _show(outcome.run_dir, outcome.result, as_json=False)
        click.echo(outcome.in_words())
    return outcome.exit_code


def _recheck(run_dir: Path) -> int:
    from chaos.replays import recheck

    same = recheck(run_dir)
    click.echo("results.json is the same, byte for byte" if same else "results.json differs: other checkers made it")
    return 0 if same else 1


def _replay_times(run_dir: Path, times: int, as_json: bool, how: dict[str, Any]) -> int:
    from chaos.replay import Replay
    from chaos.replays import replay_times

    def show(done: Replay) -> None:
        click.echo(f"{done.run_dir.name}: {', '.join(sorted(done.after)) or 'no anomaly'}", err=True)

    several = replay_times(run_dir, times, show, **how)
    click.echo(several.to_json() if as_json else several.in_words())
    return several.exit_code


@cli.command()
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
    from chaos.shrink import TRIES, comes_back, kinds_to_keep, save, scenario_of
    from chaos.shrink import shrink as reduce
    from chaos.store import find_run

    run_dir = find_run(run_name, out)
    keep = kinds_to_keep(run_dir, kinds)
    scenario = scenario_of(run_dir, keep, deploy)
    _side_by_side_only_in_virtual_time(jobs, scenario.deploy)
    budget_s = _seconds("--budget", budget)
    done = reduce(
        scenario, keep, budget_s=budget_s, out=out, server=server, jobs=jobs, on_step=lambda line: click.echo(line)
    )
    click.echo(f"{done.in_words()}\nkept in {', '.join(map(str, save(done, out / scenario.name)))}")
    for other in elsewhere:
        click.echo(f"on {other} it came back in {comes_back(done, other, TRIES, server, out)} of {TRIES} runs")
    return 0


@cli.command()
@click.argument("scenario")
@click.option("--budget", default="5m", help="How long to look.")
@click.option(
    "--for", "wanted", metavar="KIND", multiple=True, help="An anomaly to look for; else what breaks a claim."
)
@click.option("--fault", "kinds", metavar="KIND", multiple=True, help="A kind of fault to draw from; else all.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, help="How many at a time (virtual only).")
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

    loaded = load_scenario(scenario, _overrides(settings, duration=duration_, deploy=deploy))
    _side_by_side_only_in_virtual_time(jobs, loaded.deploy)
    done = look(
        loaded,
        budget_s=_seconds("--budget", budget),
        seed=draw_seed() if seed is None else seed,
        out=out,
        kinds=kinds,
        wanted=wanted,
        store=store or STORE,
        server=server,
        jobs=jobs,
        on_run=lambda schedules, found: click.echo(f"{schedules} schedules, {found} situations", err=True),
    )
    click.echo(done.in_words())
    return 1 if done.failure else 0


def _seconds(option: str, text: str) -> float:
    try:
        return duration(text) / 1000
    except ValueError as error:
        raise BadInput(f"{option} {text}: {error}") from error


def _side_by_side_only_in_virtual_time(jobs: int, deploy: str) -> None:
    if jobs > 1 and deploy != "virtual":
        raise BadInput(f"--jobs {jobs}: runs on {deploy} disturb each other's time; add --deploy virtual")


@cli.command()
@click.argument("run_name", metavar="RUN")
@SERVER
@OUT
@JSON
def verify(run_name: str, server: str | None, out: Path, as_json: bool) -> int:
    """Run the seed of RUN, a run in virtual time, once more, and name the first turn of a server that differs."""
    from chaos.store import find_run
    from chaos.verify import verify_run

    with _progress(as_json) as listener:
        outcome = verify_run(find_run(run_name, out), server=server, out=out, on_progress=listener)
    click.echo(outcome.to_json() if as_json else outcome.in_words())
    return outcome.exit_code


@cli.command()
@click.argument("paths", metavar="HISTORY-or-RUN...", nargs=-1, required=True)
@click.option("--model", help="What the object is: register, cas-register, kv, set, counter, lock, queue, append.")
@click.option("--initial", metavar="VALUE", help="The value before the first write, as JSON (none by default).")
@click.option("--checker", "names", multiple=True, help="Only this checker; can be given several times.")
@click.option("--budget", default="60s", help="How long one file may take before the verdict is unknown.")
@click.option(
    "--null-reads", type=click.Choice(["value", "unknown"]), default="value", help="What an ok read of null means."
)
@OUT
@JSON
def check(
    paths: tuple[str, ...],
    model: str | None,
    initial: str | None,
    names: tuple[str, ...],
    budget: str,
    null_reads: str,
    out: Path,
    as_json: bool,
) -> int:
    """Check the history of a run (by the run's claims), or history files of any origin (by their verdict)."""
    if len(paths) == 1 and not Path(paths[0]).is_file():
        from chaos.judge import check_run
        from chaos.store import find_run

        run_dir = find_run(paths[0], out)
        result = check_run(run_dir)
        _show(run_dir, result, as_json)
        return result.exit_code
    from chaos.check_files import check_files

    return check_files(paths, model, initial, names, budget, null_reads, as_json)


@cli.command()
@click.argument("run_name", metavar="RUN")
@click.option("--to", "form", type=click.Choice(["edn"]), default="edn", help="edn: as Jepsen reads.")
@click.option("--file", "target", type=click.Path(path_type=Path), help="Where to write; the run directory by default.")
@OUT
def export(run_name: str, form: str, target: Path | None, out: Path) -> None:
    """Write the history of RUN for the tools of others."""
    from chaos.store import HISTORY, find_run
    from checkers import load
    from checkers.foreign import write_edn

    run_dir = find_run(run_name, out)
    written = target or run_dir / f"history.{form}"
    with written.open("w", encoding="utf-8") as file:
        write_edn(load(run_dir / HISTORY), file)
    click.echo(written)


@cli.command("list")
def list_scenarios() -> None:
    """Show the built-in scenarios."""
    from chaos.scenario import builtin_names, read_summary

    table = Table(box=None, show_header=False)
    for name in builtin_names():
        table.add_row(name, read_summary(name))
    Console().print(table)


@cli.command()
@click.argument("names", metavar="PROFILE", nargs=-1)
def profiles(names: tuple[str, ...]) -> None:
    """Show what is known of managed offerings: routes, refused commands, faults, documented claims."""
    from chaos.deploy.endpoint.profiles import described
    from chaos.deploy.endpoint.profiles import profiles as known
    from chaos.yaml_source import nearest

    for name in names:
        if name not in known():
            raise BadInput(f"unknown profile {name!r}{nearest(name, list(known()))}")
    for name in names or known():
        click.echo("\n".join(described(name)))


@cli.command()
@SERVER
def doctor(server: str | None) -> int:
    """Say what this machine can do."""
    from chaos.deploy.doctor import report

    table = Table(box=None)
    for column in ("what", "", "detail"):
        table.add_column(column)
    rows = report(server)
    marks = {True: "[green]yes[/]", False: "[red]no[/]", None: "[yellow]?[/]"}
    for what, works, detail in rows:
        table.add_row(what, marks[works], detail)
    Console().print(table)
    return 0


@cli.command()
@OUT
def clean(out: Path) -> None:
    """End what the runs of killed controllers left behind."""
    from chaos.clean import clean_up

    for line in clean_up(out) or ["nothing was left behind"]:
        click.echo(line)


def _progress(quiet: bool) -> LiveProgress:
    """Shows progress on standard error: redrawn on a terminal, a line a phase elsewhere, nothing when quiet."""
    from chaos.report.progress import LiveProgress

    return LiveProgress(Console(stderr=True, quiet=quiet))


def _show(run_dir: Path, result: Result, as_json: bool) -> None:
    from chaos.report.terminal import print_summary
    from chaos.run_result import RunResult

    if as_json:
        click.echo((run_dir / "results.json").read_text(), nl=False)
    else:
        print_summary(Console(), result, run_dir, RunResult(run_dir, result).story())

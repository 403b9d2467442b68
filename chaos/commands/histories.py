"""Commands about histories: `check`, `export`."""

from __future__ import annotations

from pathlib import Path

import click

from chaos.commands.shared import (
    JSON,
    OUT,
    QUIET,
    show,
)


@click.command()
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
@QUIET
def check(
    paths: tuple[str, ...],
    model: str | None,
    initial: str | None,
    names: tuple[str, ...],
    budget: str,
    null_reads: str,
    out: Path,
    as_json: bool,
    quiet: bool,
) -> int:
    """Check the history of a run (by the run's claims), or history files of any origin (by their verdict)."""
    if len(paths) == 1 and not Path(paths[0]).is_file():
        from chaos.judge import check_run
        from chaos.store import find_run

        run_dir = find_run(paths[0], out)
        result = check_run(run_dir)
        show(run_dir, result, as_json, quiet)
        return result.exit_code
    from chaos.check_files import check_files

    return check_files(paths, model, initial, names, budget, null_reads, as_json, quiet)


@click.command()
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

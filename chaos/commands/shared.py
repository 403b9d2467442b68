"""What the commands have in common: options, and how progress and results are shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml
from rich.console import Console

from chaos.errors import BadInput
from chaos.result import Result
from chaos.units import duration

if TYPE_CHECKING:
    from chaos.report.progress import LiveProgress

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
QUIET = click.option("-q", "--quiet", is_flag=True, help="Print the verdict and the run directory, and nothing else.")


def overrides(settings: tuple[str, ...], **named: Any) -> dict[str, Any]:
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


def progress(quiet: bool) -> LiveProgress:
    """Shows progress on standard error: redrawn on a terminal, a line a phase elsewhere, nothing when quiet."""
    from chaos.report.progress import LiveProgress

    return LiveProgress(Console(stderr=True, quiet=quiet))


def show(run_dir: Path, result: Result, as_json: bool, quiet: bool = False) -> None:
    """Print what a run came to: as JSON, as its verdict and its directory, or as a summary with its story."""
    from chaos.report.terminal import print_summary, print_verdict
    from chaos.run_result import RunResult

    if as_json:
        click.echo((run_dir / "results.json").read_text(encoding="utf-8"), nl=False)
    elif quiet:
        print_verdict(Console(), result, run_dir)
    else:
        print_summary(Console(), result, run_dir, RunResult(run_dir, result).story())


def seconds(option: str, text: str) -> float:
    """A duration as an option gives it. Raises BadInput."""
    try:
        return duration(text) / 1000
    except ValueError as error:
        raise BadInput(f"{option} {text}: {error}") from error

"""Commands about this machine and this package: `list`, `profiles`, `schema`, `doctor`, `clean`."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from chaos.commands.shared import (
    OUT,
    SERVER,
)
from chaos.errors import BadInput


@click.command("list")
def list_scenarios() -> None:
    """Show the built-in scenarios, those of published failures, and what installed packages add."""
    from chaos.extend import additions
    from chaos.scenario import builtin_names, incident_names, load_scenario, read_summary

    table = Table(box=None, show_header=False)
    for name in builtin_names():
        table.add_row(name, read_summary(name))
    Console().print(table)
    gallery = Table(box=None, show_header=False, title="Published failures", title_justify="left")
    gallery.add_column(no_wrap=True)
    for name in incident_names():
        incident = load_scenario(name).incident
        reported = f" ({', '.join(incident.reported)})" if incident and incident.reported else ""
        gallery.add_row(name, read_summary(name) + reported)
    Console().print(gallery)
    extensions = Table(box=None, show_header=False, title="Added by installed packages", title_justify="left")
    for added in additions():
        extensions.add_row(added.what, added.name, added.problem or added.source)
    if extensions.row_count:
        Console().print(extensions)


@click.command()
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


@click.command()
@click.argument("name", metavar="[FORMAT]", default="scenario")
def schema(name: str) -> None:
    """Print the JSON Schema of scenario files, for editors, or of another FORMAT of a run directory.

    There are scenario, plan, executed, history (of each line) and results.
    """
    import json

    from chaos.formats import FORMATS
    from chaos.yaml_source import nearest

    if name not in FORMATS:
        raise BadInput(f"unknown format {name!r}{nearest(name, list(FORMATS))}")
    click.echo(json.dumps(FORMATS[name].schema(), indent=2))


@click.command()
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


@click.command()
@OUT
def clean(out: Path) -> None:
    """End what the runs of killed controllers left behind."""
    from chaos.clean import clean_up

    for line in clean_up(out) or ["nothing was left behind"]:
        click.echo(line)

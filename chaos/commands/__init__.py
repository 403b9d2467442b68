"""The commands of `cachequake`, by what they are about; `chaos.cli` puts them together."""

from __future__ import annotations

import click

from chaos.commands.again import replay, shrink, verify
from chaos.commands.histories import check, export
from chaos.commands.housekeeping import clean, doctor, list_scenarios, profiles, schema
from chaos.commands.running import compare, demo, run, search
from chaos.commands.serving import serve

COMMANDS: tuple[click.Command, ...] = (
    demo,
    run,
    compare,
    search,
    replay,
    verify,
    shrink,
    check,
    export,
    serve,
    list_scenarios,
    profiles,
    schema,
    doctor,
    clean,
)
"""In the order in which a reader meets them."""

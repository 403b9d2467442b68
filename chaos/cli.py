"""The command `cachequake`."""

from __future__ import annotations

import sys
import traceback

import click

from chaos.commands import COMMANDS
from chaos.errors import BadInput, CachequakeError
from chaos.result import EXIT_BAD_INPUT, EXIT_CRASH


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


for command in COMMANDS:
    cli.add_command(command)

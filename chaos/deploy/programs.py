"""The programs that run as nodes: how each is started from the server under test, and what it is told by default."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from chaos.errors import BadInput
from chaos.member import Member

CONFIGURATION = "server.conf"
"""The configuration file, in the node's directory."""


class Program(NamedTuple):
    """A kind of program."""

    options: tuple[str, ...]
    """What follows the configuration file on its command line."""
    defaults: Mapping[str, str]
    """Directives unless the member sets them."""

    def command(self, server: Path | str) -> list[str]:
        """How it is started in the node's directory; `server` is the program under test."""
        return [str(server), CONFIGURATION, *self.options]


PROGRAMS: Mapping[str, Program] = {
    "server": Program(
        (),
        {
            "repl-diskless-sync-delay": "0",
            "repl-ping-replica-period": "1",
            "protected-mode": "no",
            "enable-debug-command": "yes",
            "save": "",
            "appendonly": "no",
        },
    ),
    "sentinel": Program(("--sentinel",), {"protected-mode": "no"}),
}
"""By the name that members use. Persistence of servers is stated always: its absence decides what a restarted one
still has."""


def refuse_others(members: Iterable[Member], able: Iterable[str], deployment: str) -> None:
    """Raise BadInput for a member whose program the deployment cannot run (`able` names those that it can)."""
    for member in members:
        if member.program not in able:
            raise BadInput(f"{deployment} runs no {member.program}, which {member.name} is: use --deploy local")

"""The programs that run as nodes: how each is started, what it is told by default, and which faults it can have.

Most are the server under test with other options. A proxy is another program, with a configuration file of its own
format; both kinds answer PING once they are ready.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from chaos.deploy import envoy, twemproxy
from chaos.errors import BadInput
from chaos.member import Member

CONFIGURATION = "server.conf"
"""The configuration file, in the node's directory."""


class Proxy(NamedTuple):
    """A program that is not the server under test, and stands before servers."""

    find: Callable[[], Path]
    """Where it is; raises ServerError, which says how to get it."""
    file: str
    """The name of its configuration file."""
    write: Callable[[Mapping[str, Any], tuple[str, int], Mapping[str, tuple[str, int]]], str]
    """Its configuration file from the member's settings, where it listens, and the servers behind it by name."""
    start: Callable[[Path, str], Sequence[str]]
    """Its command line, from the program and its own address; it is started in the node's directory."""
    binds: bool
    """Whether it speaks to servers from its own address."""

    def prepare(
        self, member: Member, directory: Path, own: tuple[str, int], servers: Mapping[str, tuple[str, int]]
    ) -> list[str]:
        """Write its file into the node's directory, and return its command line. Raises ServerError."""
        (directory / self.file).write_text(self.write(member.config, own, servers))
        return list(self.start(self.find(), own[0]))


class Program(NamedTuple):
    """A kind of program."""

    options: tuple[str, ...] = ()
    """What follows the configuration file on its command line."""
    defaults: Mapping[str, str] = {}
    """Directives unless the member sets them."""
    announces: tuple[str, ...] = ("cluster-announce-ip", "replica-announce-ip")
    """Directives that say at which address others should dial it, where that is not its own."""
    proxy: Proxy | None = None
    """How it is run where it is not the server under test."""
    faults: frozenset[str] | None = None
    """The kinds of faults that it can have; None for all."""

    def command(self, server: Path | str) -> list[str]:
        """How it is started in the node's directory; `server` is the program under test."""
        return [str(server), CONFIGURATION, *self.options]


FAULTS_ON_PROXIES = frozenset({"kill", "terminate", "pause", "partition", "loss", "delay"})
"""A proxy has neither data nor an identity that tells one process from the next, and it sends back no payload by which
a limit of bandwidth could be seen."""

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
    "sentinel": Program(("--sentinel",), {"protected-mode": "no"}, announces=("sentinel announce-ip",)),
    "twemproxy": Program(
        proxy=Proxy(twemproxy.find, twemproxy.FILE, twemproxy.write, twemproxy.command, binds=False),
        faults=FAULTS_ON_PROXIES,
    ),
    "envoy": Program(
        proxy=Proxy(envoy.find, envoy.FILE, envoy.write, envoy.command, binds=True), faults=FAULTS_ON_PROXIES
    ),
}
"""By the name that members use. Persistence of servers is stated always: its absence decides what a restarted one
still has."""

OF_THE_SERVER = [name for name, program in PROGRAMS.items() if program.proxy is None]
"""Those that the server under test is."""


def unbound(members: Iterable[Member]) -> list[str]:
    """Names of the nodes that do not speak from an address of their own."""
    return [
        member.name for member in members if (proxy := PROGRAMS[member.program].proxy) is not None and not proxy.binds
    ]


def refuse_others(members: Iterable[Member], able: Iterable[str], deployment: str) -> None:
    """Raise BadInput for a member whose program the deployment cannot run (`able` names those that it can)."""
    for member in members:
        if member.program not in able:
            raise BadInput(f"{deployment} runs no {member.program}, which {member.name} is: use --deploy local")

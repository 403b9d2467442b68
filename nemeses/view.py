"""What one node believes of the cluster: the text of CLUSTER NODES, read into rows.

Every node has a view of its own, and during a fault they differ; so a `View` always says whose it is. The format is
that of the CLUSTER NODES command (redis.io and valkey.io document it alike). A server that is in no cluster knows
itself, and whom it replicates or who replicates it: that is what INFO replication says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

from nemeses.system import Node, ReplyError, System

Owners = list[tuple[int, int, str]]
"""Who serves what: first slot, last slot, name of the owner; in the order of the slots, neighbours joined."""


NO_CLUSTER = "cluster support disabled"
"""In the error that a server outside a cluster answers to every CLUSTER command."""
ALONE = "alone"
"""The flag of rows that do not come from CLUSTER NODES."""


@dataclass(frozen=True)
class Row:
    """One line of CLUSTER NODES."""

    name: str
    """The node's name in the run, found by its address; `host:port`, or its id without an address, if it has none."""
    id: str
    flags: frozenset[str]
    """`myself`, `master`, `slave`, `fail?` (suspected here), `fail` (agreed by a majority), `handshake`, ..."""
    primary: str | None
    """Name of the node that it replicates; None for a primary."""
    link_up: bool
    """Whether the asked node's bus link to it stands."""
    epoch: int
    """The configuration epoch: of two that claim a slot, the higher one owns it."""
    slots: list[tuple[int, int]] = field(default_factory=list)
    """First and last slot of each range that it owns."""
    importing: dict[int, str] = field(default_factory=dict)
    """Open slots by the name of the source; a node tells only its own."""
    migrating: dict[int, str] = field(default_factory=dict)
    """Open slots by the name of the target; a node tells only its own."""

    @property
    def alone(self) -> bool:
        """Whether the node is in no cluster: then it has neither slots nor epoch."""
        return ALONE in self.flags

    @property
    def is_primary(self) -> bool:
        """Whether it is flagged as a primary (with slots or without)."""
        return "master" in self.flags

    @property
    def open_slots(self) -> set[int]:
        """Slots on the move, in or out; a node tells only its own."""
        return self.importing.keys() | self.migrating.keys()

    @property
    def failing(self) -> bool:
        """Whether the asked node suspects it or knows it failed."""
        return bool(self.flags & {"fail", "fail?"})


@dataclass(frozen=True)
class View:
    """The cluster as the node `node` sees it."""

    node: str
    rows: list[Row]

    @classmethod
    def fetch(cls, system: System, node: str, timeout_ms: int = 1_000) -> Self:
        """Ask a node. Raises Unreachable, and ReplyError also for a reply that is no such text."""
        try:
            reply = system.call(node, "CLUSTER", "NODES", timeout_ms=timeout_ms)
        except ReplyError as error:
            if NO_CLUSTER not in str(error):
                raise
            reply = system.call(node, "INFO", "replication", timeout_ms=timeout_ms)
            return cls(node, parse_replication(reply.decode(), system.nodes, node))
        return cls(node, parse(reply.decode(), system.nodes, node))

    @cached_property
    def _by_name(self) -> dict[str, Row]:
        return {row.name: row for row in self.rows}

    @cached_property
    def myself(self) -> Row:
        """The row of the node that was asked. Raises ReplyError when it left it out."""
        for row in self.rows:
            if "myself" in row.flags:
                return row
        raise ReplyError(f"CLUSTER NODES of {self.node} has no line flagged myself")

    def row(self, name: str) -> Row:
        """The row of a node. Raises KeyError for one that the asked node does not know (yet)."""
        return self._by_name[name]

    def knows(self, name: str) -> bool:
        """Whether the asked node has a row for that node."""
        return name in self._by_name

    def owner(self, slot: int) -> str | None:
        """Name of the node that serves a slot, or None when nobody does."""
        for row in self.rows:
            if any(first <= slot <= last for first, last in row.slots):
                return row.name
        return None

    def primaries(self) -> list[str]:
        """Names of the nodes that serve slots, by their first slot."""
        serving = [row for row in self.rows if row.slots]
        return [row.name for row in sorted(serving, key=lambda row: row.slots[0])]

    def replicas(self, primary: str) -> list[str]:
        """Names of the replicas of a node, sorted."""
        return sorted(row.name for row in self.rows if row.primary == primary)

    def owners(self) -> Owners:
        """Who serves what, in a form that can be compared between nodes."""
        ranges = sorted((first, last, row.name) for row in self.rows for first, last in row.slots)
        joined: Owners = []
        for first, last, name in ranges:
            if joined and joined[-1][2] == name and joined[-1][1] == first - 1:
                joined[-1] = (joined[-1][0], last, name)
            else:
                joined.append((first, last, name))
        return joined


def agreed(system: System, nodes: Iterable[str]) -> bool:
    """Whether all these nodes believe the same of who serves what. Raises Unreachable and ReplyError."""
    first, *others = (View.fetch(system, node).owners() for node in nodes)
    return all(owners == first for owners in others)


def parse(text: str, nodes: Mapping[str, Node], asked: str) -> list[Row]:
    """Read the text of CLUSTER NODES as the node `asked` gave it; `nodes` gives names to addresses.

    The row flagged `myself` is `asked` whatever its address: a node that met no other does not know its own.
    Raises ReplyError for any other text.
    """
    lines = [line.split(" ") for line in text.splitlines() if line]
    short = next((line for line in lines if len(line) < 8), None)
    if short is not None:
        raise ReplyError(f"not a line of CLUSTER NODES: {' '.join(short)[:120]!r}")
    addresses = {f"{node.host}:{node.port}": node.name for node in nodes.values()}
    names = {line[0]: asked if "myself" in line[2].split(",") else _name(line, addresses) for line in lines}
    return [_row(line, names) for line in lines]


def parse_replication(text: str, nodes: Mapping[str, Node], asked: str) -> list[Row]:
    """Read INFO replication of a server that is in no cluster: itself, and who is at the other end of replication."""
    said = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    addresses = {f"{node.host}:{node.port}": node.name for node in nodes.values()}
    if said.get("role") == "slave":
        address = f"{said['master_host']}:{said['master_port']}"
        primary = addresses.get(address, address)
        up = said.get("master_link_status") == "up"
        return [_alone(asked, {"myself", "slave"}, primary), _alone(primary, {"master"}, None, up)]
    if said.get("role") != "master":
        raise ReplyError(f"not a text of INFO replication: {text[:120]!r}")
    replicas = [dict(item.split("=", 1) for item in said[f"slave{i}"].split(",")) for i in _counted(said, "slave")]
    rows = [_alone(asked, {"myself", "master"}, None)]
    for replica in replicas:
        address = f"{replica['ip']}:{replica['port']}"
        rows.append(_alone(addresses.get(address, address), {"slave"}, asked, replica["state"] == "online"))
    return rows


def _counted(said: Mapping[str, str], prefix: str) -> list[int]:
    """The numbers of the keys that are `prefix` and a number."""
    rest = [key.removeprefix(prefix) for key in said if key.startswith(prefix)]
    return sorted(int(number) for number in rest if number.isdecimal())


def _alone(name: str, flags: set[str], primary: str | None, link_up: bool = True) -> Row:
    return Row(name, name, frozenset({*flags, ALONE}), primary, link_up, epoch=0)


def _name(line: list[str], addresses: Mapping[str, str]) -> str:
    address = line[1].partition("@")[0]
    if address in addresses:
        return addresses[address]
    return line[0] if address in ("", ":0") else address


def _row(line: list[str], names: Mapping[str, str]) -> Row:
    slots: list[tuple[int, int]] = []
    importing: dict[int, str] = {}
    migrating: dict[int, str] = {}
    for item in line[8:]:
        if "->-" in item:
            slot, other = item.strip("[]").split("->-")
            migrating[int(slot)] = names.get(other, other)
        elif "-<-" in item:
            slot, other = item.strip("[]").split("-<-")
            importing[int(slot)] = names.get(other, other)
        else:
            first, _, last = item.partition("-")
            slots.append((int(first), int(last or first)))
    return Row(
        name=names[line[0]],
        id=line[0],
        flags=frozenset(line[2].split(",")),
        primary=None if line[3] == "-" else names.get(line[3], line[3]),
        link_up=line[7] == "connected",
        epoch=int(line[6]),
        slots=slots,
        importing=importing,
        migrating=migrating,
    )

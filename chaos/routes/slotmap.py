"""What one client believes about who serves which slot: learned at the start, from redirections and by asking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from checkers.keyslot import key_slot

SLOTS = 16384
Address = tuple[str, int]


class Redirection(NamedTuple):
    """A MOVED or ASK reply, understood."""

    asking: bool
    slot: int
    node: str


class UnknownAddress(Exception):
    """A reply names no address, or one that belongs to no node of the run; the message quotes it."""


class Directory:
    """Names of nodes by address. Behind a proxy a node announces another address than it is reached at: an alias."""

    def __init__(self, nodes: Mapping[str, Address], aliases: Mapping[str, str]) -> None:
        """`aliases` maps `host:port`, as servers announce it, to the name of the node."""
        self.addresses = dict(nodes)
        self._names = {f"{host}:{port}": name for name, (host, port) in nodes.items()} | dict(aliases)

    def name(self, host: str, port: int) -> str:
        """The node at an address. Raises UnknownAddress."""
        try:
            return self._names[f"{host}:{port}"]
        except KeyError:
            raise UnknownAddress(f"{host}:{port} is no node of this run") from None

    def reachable(self, address: Address) -> Address:
        """Where clients reach what announces itself at an address; the address itself when it is no node's."""
        name = self._names.get(f"{address[0]}:{address[1]}")
        return address if name is None else self.addresses[name]

    def redirection(self, text: str, said_by: str) -> Redirection:
        """Understand `MOVED 7629 host:port` or `ASK ...`, said by a node. An empty host means that node's own.

        Raises UnknownAddress.
        """
        try:
            kind, slot, address = text.split()[:3]
            host, _, port = address.rpartition(":")
            return Redirection(kind == "ASK", int(slot), self.name(host or self.addresses[said_by][0], int(port)))
        except ValueError:
            raise UnknownAddress(f"{text!r} is no redirection") from None


class SlotMap:
    """Owner of each slot and replicas of each owner, as one client believes them to be. Implements `Placement`."""

    question = ("CLUSTER", "SLOTS")

    def __init__(self, ranges: Iterable[Sequence[Any]], replicas: Mapping[str, Sequence[str]]) -> None:
        """`ranges` are [first slot, last slot, node]; `replicas` names the replicas of each primary."""
        self._owners: list[str | None] = [None] * SLOTS
        self._replicas = {primary: list(names) for primary, names in replicas.items()}
        for first, last, node in ranges:
            self._owners[first : last + 1] = [node] * (last + 1 - first)

    def owner(self, slot: int) -> str | None:
        """The primary of a slot, or None when nobody is known to serve it."""
        return self._owners[slot]

    def place(self, key: str) -> str | None:
        """The primary of a key's slot, or None when nobody is known to serve it."""
        return self._owners[slot_of(key)]

    def learned(self, reply: Any, directory: Directory, said_by: str) -> SlotMap:
        """The map that a node answered. Raises ValueError for a reply that is none."""
        return self.from_reply(reply, directory, said_by)

    def moved(self, slot: int, node: str) -> None:
        """Believe a MOVED."""
        self._owners[slot] = node

    def replicas(self, primary: str) -> Sequence[str]:
        """Replicas of a primary; empty when none is known."""
        return self._replicas.get(primary, ())

    @classmethod
    def from_reply(cls, reply: Any, directory: Directory, said_by: str) -> SlotMap:
        """Understand the reply of CLUSTER SLOTS from a node: [[first, last, [host, port, id], replica, ...], ...].

        Nodes that are not of this run are left out. Raises ValueError for a reply of another shape.
        """
        ranges = []
        replicas: dict[str, list[str]] = {}
        try:
            for first, last, *servers in reply:
                names = [name for server in servers if (name := _server(server, directory, said_by)) is not None]
                if names:
                    ranges.append((first, last, names[0]))
                    replicas[names[0]] = names[1:]
        except (TypeError, LookupError) as error:
            raise ValueError(f"{said_by} answered CLUSTER SLOTS with {reply!r}") from error
        return cls(ranges, replicas)


def _server(server: list[Any], directory: Directory, said_by: str) -> str | None:
    host = (server[0] or b"").decode() or directory.addresses[said_by][0]
    try:
        return directory.name(host, server[1])
    except UnknownAddress:
        return None


_slots: dict[str, int] = {}


def slot_of(key: str) -> int:
    """The slot of a key; remembered, because a run has few keys and asks for them all the time."""
    slot = _slots.get(key)
    if slot is None:
        slot = _slots[key] = key_slot(key.encode())
    return slot

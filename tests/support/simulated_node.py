"""What the nodes of a simulated cluster hold, and what commands do to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from checkers.events import Event
from checkers.keyslot import key_slot

REFUSED = object()
"""What `apply` returns for an operation that finds itself impossible, such as acquiring a lock that is held."""


@dataclass(eq=False)
class Command:
    """One operation of a client on its way through the cluster."""

    f: str
    key: str
    value: Any
    keys: tuple[str, ...]
    via: str | None = None
    invoke: Event | None = None
    hops: list[str] = field(default_factory=list)
    """Nodes that were asked, in order."""
    sent: int = 0
    """How often the client sent it because no answer came."""
    tries: int = 0
    """How often it was told to try again."""
    settled: bool = False
    """Whether its client has an outcome; a late answer changes nothing any more."""

    @property
    def slots(self) -> set[int]:
        return {key_slot(key) for key in self.keys}

    @property
    def reads(self) -> bool:
        """Whether it changes nothing."""
        return self.f in ("read", "mget") or (self.f == "txn" and all(verb == "r" for verb, *_ in self.value))

    def element(self, key: str) -> Any:
        """What it adds to a set or appends to a list."""
        if self.f != "txn":
            return self.value
        return next(element for verb, name, element in self.value if (verb, name) == ("append", key))


@dataclass
class Cell:
    """The content of one key, and the commands that made it so, oldest first."""

    value: Any = None
    log: list[Command] = field(default_factory=list)

    def copy(self) -> Cell:
        return Cell(list(self.value) if isinstance(self.value, list) else self.value, list(self.log))


Data = dict[str, Cell]


def copied(data: Data) -> Data:
    """Everything a node holds, for another one."""
    return {key: cell.copy() for key, cell in data.items()}


@dataclass(eq=False)
class Node:
    """A server. Who has no primary is one; `slots` are ranges, both ends included."""

    name: str
    primary: str | None
    epoch: int
    slots: list[list[int]]
    data: Data = field(default_factory=dict)
    up: bool = True
    cut: bool = False
    """Cut off from the other nodes and from most clients."""
    link: int = 0
    """Number of its connection to its primary: what was sent on an earlier one never arrives."""
    delivered: int = 0
    """When the last command that is under way to its replicas arrives; replication keeps the order."""
    migrating: dict[int, str] = field(default_factory=dict)
    importing: set[int] = field(default_factory=set)
    held: list[Callable[[int], None]] | None = None
    """Writes that wait while it hands over; None when it does not."""
    misled: dict[int, str] = field(default_factory=dict)
    """Slots whose clients it sends to the wrong node."""
    memory: Data = field(default_factory=dict)
    """What it had when it was deposed."""
    remembers_until: int = 0
    """Up to this time it answers reads from its memory."""
    outdated: bool = False
    """Whether it believes in the first slot map for ever."""

    def claims(self, slot: int) -> bool:
        return any(first <= slot <= last for first, last in self.slots)

    def give_up(self, slot: int) -> None:
        kept = []
        for first, last in self.slots:
            parts = [[first, slot - 1], [slot + 1, last]] if first <= slot <= last else [[first, last]]
            kept += [part for part in parts if part[0] <= part[1]]
        self.slots = kept

    def keys_of(self, slot: int) -> list[str]:
        return sorted(key for key in self.data if key_slot(key) == slot)


def apply(data: Data, command: Command, part: slice = slice(None)) -> Any:
    """Do a command, or a part of it, on a node's data; what its client gets for it, or `REFUSED`."""
    f, value = command.f, command.value
    if f == "txn":
        return [_micro(data, command, micro) for micro in value[part]]
    if f == "mget":
        return {key: data[key].value if key in data else None for key in value}
    if f == "mset":
        for key in command.keys[part]:
            _set(data, command, key, value[key])
        return value
    held = data[command.key].value if command.key in data else None
    if f == "read":
        return _shown(command.key, held)
    return CHANGES[f](data, command, held)


def _micro(data: Data, command: Command, micro: list[Any]) -> list[Any]:
    verb, key, element = micro
    held = data[key].value if key in data else []
    if verb == "r":
        return ["r", key, list(held)]
    _set(data, command, key, [*held, element])
    return micro


def _set(data: Data, command: Command, key: str, value: Any) -> Any:
    cell = data.setdefault(key, Cell())
    cell.value = value
    cell.log.append(command)
    return command.value


def _shown(key: str, held: Any) -> Any:
    """A set as a list of its elements, a counter that is absent as 0."""
    return list(held or []) if key.startswith("s") else (held or 0) if key.startswith("c") else held


def _add(data: Data, command: Command, held: Any) -> Any:
    if command.key.startswith("c"):
        return _set(data, command, command.key, (held or 0) + command.value)
    return _set(data, command, command.key, [*(held or []), command.value])


def _acquire(data: Data, command: Command, held: Any) -> Any:
    return _set(data, command, command.key, command.value) if held is None else REFUSED


def _release(data: Data, command: Command, held: Any) -> Any:
    if held != command.value:
        return REFUSED
    _set(data, command, command.key, None)
    return command.value


def _dequeue(data: Data, command: Command, held: Any) -> Any:
    if not held:
        return None
    _set(data, command, command.key, held[1:])
    return held[0]


CHANGES: dict[str, Callable[[Data, Command, Any], Any]] = {
    "write": lambda data, command, held: _set(data, command, command.key, command.value),
    "add": _add,
    "acquire": _acquire,
    "release": _release,
    "enqueue": lambda data, command, held: _set(data, command, command.key, [*(held or []), command.value]),
    "dequeue": _dequeue,
}
"""Operations on one key that change it, given what is there."""

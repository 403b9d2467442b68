"""The seam between a client and the world: what a machine is told, and what it wants done.

A machine does no input or output and reads no clock. It is told what happened and when, and puts what it wants done
into `Effects`; whoever drives it does that, in this order: events into the history, then connections, then bytes.
So an operation is in the history before its bytes leave, and the same machine runs on sockets and in virtual time.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

from hiredis import Reader

from checkers.history import NEVER, Event

__all__ = ["NEVER", "Effects", "Link", "Machine", "Phase"]


class Phase(IntEnum):
    """How far a connection has come."""

    CONNECTING = 0
    GREETING = 1
    """Connected; its name is told to the server. Bytes of an operation are sent only after that was answered."""
    READY = 2
    CLOSED = 3


class Link:
    """One connection of one machine to one node; also the handle by which a transport knows it."""

    __slots__ = ("awaited", "machine", "node", "opened", "overdue", "phase", "reader", "readonly")

    def __init__(self, machine: Machine, node: str, readonly: bool, opened: int) -> None:
        self.machine = machine
        self.node = node
        self.readonly = readonly
        """Whether it asked for READONLY, so that a replica answers."""
        self.opened = opened
        """When the machine asked for it."""
        self.overdue = False
        """An operation waited for it in vain, or for the link before it."""
        self.phase = Phase.CONNECTING
        self.reader = Reader()
        self.awaited = 0
        """Replies to the greeting that are still to come."""


class Effects:
    """What machines want done. The driver empties it after each round."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.opens: list[Link] = []
        self.closes: list[Link] = []
        self.sends: list[tuple[Link, bytes]] = []
        self.counts = {"ok": 0, "fail": 0, "info": 0}
        """Operations completed since the run began; never emptied."""


class Machine(Protocol):
    """A client. Times are nanoseconds since the run began."""

    client: int
    executed: int
    """Operations begun so far; the next one is number `executed`."""
    wake: int
    """When `step` is to be called next, unless something happens before; `NEVER` when there is no need to."""

    @property
    def finished(self) -> bool:
        """Stopped, and nothing is under way."""

    def step(self, now: int) -> None:
        """`wake` has come: begin the next operation, go on after a pause, or give up what took too long."""

    def connected(self, link: Link, now: int) -> None:
        """A link that was opened is connected."""

    def received(self, link: Link, data: bytes, now: int) -> None:
        """Bytes came in."""

    def lost(self, link: Link, error: Exception, now: int) -> None:
        """A link could not be opened, or was ended by the other side or an error; it is closed already."""

    def stop(self) -> None:
        """Begin no further operation."""

    def close(self) -> None:
        """Close all links."""

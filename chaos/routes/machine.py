"""The seam between a client and the world: what a machine is told, and what it wants done.

A machine does no input or output and reads no clock. It is told what happened and when, and puts what it wants done
into `Effects`; whoever drives it does that, in this order: events into the history, then connections, then bytes.
So an operation is in the history before its bytes leave, and the same machine runs on sockets and in virtual time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from chaos.access import Credentials
from chaos.operation import Command, Operation
from chaos.routes.links import Link
from chaos.routes.slotmap import Directory
from checkers.events import Event


class Plans(Protocol):
    """Where operations come from: a `chaos.workloads.Mixture`, above all."""

    def operation(self, client: int, n: int, seed: int) -> Operation:
        """Operation `n` (from 0) of a client whose stream has this seed."""


class Task:
    """One operation at a time, in place of a mixture: what a client is to do that is told by another machine."""

    def __init__(self) -> None:
        self.next: Operation

    def operation(self, client: int, n: int, seed: int) -> Operation:
        """See `Plans`."""
        return self.next


class Effects:
    """What machines want done. The driver empties it after each round."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.opens: list[Link] = []
        self.closes: list[Link] = []
        self.sends: list[tuple[Link, bytes]] = []
        self.counts = {"ok": 0, "fail": 0, "info": 0}
        """Operations completed since the run began; never emptied."""


@dataclass(frozen=True)
class Terms:
    """What all clients of a run have in common."""

    mixture: Plans
    directory: Directory
    total: int
    """Clients of the whole run; a process number grows by this after an operation of unknown outcome."""
    timeout_ns: int
    interval_ns: int = 0
    """From the beginning of one operation to that of the next, at least."""
    from_replicas: bool = False
    """Route `replica`: reads go to replicas in turn, over READONLY connections."""
    from_primaries: bool = False
    """And to the primary when its turn comes."""
    greeting: Command | None = None
    """What a connection begins with; None for the name of its client, which is an error to proxies."""
    credentials: Credentials | None = None
    """Who connections say they are, before anything else; None where nobody asks."""


class Linked(Protocol):
    """Who has links, and hears of them. Times are nanoseconds since the run began."""

    client: int

    def connected(self, link: Link, now: int) -> None:
        """A link that was opened is connected."""

    def received(self, link: Link, data: bytes, now: int) -> None:
        """Bytes came in."""

    def lost(self, link: Link, error: Exception, now: int) -> None:
        """A link could not be opened, or was ended by the other side or an error; it is closed already."""


class Machine(Protocol):
    """A client. Times are nanoseconds since the run began."""

    client: int
    executed: int
    """Operations begun so far; the next one is number `executed`."""

    @property
    def wake(self) -> int:
        """When `step` is to be called next, unless something happens before; `NEVER` when there is no need to."""

    @property
    def finished(self) -> bool:
        """Stopped, and nothing is under way."""

    def step(self, now: int) -> None:
        """`wake` has come: begin the next operation, go on after a pause, or give up what took too long."""

    def adopt(self, nodes: Sequence[str]) -> None:
        """The keys are shared among these nodes from now on; without effect on who asks the nodes for that."""

    def stop(self) -> None:
        """Begin no further operation."""

    def close(self) -> None:
        """Close all links."""

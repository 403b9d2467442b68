"""What the controller needs of a deployment, beyond the capabilities that faults use."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from nemeses.system import System

if TYPE_CHECKING:  # the plan's scenario names deployments, so at run time the import goes the other way
    from chaos.access import Access
    from chaos.keyspace import KeySpace
    from chaos.plan import Plan
    from chaos.topologies.base import Topology


class Deployment(System, Protocol):
    """A system that the controller starts, runs a plan against, and stops."""

    began_ns: int
    """When the run began, on the monotonic clock; set by the controller when the load starts."""

    @property
    def server(self) -> object:
        """The server under test; as text, its name and version: `valkey 9.1.2`."""

    @property
    def notes(self) -> Sequence[str]:
        """What a person should know of how the nodes were made, in sentences; complete after `start_all`."""

    @property
    def isolation(self) -> str:
        """How links are cut, in words."""

    def start_all(self) -> None:
        """Start every node. Raises ServerError with the server's own words."""

    def stop_all(self) -> None:
        """End everything that was started and undo every rule. May be called twice."""

    def collect_logs(self, target: Path) -> None:
        """Copy every node's log into `target`."""

    def client_address(self, client: int) -> str:
        """What a client binds before it connects (see `chaos.transport.local_address`), so that cuts tell it apart."""

    def translate(self, host: str, port: int) -> str | None:
        """Name of the node that goes by this address in redirections; None for a stranger."""

    def interrupt(self) -> None:
        """Make everything that waits raise Interrupted."""

    def clear_interrupt(self) -> None:
        """Let waiting work again."""


class Clients(Protocol):
    """The clients of a run at work; `chaos.load.Load` is what most deployments use."""

    executed: dict[int, int]
    """Operations begun, by client; complete once `counters` has ended."""

    @property
    def total(self) -> dict[str, int]:
        """Operations completed so far, by outcome."""

    def go(self) -> int:
        """Give the word; returns the reading of the deployment's clock (nanoseconds) at which the run begins."""

    def stop(self) -> None:
        """Ask them to finish early."""

    def tell(self, nodes: Sequence[str]) -> dict[str, int]:
        """Have them share the keys among these nodes, where they decide that themselves.

        Returns when they began to, in nanoseconds since the run began, by client process; empty when all have ended.
        Raises WaitTimeout.
        """

    def begun(self, client: int, operations: int) -> bool:
        """Whether a client has begun so many operations; see `nemeses.fault.Progress`."""

    def counters(self) -> Iterator[dict[str, int]]:
        """Operations completed so far by outcome, again and again until all are done. Raises RunFailed."""


@runtime_checkable
class OwnsTime(Protocol):
    """A deployment whose time is its own: so are the clients, and the real clock has no say in the history."""

    epoch_ns: int
    """What the servers' wall clocks said (nanoseconds since 1970) when the deployment's own clock stood at 0."""

    def load(self, plan: Plan, run_dir: Path, topology: Topology) -> AbstractContextManager[Clients]:
        """The clients, ready to go."""


@runtime_checkable
class Publishes(Protocol):
    """A deployment whose nodes may know themselves and each other by addresses that clients cannot reach."""

    published: Mapping[str, tuple[str, int]]
    """Host and port where clients reach a node instead, by its name; complete after `start_all`."""


@runtime_checkable
class Borrows(Protocol):
    """A deployment on servers that are not the run's own: it keeps to a key space of its own there."""

    keys: KeySpace
    """The keys of the run; complete after `start_all`."""
    access: Access
    """How clients get in."""


@runtime_checkable
class NeedsLeave(Protocol):
    """A kind of deployment whose servers are somebody's: to break something there needs leave."""

    def refuse_unallowed(self, plan: Plan, allowed: Collection[str]) -> None:
        """Raise BadInput unless the user has named every host on which something may break."""


class Kind(Protocol):
    """A kind of deployment, as the scenario names it (`deploy: local`)."""

    def refuse_impossible(self, plan: Plan, server: str | None, image: str | None) -> None:
        """Raise BadInput when this machine, or this kind, cannot carry the plan out.

        `server` is the program to test and `image` the container image, where the user named one.
        """

    def prefix(self) -> list[str]:
        """What the controller's command must be started behind."""

    def environment(self) -> Mapping[str, str]:
        """Variables that the controller needs."""

    def open(self, plan: Plan, run_dir: Path, server: str | None, image: str | None) -> Deployment:
        """Prepare the system of a plan, in the controller's process; nothing is started."""

    def clean(self, run_dir: Path) -> list[str]:
        """End what a killed controller left of this run, and say what it was."""

    def clean_shared(self) -> list[str]:
        """Remove what runs leave behind on purpose for those that follow, and say what it was."""

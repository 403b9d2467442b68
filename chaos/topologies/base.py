"""What the controller needs of a topology: how it is made, watched, brought to rest, and described."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, runtime_checkable

import msgspec

from chaos.member import Member
from chaos.topologies.rest import Unrest
from nemeses.system import Membership, System
from nemeses.view import Owners


class ClusterSpec(msgspec.Struct, frozen=True):
    """What the nodes form, as a scenario's `cluster` says."""

    topology: str = "cluster"
    primaries: int = 3
    replicas: int = 1
    """Replicas of each primary."""
    config: dict[str, str] = {}
    """Server directives, in the server's own units. `appendonly` and `save` are always stated."""
    options: dict[str, Any] = {}
    """The topology's own options."""


class Kind(NamedTuple):
    """A topology as scenarios name it."""

    summary: str
    make: Callable[[ClusterSpec], Topology]
    """Starts nothing."""
    routes: Sequence[str]
    """Names of the routes by which clients can reach it; the first is the default."""
    capabilities: frozenset[str] = frozenset()
    """What faults may ask of it (see `nemeses.system.FORMED`)."""
    modes: Mapping[str, Sequence[str]] = {}
    """Of faults that cannot have every `mode` here, by name, those that they can have."""
    config: Mapping[str, str] = {}
    """Server directives that a scenario should show; its own go before."""
    options: Mapping[str, Any] = {}
    """Its own options in a scenario, each with its default."""
    defaults: Mapping[str, int] = {"primaries": 3, "replicas": 1}
    """How many nodes there are unless the scenario says so."""
    refuses: Callable[[Mapping[str, Mapping[str, Any]]], str | None] = lambda workloads: None
    """Why it cannot serve these workloads (options by name), in one sentence; None when it can."""


class Topology(Protocol):
    """What the nodes of a system form."""

    members: list[Member]
    """Its nodes, in the order of their numbers."""
    replicas_of: dict[str, list[str]]
    """Names of the replicas by the name of their primary, as formed."""
    groups: Mapping[str, list[str]]
    """Names of nodes by what clients need them for; routes say which groups they use."""
    patience_ms: int
    """How long it may take to come to rest once every fault is healed."""

    def target(self, text: str, route: str) -> str:
        """A target that names a key (`primary of k0`) as one that nodes can resolve; any other unchanged.

        Raises ValueError for one that cannot exist.
        """

    def initial_map(self) -> Owners:
        """First slot, last slot and owner of each range, as formed; empty where keys have no slots."""

    def form(self, system: System) -> None:
        """Make it, and return when it serves everywhere and every replica is linked. Raises WaitTimeout."""

    def observed(self, system: System, emit: Callable[[Mapping[str, Any]], None]) -> AbstractContextManager[object]:
        """While the context is entered, `emit` gets what each node says of itself, at the start and at changes."""

    def converge(self, system: System, deadline_ms: int) -> Unrest | None:
        """Wait until all are at rest; None, or why they were not within the deadline."""

    def maps(self, system: System) -> dict[str, Owners]:
        """What each node that answers believes of who serves which slots; empty where keys have none."""

    def owner(self, system: System, maps: Mapping[str, Owners]) -> Callable[[str], str]:
        """Where a key is to be read now; any node where nobody serves it. `maps` is what `maps` found."""

    def holds(self, system: System, patterns: Iterable[str]) -> dict[str, list[str]]:
        """The keys that match one of `patterns`, by the primary that holds them."""

    def current_replicas(self, system: System) -> dict[str, list[str]]:
        """Names of the replicas that answer, by the primary that each says it follows."""


@runtime_checkable
class Shared(Protocol):
    """A topology whose clients share the keys among the nodes themselves."""

    def shared(self, route: str, tell: Callable[[Sequence[str]], Mapping[str, int]]) -> Membership:
        """Among whom, from now on: `tell` tells the clients of `route`. Decides what `owner` says."""

"""What topologies of servers that are in no cluster have in common: how they are watched, brought to rest and read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from chaos.member import Member
from chaos.topologies import contents
from chaos.topologies.observer import Observer
from chaos.topologies.rest import Check, Unrest, come_to_rest
from nemeses.system import System
from nemeses.view import Owners

PATIENCE_MS = 25_000


class Alone:
    """Base of such topologies: servers with data, and perhaps other programs beside them."""

    def __init__(self, servers: Sequence[Member], others: Sequence[Member] = (), replicas: int = 0) -> None:
        """`servers` hold the data: all primaries first, then the replicas in turn, `replicas` of each."""
        self.members = [*servers, *others]
        self.servers = [member.name for member in servers]
        count = len(servers) // (1 + replicas)
        self.primaries = self.servers[:count]
        self.replicas_of = {name: self.servers[count + i :: count] for i, name in enumerate(self.primaries)}
        """Names of the replicas by the name of their primary, as formed."""
        self.groups: Mapping[str, list[str]] = {"shards": self.primaries}
        self.patience_ms = PATIENCE_MS

    def initial_map(self) -> Owners:
        """Keys have no slots here."""
        return []

    def observed(self, system: System, emit: Callable[[Mapping[str, Any]], None]) -> Observer:
        """See `Topology.observed`; the values are those of `view` events."""
        return Observer(system, emit, self.servers)

    def converge(self, system: System, deadline_ms: int) -> Unrest | None:
        """See `Topology.converge`."""
        return come_to_rest(system, self.servers, self.settled(), deadline_ms)

    def settled(self) -> Iterable[Check]:
        """What more must be so when all is at rest; they get the views of the servers."""
        return ()

    def maps(self, system: System) -> dict[str, Owners]:
        """Keys have no slots here."""
        return {}

    def holds(self, system: System, patterns: Iterable[str]) -> dict[str, list[str]]:
        """See `Topology.holds`."""
        return contents.holds(system, self.servers, patterns)

    def current_replicas(self, system: System) -> dict[str, list[str]]:
        """See `Topology.current_replicas`."""
        return contents.replicas(system, self.servers)

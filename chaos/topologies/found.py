"""What nodes form that somebody else runs: found, not formed, and left as it is.

`endpoint-cluster` is a Redis Cluster. `endpoint-replication` is known by names only: that of a primary, and those of
readers. Which servers are behind these names changes in a failover, and only the names are nodes of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from chaos.member import Member
from chaos.roles import by_slot, of_key
from chaos.topologies import contents
from chaos.topologies.base import ClusterSpec, Kind
from chaos.topologies.observer import Observer
from chaos.topologies.rest import (
    SETTLED,
    Unrest,
    await_all,
    clients_gone,
    converge,
    info,
    offered,
)
from checkers.keyslot import SLOTS, key_slot
from nemeses.system import FORMED, System, WaitTimeout
from nemeses.view import Owners, View

READY_TIMEOUT_MS = 20_000
PATIENCE_MS = 60_000


class FoundCluster:
    """A Redis Cluster that is there."""

    def __init__(self, spec: ClusterSpec) -> None:
        """Nothing is known before `form`."""
        self.members: list[Member] = []
        self.replicas_of: dict[str, list[str]] = {}
        self.groups: Mapping[str, list[str]] = {}
        self.patience_ms = PATIENCE_MS
        self._map: Owners = []

    def target(self, text: str, route: str) -> str:
        """See `Topology.target`: the prefix of a run's keys does not change their slots."""
        return by_slot(text)

    def initial_map(self) -> Owners:
        """First slot, last slot and owner of each range, as found."""
        return self._map

    def form(self, system: System) -> None:
        """Wait until the cluster is at rest, and remember what it is. Raises WaitTimeout."""
        await_all(system, "the cluster at the endpoint is at rest", SETTLED, READY_TIMEOUT_MS)
        view = View.fetch(system, next(iter(system.nodes)))
        self._map = view.owners()
        self.replicas_of = {name: view.replicas(name) for name in view.primaries()}

    def observed(self, system: System, emit: Callable[[Mapping[str, Any]], None]) -> Observer:
        """See `Topology.observed`."""
        return Observer(system, emit)

    def converge(self, system: System, deadline_ms: int) -> Unrest | None:
        """See `Topology.converge`."""
        return converge(system, deadline_ms)

    def maps(self, system: System) -> dict[str, Owners]:
        """See `Topology.maps`."""
        return {name: view.owners() for name, view in contents.views(system, system.nodes)}

    def owner(self, system: System, maps: Mapping[str, Owners]) -> Callable[[str], str]:
        """See `Topology.owner`: where nodes disagree, the last one is believed."""
        owners: dict[int, str] = {}
        for ranges in maps.values():
            for first, last, owner in ranges:
                owners.update(dict.fromkeys(range(first, last + 1), owner))
        anyone = next(iter(maps), next(iter(system.nodes)))
        return lambda key: owners.get(key_slot(key), anyone)

    def holds(self, system: System, patterns: Iterable[str]) -> dict[str, list[str]]:
        """See `Topology.holds`."""
        return contents.holds(system, system.nodes, patterns)

    def current_replicas(self, system: System) -> dict[str, list[str]]:
        """See `Topology.current_replicas`; none where nobody says how far replicas are."""
        return contents.replicas(system, system.nodes) if offered(system, "INFO", "REPLICATION") else {}


class _Names(Observer):
    """Shows the name of the primary as what it is to the checkers: the server of all keys, without a proof of it.

    A server that is primary already and has only the name of a reader yet serves nothing by it.
    """

    def __init__(self, system: System, emit: Callable[[Mapping[str, Any]], None], primary: str) -> None:
        super().__init__(system, emit)
        self._primary = primary

    def _look(self, node: str) -> dict[str, Any] | None:
        said = super()._look(node)
        if said is None or said["state"] == "down":
            return said
        serves = said["role"] == "primary" and node == self._primary
        follows = self._primary if said["role"] == "replica" and node != self._primary else None
        return {**said, "epoch": None, "primary": follows, "slots": [[0, SLOTS - 1]] if serves else []}


class FoundReplication:
    """A primary and readers of which the names are known: the first node, and the others."""

    def __init__(self, spec: ClusterSpec) -> None:
        """Nothing is known before `form`."""
        self.members: list[Member] = []
        self.replicas_of: dict[str, list[str]] = {}
        self.groups: Mapping[str, list[str]] = {}
        self.patience_ms = PATIENCE_MS
        self._primary = ""
        self._readers: list[str] = []

    def target(self, text: str, route: str) -> str:
        """See `Topology.target`: every key is on the primary."""
        return of_key(text, lambda role, key: f"a {role}")

    def initial_map(self) -> Owners:
        """The primary has all keys; no slot is ever asked for."""
        return [(0, SLOTS - 1, self._primary)]

    def form(self, system: System) -> None:
        """Wait until the readers have what the primary has. Raises WaitTimeout."""
        self._primary, *self._readers = system.nodes
        self.replicas_of = {self._primary: self._readers}
        self.groups = {"primary": [self._primary], "readers": self._readers}
        await_all(system, "the readers have caught up", (self._caught_up,), READY_TIMEOUT_MS)

    def observed(self, system: System, emit: Callable[[Mapping[str, Any]], None]) -> AbstractContextManager[object]:
        """See `Topology.observed`."""
        return _Names(system, emit, self._primary)

    def converge(self, system: System, deadline_ms: int) -> Unrest | None:
        """See `Topology.converge`."""
        try:
            await_all(system, "the servers come to rest", (clients_gone, self._caught_up), deadline_ms)
        except WaitTimeout as error:
            return Unrest(str(error))
        return None

    def maps(self, system: System) -> dict[str, Owners]:
        """Nobody redirects."""
        return {}

    def owner(self, system: System, maps: Mapping[str, Owners]) -> Callable[[str], str]:
        """See `Topology.owner`."""
        return lambda key: self._primary

    def holds(self, system: System, patterns: Iterable[str]) -> dict[str, list[str]]:
        """See `Topology.holds`; readers are not asked, though the primary may be behind their name."""
        return contents.holds(system, [self._primary], patterns)

    def current_replicas(self, system: System) -> dict[str, list[str]]:
        """See `Topology.current_replicas`."""
        return {self._primary: self._readers}

    def _caught_up(self, system: System, views: dict[str, View]) -> str | None:
        """Behind the reader's name is the primary itself, or a replica of its history that lacks nothing."""
        theirs = info(system, self._primary, "replication")  # first: it may only grow until the readers are asked
        if theirs.get("role") != "master":
            return f"behind {self._primary} is no primary"
        for reader in self._readers:
            ours = info(system, reader, "replication")
            if ours.get("master_replid") != theirs.get("master_replid"):
                return f"{reader} follows another history than {self._primary}"
            if ours.get("role") != "master" and ours.get("master_link_status") != "up":
                return f"{reader} is not linked to its primary"
            done = ours.get("master_repl_offset" if ours.get("role") == "master" else "slave_repl_offset", 0)
            if (lag := int(theirs["master_repl_offset"]) - int(done)) > 0:
                return f"{reader} is {lag} bytes behind {self._primary}"
        return None


ENDPOINT_CLUSTER = Kind(
    "a Redis Cluster at an endpoint",
    FoundCluster,
    routes=("bare", "replica", "cluster", "redirect"),
    capabilities=FORMED,  # what can be asked of an offering is said by its profile, and refused by its name
)
ENDPOINT_REPLICATION = Kind(
    "a primary and its readers at an endpoint",
    FoundReplication,
    routes=("bare", "replica"),
    capabilities=FORMED,  # what can be asked of an offering is said by its profile, and refused by its name
)

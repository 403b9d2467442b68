"""The topology `cluster`: N primaries that share the slots, each with R replicas.

Order of forming: on every node its configuration epoch and slots, only then MEET. A node that knows another refuses
SET-CONFIG-EPOCH, and distinct epochs from the start spare the cluster the settling of collisions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from chaos.member import servers
from chaos.roles import by_slot
from chaos.topologies import contents
from chaos.topologies.base import ClusterSpec, Kind
from chaos.topologies.observer import Observer
from chaos.topologies.rest import CLIENT_PREFIX, SETTLED, Unrest, await_all, converge
from checkers.keyslot import key_slot
from nemeses.system import System
from nemeses.view import Owners, View

SLOTS = 16384
READY_TIMEOUT_MS = 20_000
PREFERRED = {"cluster-node-timeout": "1000"}
IN_CLUSTER = {"cluster-enabled": "yes", "cluster-allow-replica-migration": "no"}
"""Directives of every node, unless the scenario says otherwise; a replica that changes its primary would change what
a fault's target means."""


class ClusterTopology:
    """Forms a cluster of the system's nodes: the first `primaries` of them are primaries, then replicas in turn.

    The last ones are spare: primaries without slots, to which a fault `resize` moves some.
    """

    def __init__(self, spec: ClusterSpec) -> None:
        """`spec` says how many primaries there are, how many replicas each has, and what they are told."""
        primaries = spec.primaries
        config = {**PREFERRED, **spec.config}
        spare: int = spec.options.get("spare", 0)
        self.members = servers(primaries * (1 + spec.replicas) + spare, {**IN_CLUSTER, **config})
        self.names = [member.name for member in self.members]
        names, spares = self.names[: len(self.names) - spare], self.names[len(self.names) - spare :]
        self.primaries = names[:primaries]
        self.replicas_of = {name: names[primaries + i :: primaries] for i, name in enumerate(self.primaries)}
        """Names of the replicas by the name of their primary, as formed."""
        self.groups: Mapping[str, list[str]] = {"spares": spares}
        self.patience_ms = 15_000 + 10 * int(config["cluster-node-timeout"])

    def target(self, text: str, route: str) -> str:
        """See `Topology.target`: keys have slots, and nodes know whose those are."""
        return by_slot(text)

    def initial_map(self) -> list[tuple[int, int, str]]:
        """First slot, last slot and owner of each range, as formed: equal shares."""
        count = len(self.primaries)
        bounds = [SLOTS * i // count for i in range(count + 1)]
        return [(bounds[i], bounds[i + 1] - 1, name) for i, name in enumerate(self.primaries)]

    def form(self, system: System) -> None:
        """Make the cluster and return when it serves everywhere and every replica is linked (about 2 s).

        Those 2 s are the server's own: it does not serve sooner after its start. Raises WaitTimeout.
        """
        for epoch, name in enumerate(self.names, 1):
            system.call(name, "CLUSTER", "SET-CONFIG-EPOCH", epoch)
        for first, last, name in self.initial_map():
            system.call(name, "CLUSTER", "ADDSLOTSRANGE", first, last)
        for position, name in enumerate(self.names):
            for other in self.names[position + 1 :]:
                node = system.nodes[other]
                system.call(name, "CLUSTER", "MEET", node.host, node.port, node.bus_port)
        for primary, replicas in self.replicas_of.items():
            for replica in replicas:
                _replicate(system, replica, primary)
        await_all(system, "the cluster is formed", (*SETTLED, self._as_formed), READY_TIMEOUT_MS, self.names)

    def observed(self, system: System, emit: Callable[[Mapping[str, Any]], None]) -> Observer:
        """See `Topology.observed`; the values are those of `view` events."""
        return Observer(system, emit, self.names)

    def converge(self, system: System, deadline_ms: int, client_prefix: str = CLIENT_PREFIX) -> Unrest | None:
        """Wait until the cluster is at rest; None, or why it was not within `deadline_ms`. See `rest.converge`."""
        return converge(system, deadline_ms, client_prefix, self.names)

    def maps(self, system: System) -> dict[str, Owners]:
        """See `Topology.maps`."""
        return {name: view.owners() for name, view in contents.views(system, self.names)}

    def owner(self, system: System, maps: Mapping[str, Owners]) -> Callable[[str], str]:
        """See `Topology.owner`: where nodes disagree, the last one is believed."""
        owners: dict[int, str] = {}
        for ranges in maps.values():
            for first, last, owner in ranges:
                owners.update(dict.fromkeys(range(first, last + 1), owner))
        anyone = next(iter(maps), self.names[0])
        return lambda key: owners.get(key_slot(key), anyone)

    def current_replicas(self, system: System) -> dict[str, list[str]]:
        """See `Topology.current_replicas`."""
        return contents.replicas(system, self.names)

    def holds(self, system: System, patterns: Iterable[str]) -> dict[str, list[str]]:
        """See `Topology.holds`."""
        return contents.holds(system, self.names, patterns)

    def _as_formed(self, system: System, views: dict[str, View]) -> str | None:
        for name, view in views.items():
            for primary, replicas in self.replicas_of.items():
                if view.replicas(primary) != sorted(replicas):
                    return f"{name} does not know all replicas of {primary} yet"
        return None


def _replicate(system: System, replica: str, primary: str) -> None:
    id_ = system.call(primary, "CLUSTER", "MYID")

    def replicates() -> bool:
        return bool(system.call(replica, "CLUSTER", "REPLICATE", id_) == b"OK")

    system.wait(f"{replica} knows {primary} and replicates it", replicates, READY_TIMEOUT_MS)


CLUSTER = Kind(
    "a Redis Cluster: primaries that share the slots, each with its replicas",
    ClusterTopology,
    routes=("bare", "replica", "cluster", "redirect", "tracking"),
    capabilities=frozenset({"slots", "promotion", "resize"}),
    config=PREFERRED,
    options={"spare": 0},
)

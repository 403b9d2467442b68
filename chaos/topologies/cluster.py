"""The topology `cluster`: N primaries that share the slots, each with R replicas.

Order of forming: on every node its configuration epoch and slots, only then MEET. A node that knows another refuses
SET-CONFIG-EPOCH, and distinct epochs from the start spare the cluster the settling of collisions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from chaos.topologies.observer import Observer
from chaos.topologies.rest import CLIENT_PREFIX, SETTLED, Unrest, await_all, converge
from nemeses.system import ReplyError, System, Unreachable
from nemeses.view import Owners, View

SLOTS = 16384
READY_TIMEOUT_MS = 20_000
SCAN_COUNT = 5_000


class ClusterTopology:
    """Forms a cluster of the system's nodes: the first `primaries` of them are primaries, the rest replicas in turn."""

    def __init__(self, primaries: int, replicas: int) -> None:
        """`replicas` is how many each primary has."""
        names = [f"n{number}" for number in range(1, primaries * (1 + replicas) + 1)]
        self.names = names
        self.primaries = names[:primaries]
        self.replicas_of = {name: names[primaries + i :: primaries] for i, name in enumerate(self.primaries)}
        """Names of the replicas by the name of their primary, as formed."""

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
        await_all(system, "the cluster is formed", (*SETTLED, self._as_formed), READY_TIMEOUT_MS)

    def observed(self, system: System, emit: Callable[[Mapping[str, Any]], None]) -> Observer:
        """See `Topology.observed`; the values are those of `view` events."""
        return Observer(system, emit)

    def converge(self, system: System, deadline_ms: int, client_prefix: str = CLIENT_PREFIX) -> Unrest | None:
        """Wait until the cluster is at rest; None, or why it was not within `deadline_ms`. See `rest.converge`."""
        return converge(system, deadline_ms, client_prefix)

    def maps(self, system: System) -> dict[str, Owners]:
        """See `Topology.maps`."""
        return {name: view.owners() for name, view in _views(system)}

    def current_replicas(self, system: System) -> dict[str, list[str]]:
        """See `Topology.current_replicas`."""
        found: dict[str, list[str]] = {}
        for name, view in _views(system):
            if view.myself.primary is not None:
                found.setdefault(view.myself.primary, []).append(name)
        return found

    def holds(self, system: System, patterns: Iterable[str]) -> dict[str, list[str]]:
        """The keys that match one of `patterns` (as in SCAN), sorted, by the primary that holds them.

        Every node that calls itself a primary is asked, also about keys whose slot it does not serve; one that does
        not answer is left out.
        """
        wanted = list(patterns)
        found: dict[str, list[str]] = {}
        for name, view in _views(system):
            if view.myself.is_primary:
                keys = {key for pattern in wanted for key in _scan(system, name, pattern)}
                found[name] = sorted(key.decode(errors="replace") for key in keys)
        return found

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


def _views(system: System) -> Iterator[tuple[str, View]]:
    for name in system.nodes:
        try:
            yield name, View.fetch(system, name)
        except (Unreachable, ReplyError):
            continue


def _scan(system: System, node: str, pattern: str) -> Iterator[bytes]:
    cursor: bytes | int = 0
    while cursor != b"0":
        cursor, keys = system.call(node, "SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_COUNT)
        yield from keys

"""The topology `replication`: one primary, its replicas, and Sentinels that promote one of them when it fails.

The replicas are linked before the Sentinels hear of the primary: those ask it for its replicas at once, and then only
every 10 s. Sentinels find each other by what they publish on the primary, every 2 s, so forming takes about that long.
Forming and watching use the names of commands that Redis and Valkey both know (Valkey has PRIMARY beside MASTER).

The one shard is shown as serving all slots: that is what "primary" means to the checkers, and a deposed one is told
by its epoch (see `chaos.topologies.watch`). No slot is ever asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from chaos.errors import BadInput
from chaos.member import Member, servers
from chaos.roles import of_key
from chaos.topologies.alone import Alone
from chaos.topologies.base import ClusterSpec, Kind
from chaos.topologies.rest import Check, await_all, caught_up
from chaos.topologies.watch import ALL_SLOTS, Watch
from nemeses import sentinel_failover
from nemeses.sentinels import SERVICE, newest, sentinels, sight, table
from nemeses.system import System
from nemeses.view import Owners, View

READY_TIMEOUT_MS = 20_000
DEMOTED_MS = 10_000
"""A Sentinel demotes an old primary that came back once it has been well, and wrong about its role, for 8 s."""
UNWELL = frozenset({"s_down", "o_down", "disconnected"})
"""Flags of what a Sentinel does not reach."""


class ReplicationTopology(Alone):
    """Forms one primary with replicas, and Sentinels beside them."""

    def __init__(self, spec: ClusterSpec) -> None:
        """`spec` says how many replicas and Sentinels there are. Raises BadInput for more than one primary."""
        if spec.primaries != 1:
            raise BadInput("topology replication has one primary: leave `primaries` out, or use topology shards")
        options = {**OPTIONS, **spec.options}
        if options["sentinels"] < 1:
            raise BadInput("topology replication needs at least one Sentinel: without any nobody is promoted")
        watchers = [Member(f"s{number}", {}, "sentinel") for number in range(1, options["sentinels"] + 1)]
        super().__init__(servers(1 + spec.replicas, spec.config), watchers, spec.replicas)
        self.watchers = [member.name for member in watchers]
        self.groups = {"servers": self.servers, "sentinels": self.watchers}
        self.patience_ms = 15_000 + DEMOTED_MS + 5 * options["down_after_ms"] + 2 * options["failover_timeout_ms"]
        self._terms = {
            "down-after-milliseconds": options["down_after_ms"],
            "failover-timeout": options["failover_timeout_ms"],
            "parallel-syncs": 1,
        }

    def target(self, text: str, route: str) -> str:
        """See `Topology.target`: every key is on the one primary, and on every replica."""
        return of_key(text, lambda role, key: f"a {role}")

    def initial_map(self) -> Owners:
        """The one primary has all keys; see the module."""
        first, last = ALL_SLOTS
        return [(first, last, self.primaries[0])]

    def form(self, system: System) -> None:
        """Link the replicas, then let the Sentinels watch; returns when all know each other. Raises WaitTimeout."""
        (primary,) = self.primaries
        node = system.nodes[primary]
        for replica in self.replicas_of[primary]:
            system.call(replica, "REPLICAOF", node.host, node.port)
            system.call(replica, "CONFIG", "REWRITE")  # so that it comes back as a replica
        await_all(system, "the replicas are linked", (self._all_linked, caught_up), READY_TIMEOUT_MS, self.servers)
        quorum = len(self.watchers) // 2 + 1
        for watcher in self.watchers:
            system.call(watcher, "SENTINEL", "MONITOR", SERVICE, node.host, node.port, quorum)
            terms = [part for pair in self._terms.items() for part in pair]
            system.call(watcher, "SENTINEL", "SET", SERVICE, *terms)
        for watcher in self.watchers:
            system.wait(f"{watcher} knows all", partial(self._knows_all, system, watcher), READY_TIMEOUT_MS)

    def observed(self, system: System, emit: Callable[[Mapping[str, Any]], None]) -> Watch:
        """See `Topology.observed`; Sentinels are watched, too."""
        return Watch(system, emit, [*self.servers, *self.watchers])

    def settled(self) -> Iterable[Check]:
        """All Sentinels name the same primary, it is one, and every other server follows it."""
        return (_one_primary,)

    def owner(self, system: System, maps: Mapping[str, Owners]) -> Callable[[str], str]:
        """See `Topology.owner`: the primary that the Sentinels name."""
        named = newest(system)
        primary = named.primary if named is not None and named.primary in self.servers else self.primaries[0]
        return lambda key: primary

    def _all_linked(self, system: System, views: dict[str, View]) -> str | None:
        for primary, replicas in self.replicas_of.items():
            if views[primary].replicas(primary) != sorted(replicas):
                return f"{primary} does not know all its replicas yet"
        return None

    def _knows_all(self, system: System, watcher: str) -> bool:
        """Whether a Sentinel reaches all replicas and all other Sentinels, and knows each replica to be linked."""
        replicas = [table(row) for row in system.call(watcher, "SENTINEL", "REPLICAS", SERVICE)]
        others = [table(row) for row in system.call(watcher, "SENTINEL", "SENTINELS", SERVICE)]
        well = all(not UNWELL.intersection(row["flags"].split(",")) for row in (*replicas, *others))
        linked = all(row.get("master-link-status") == "ok" for row in replicas)
        complete = len(replicas) == len(self.servers) - 1 and len(others) == len(self.watchers) - 1
        return complete and well and linked


def _one_primary(system: System, views: dict[str, View]) -> str | None:
    named = {watcher: sight(system, watcher) for watcher in sentinels(system)}
    for watcher, seen in named.items():
        if seen is None:
            return f"{watcher} has not finished a failover"
    primaries = {seen.primary for seen in named.values() if seen is not None}
    if len(primaries) > 1:
        beliefs = ", ".join(f"{name} names {seen.primary}" for name, seen in named.items() if seen)
        return f"the Sentinels disagree: {beliefs}"
    (primary,) = primaries
    for name, view in views.items():
        if view.myself.primary != (None if name == primary else primary):
            role = "a primary" if view.myself.is_primary else f"a replica of {view.myself.primary}"
            return f"the Sentinels name {primary} as primary, and {name} is {role}"
    return None


OPTIONS: Mapping[str, Any] = {"sentinels": 3, "down_after_ms": 1_000, "failover_timeout_ms": 10_000}
"""How many Sentinels there are, after which silence they hold a server for down, and `failover-timeout`: a failover
that got stuck is begun anew after twice that."""
REPLICATION = Kind(
    "one primary, its replicas, and Sentinels that promote one of them",
    ReplicationTopology,
    routes=("bare", "replica", "sentinel"),
    capabilities=frozenset({"promotion"}),
    modes={"failover": tuple(sentinel_failover.MODES)},
    options=OPTIONS,
    defaults={"primaries": 1, "replicas": 2},
)

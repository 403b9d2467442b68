"""The topology `proxied`: servers behind proxies that find the one for each key, and clients that know nothing.

Clients know the proxies only, and each speaks to one of them. Which server a key is on is decided inside the proxy: by
its own hashing and by whom it believes to be alive, or by what a cluster behind it says.

Coming to rest: what a client sent may still be in a proxy, or in the buffer of a connection between a proxy and a
server. So once everything is healed the proxies are killed, the servers are watched until they have no connection left
but the controller's, and then fresh proxies take the final reads: they have ejected nobody, and read each key where it
belongs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from chaos.member import Member, servers
from chaos.roles import of_key
from chaos.sharding import locator
from chaos.topologies.alone import Alone
from chaos.topologies.base import ClusterSpec, Kind
from chaos.topologies.cluster import ClusterTopology
from chaos.topologies.rest import CLIENT_PREFIX, Unrest, come_to_rest
from nemeses.kill import killer
from nemeses.system import System
from nemeses.view import Owners, View

HASHINGS: Mapping[str, tuple[str, ...]] = {
    "twemproxy": ("ketama", "modula", "random"),
    "envoy": ("ring_hash", "maglev"),
}
"""The ways in which each proxy shares the keys; the first is what it does unless told otherwise. Twemproxy: consistent
hashing, hash modulo the number of servers, any server. Envoy: a ring with many points a server, and Maglev's table."""
WAYS = {"ketama": "ring", "modula": "modulo"}
"""Which of them are ways of `chaos.sharding`, by the same hash and the names of the servers."""
OPTIONS: Mapping[str, Any] = {
    "proxy": "twemproxy",
    "proxies": 1,
    "hashing": "",
    "behind": "shards",
    "auto_eject": False,
    "timeout_ms": 400,
}
READY_TIMEOUT_MS = 10_000
PROBES = 64
"""Keys asked for through a fresh proxy: enough to reach every server, with any hashing."""


class ProxiedShards(Alone):
    """N servers that know nothing of each other, and the proxies that share the keys among them."""

    def __init__(self, spec: ClusterSpec, proxies: Sequence[Member]) -> None:
        """`proxies` stand before the servers of `spec`. Raises ValueError for replicas, which nobody would use."""
        if spec.replicas:
            raise ValueError(
                f"replicas: {spec.replicas}, but shards behind a proxy have none, nobody would use them; 0"
            )
        super().__init__(servers(spec.primaries, spec.config), proxies)
        self.proxies = [member.name for member in proxies]
        self.groups = {"proxies": self.proxies}
        self._hashing: str = proxies[0].config["hashing"]

    def target(self, text: str, route: str) -> str:
        """See `Topology.target`: Twemproxy's ways are known, where a key is with Envoy only Envoy knows."""
        return of_key(text, self._place)

    def _place(self, role: str, key: str) -> str:
        way = WAYS.get(self._hashing)
        if way is None:
            raise ValueError(f"where {key} is, only the proxy knows: name a server (n1), a proxy (p1) or 'a primary'")
        return locator(way, self.servers)(key)

    def form(self, system: System) -> None:
        """Return when each proxy reaches all servers. Raises WaitTimeout."""
        _await(system, self.proxies)

    def converge(self, system: System, deadline_ms: int) -> Unrest | None:
        """See the module, and `Topology.converge`."""
        with _afresh(system, self.proxies):
            return come_to_rest(system, self.servers, (_nobody_else,), deadline_ms)

    def owner(self, system: System, maps: Mapping[str, Owners]) -> Callable[[str], str]:
        """See `Topology.owner`: keys are read as clients read them."""
        return lambda key: self.proxies[0]


class ProxiedCluster(ClusterTopology):
    """A cluster, and proxies that know its slots, so that clients need not."""

    def __init__(self, spec: ClusterSpec, proxies: Sequence[Member]) -> None:
        """`proxies` stand before the cluster of `spec`."""
        super().__init__(spec)
        self.members = [*self.members, *proxies]
        self.proxies = [member.name for member in proxies]
        self.groups = {"proxies": self.proxies}

    def form(self, system: System) -> None:
        """Make the cluster, and return when each proxy reaches all of it. Raises WaitTimeout."""
        super().form(system)
        _await(system, self.proxies)

    def converge(self, system: System, deadline_ms: int, client_prefix: str = CLIENT_PREFIX) -> Unrest | None:
        """See the module, and `Topology.converge`."""
        with _afresh(system, self.proxies):
            return super().converge(system, deadline_ms, client_prefix)

    def owner(self, system: System, maps: Mapping[str, Owners]) -> Callable[[str], str]:
        """See `Topology.owner`: keys are read as clients read them."""
        return lambda key: self.proxies[0]


BEHIND: Mapping[str, Callable[[ClusterSpec, Sequence[Member]], ProxiedShards | ProxiedCluster]] = {
    "shards": ProxiedShards,
    "cluster": ProxiedCluster,
}
"""What the servers form."""


def make(spec: ClusterSpec) -> ProxiedShards | ProxiedCluster:
    """The topology that a scenario means. Raises ValueError for options that do not go together."""
    options = {**OPTIONS, **spec.options}
    proxy, behind = options["proxy"], options["behind"]
    if proxy not in HASHINGS:
        raise ValueError(f"proxy: {proxy!r} is none of {', '.join(HASHINGS)}")
    hashing = options["hashing"] or HASHINGS[proxy][0]
    if hashing not in HASHINGS[proxy]:
        raise ValueError(f"hashing: {proxy} knows {', '.join(HASHINGS[proxy])}, and not {hashing!r}")
    if behind not in BEHIND:
        raise ValueError(f"behind: {behind!r} is none of {', '.join(BEHIND)}")
    if behind == "cluster" and proxy == "twemproxy":
        raise ValueError("behind: twemproxy knows no cluster; write `proxy: envoy`, or `behind: shards`")
    if behind == "cluster" and options["hashing"]:
        raise ValueError(f"hashing: a cluster shares the keys by their slots, and not by {hashing}; leave it out")
    if options["proxies"] < 1:
        raise ValueError("proxies: there must be at least one")
    settings = {key: options[key] for key in ("behind", "auto_eject", "timeout_ms")} | {"hashing": hashing}
    proxies = [Member(f"p{number}", settings, proxy) for number in range(1, options["proxies"] + 1)]
    return BEHIND[behind](spec, proxies)


@contextmanager
def _afresh(system: System, proxies: Sequence[str]) -> Iterator[None]:
    """Without proxies while the context is entered; with new ones, which serve, afterwards."""
    processes = killer(system)
    for name in proxies:
        processes.kill(name)
    yield
    for name in proxies:
        processes.start(name)
    _await(system, proxies)


def _await(system: System, proxies: Sequence[str]) -> None:
    for name in proxies:
        system.wait(f"{name} reaches the servers", partial(_serves, system, name), READY_TIMEOUT_MS)


def _serves(system: System, proxy: str) -> bool:
    for number in range(PROBES):
        system.call(proxy, "GET", f"cachequake:probe:{number}")  # an error of the proxy counts as "not yet"
    return True


def _nobody_else(system: System, views: dict[str, View]) -> str | None:
    """No server has a connection from another address than the controller's."""
    for name in views:
        mine = _hosts(system.call(name, "CLIENT", "INFO"))
        others = _hosts(system.call(name, "CLIENT", "LIST")) - mine
        if others:
            return f"{name} still has a connection from {min(others)}"
    return None


def _hosts(reply: bytes) -> set[str]:
    """The addresses of the other ends in what CLIENT INFO or CLIENT LIST says."""
    words = (word for line in reply.decode(errors="replace").splitlines() for word in line.split(" "))
    return {word.removeprefix("addr=").rpartition(":")[0] for word in words if word.startswith("addr=")}


def refuses(workloads: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Why these workloads, by name with their options, cannot be done through a proxy; None when they can."""
    for name, options in workloads.items():
        if name == "multikey" and (not options["plain"] or options["cross_slot"]):
            need = "needs MULTI and EVAL_RO, which proxies do not know, unless it is {plain: true, cross_slot: 0%}"
            return f"workload multikey {need}"
        if options.get("wait") is not None:
            return f"workload {name} with `wait` needs WAIT, which proxies do not know"
    return None


PROXIED = Kind(
    "servers behind proxies (Twemproxy or Envoy) that share the keys among them",
    make,
    routes=("proxy",),
    options=OPTIONS,
    defaults={"primaries": 4, "replicas": 0},
    refuses=refuses,
)

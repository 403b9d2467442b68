"""How an operation reaches a node. One file a route; `ROUTES` names them all.

What a route needs is imported only when clients are made: reading a scenario, which names routes, needs no client.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from chaos.crew import Clock, Crew, MachineCrew
    from chaos.job import Job
    from chaos.recorder import Recorder
    from chaos.routes.links import Link
    from chaos.routes.placement import Placement
    from chaos.transport import Transport


class Route(NamedTuple):
    """A route as scenarios name it."""

    summary: str
    options: Mapping[str, Any]
    """Every option with its default."""
    crew: Callable[[Job, Recorder, Clock], Crew]
    """Makes the clients of a job."""


def machine_crew(job: Job, transport: Transport[Link], recorder: Recorder, clock: Clock) -> MachineCrew:
    """The clients of a job that are machines, on whatever carries their bytes and tells the time."""
    from chaos.crew import MachineCrew
    from chaos.routes.bare import Bare
    from chaos.routes.machine import Effects, Terms
    from chaos.routes.slotmap import Directory

    terms = Terms(
        mixture=job.mixture(),
        directory=Directory(job.nodes, job.aliases),
        total=job.total,
        timeout_ns=job.timeout_ms * 1_000_000,
        interval_ns=0 if job.rate is None else round(1e9 / job.rate),
        from_replicas=job.route == "replica",
        greeting=("PING",) if job.route == "proxy" else None,
    )
    effects = Effects()
    machines = []
    for client, seed in job.streams.items():
        placement = PLACEMENTS[job.route](msgspec.structs.replace(job, streams={client: seed}))
        machines.append(Bare(client, seed, terms, placement, effects))
    return MachineCrew(machines, effects, transport, recorder, clock, job.nodes, job.sources)


def _machines(job: Job, recorder: Recorder, clock: Clock) -> Crew:
    from chaos.transport import SocketTransport

    return machine_crew(job, SocketTransport(), recorder, clock)


def _threads(job: Job, recorder: Recorder, clock: Clock) -> Crew:
    from chaos.routes.redis_client import ThreadCrew, cluster_client

    return ThreadCrew(job, recorder, clock, cluster_client)


def _watched(job: Job, recorder: Recorder, clock: Clock) -> Crew:
    from chaos.routes.redis_client import ThreadCrew
    from chaos.routes.sentinel_client import sentinel_client

    return ThreadCrew(job, recorder, clock, sentinel_client)


def _asking(job: Job) -> Placement:
    from chaos.routes.slotmap import SlotMap
    from chaos.routes.watched import Watched

    if "sentinels" in job.groups:
        return Watched(next(iter(job.replicas)), job.groups["servers"], job.groups["sentinels"])
    return SlotMap(job.slots, job.replicas)


def _first(job: Job) -> Placement:
    from chaos.routes.placement import OneNode

    return OneNode(next(iter(job.nodes)))


def _proxy(job: Job) -> Placement:
    from chaos.routes.placement import OneNode

    client, proxies = next(iter(job.streams)), job.groups["proxies"]
    return OneNode(proxies[client % len(proxies)])


def _sharded(way: str) -> Callable[[Job], Placement]:
    def placement(job: Job) -> Placement:
        from chaos.routes.sharding import Sharded

        return Sharded(way, job.groups["shards"], job.placement["virtual_nodes"])

    return placement


PLACEMENTS: Mapping[str, Callable[[Job], Placement]] = {
    "bare": _asking,
    "replica": _asking,
    "redirect": _first,
    "modulo": _sharded("modulo"),
    "ring": _sharded("ring"),
    "proxy": _proxy,
}
"""How the clients of each route that are machines know where keys are."""
ROUTES: Mapping[str, Route] = {
    "bare": Route("each command once per hop, no retries, every hop recorded", {}, _machines),
    "replica": Route("as bare, but reads go to replicas in turn", {}, _machines),
    "redirect": Route("as bare, without a map: every operation begins at one node and is redirected", {}, _machines),
    "modulo": Route("as bare, but the client itself shares the keys: hash modulo the number of nodes", {}, _machines),
    "ring": Route("as bare, but the client itself shares the keys: consistent hashing, ketama's ring", {}, _machines),
    "proxy": Route("as bare, to proxies that know where keys are: each client to one of them", {}, _machines),
    "cluster": Route("redis-py's RedisCluster as applications use it", {"retries": None}, _threads),
    "sentinel": Route("redis-py's client of the primary named by Sentinels", {"retries": None}, _watched),
}

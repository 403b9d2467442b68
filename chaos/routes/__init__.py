"""How an operation reaches a node. One file a route; `ROUTES` names them all.

What a route needs is imported only when clients are made: reading a scenario, which names routes, needs no client.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from chaos.crew import Clock, Crew, MachineCrew
    from chaos.databases import DatabaseSpec
    from chaos.job import Job
    from chaos.recorder import Recorder
    from chaos.routes.links import Link
    from chaos.routes.machine import Effects, Machine, Terms
    from chaos.routes.placement import Placement
    from chaos.transport import Transport


Make = Callable[["Job", "Terms", "Effects"], "Machine"]
"""Makes the one client of a job."""


class Route(NamedTuple):
    """A route as scenarios name it."""

    summary: str
    options: Mapping[str, Any]
    """Every option with its default."""
    crew: Callable[[Job, Recorder, Clock], Crew]
    """Makes the clients of a job."""
    wrong: Callable[[Mapping[str, Any]], str | None] = lambda options: None
    """Why nobody could run with these options; None when one can."""
    unfit: Callable[[str], str | None] = lambda server: None
    """Why its clients cannot work with a server (`redis 8.2.3`), in one sentence; None when they can."""


def machine_crew(job: Job, transport: Transport[Link], recorder: Recorder, clock: Clock) -> MachineCrew:
    """The clients of a job that are machines, on whatever carries their bytes and tells the time."""
    from chaos.crew import MachineCrew
    from chaos.routes.machine import Effects, Terms
    from chaos.routes.slotmap import Directory

    terms = Terms(
        mixture=job.mixture(),
        directory=Directory(job.nodes, job.aliases),
        total=job.total,
        timeout_ns=job.timeout_ms * 1_000_000,
        interval_ns=0 if job.rate is None else round(1e9 / job.rate),
        from_replicas=job.way == "replica",
        from_primaries=job.route_options.get("primary", False),
        greeting=("PING",) if job.way == "proxy" or not job.access.offers("CLIENT", "SETNAME") else None,
        credentials=job.access.credentials(),
    )
    effects = Effects()
    alone = [msgspec.structs.replace(job, streams={client: seed}) for client, seed in job.streams.items()]
    make = _MACHINES.get(job.route, _bare)
    if job.database is not None:
        make = _aside(job, job.database, make)
    machines = [make(own, terms, effects) for own in alone]
    return MachineCrew(machines, effects, transport, recorder, clock, job.nodes, job.sources)


def _bare(job: Job, terms: Terms, effects: Effects) -> Machine:
    from chaos.routes.bare import Bare

    ((client, seed),) = job.streams.items()
    return Bare(client, seed, terms, PLACEMENTS[job.way](job), effects)


def _near(job: Job, terms: Terms, effects: Effects) -> Machine:
    from chaos.routes.bare import Bare
    from chaos.routes.near import Near

    ((client, seed),) = job.streams.items()
    near = Near(job.route_options["ttl_ms"] * 1_000_000, job.route_options["entries"])
    return Bare(client, seed, terms, PLACEMENTS[job.way](job), effects, near)


def _split(job: Job, terms: Terms, effects: Effects) -> Machine:
    from chaos.routes.split import Copies, Split

    ((client, seed),) = job.streams.items()
    count = job.route_options["copies"]
    place, *places = [PLACEMENTS[job.way](job) for _ in range(count + 1)]
    return Split(client, seed, terms, places, Copies(count, place), effects)


def _aside(job: Job, database: DatabaseSpec, make: Make) -> Make:
    """Makes clients that know of a database behind the cache; those of one process share what they have under way."""
    from chaos.databases import connect
    from chaos.routes.aside import Aside
    from chaos.routes.filling import Shared
    from chaos.workloads.cachefill import NAME, CacheFill

    shared = Shared(CacheFill(job.workloads[NAME].options), connect(database), {})

    def aside(job: Job, terms: Terms, effects: Effects) -> Machine:
        ((client, seed),) = job.streams.items()
        return Aside(client, seed, terms, effects, shared, partial(make, job))

    return aside


_MACHINES: Mapping[str, Make] = {"l1": _near, "split": _split}
"""What makes one client, for the routes that wrap another; for every other route it is `_bare`."""


def _machines(job: Job, recorder: Recorder, clock: Clock) -> Crew:
    from chaos.transport import SocketTransport

    transport: Transport[Link] = SocketTransport()
    context = job.access.context()
    if context is not None:
        from chaos.tls import TlsTransport

        transport = TlsTransport(transport, context)
    return machine_crew(job, transport, recorder, clock)


def _threads(job: Job, recorder: Recorder, clock: Clock) -> Crew:
    from chaos.routes.redis_client import ThreadCrew, cluster_client

    return ThreadCrew(job, recorder, clock, cluster_client)


def _tracked(job: Job, recorder: Recorder, clock: Clock) -> Crew:
    from chaos.routes.redis_client import ThreadCrew
    from chaos.routes.tracking import tracking_client

    return ThreadCrew(job, recorder, clock, tracking_client)


def _watched(job: Job, recorder: Recorder, clock: Clock) -> Crew:
    from chaos.routes.redis_client import ThreadCrew
    from chaos.routes.sentinel_client import sentinel_client

    return ThreadCrew(job, recorder, clock, sentinel_client)


def _asking(job: Job) -> Placement:
    from chaos.routes.placement import Named
    from chaos.routes.slotmap import SlotMap
    from chaos.routes.watched import Watched

    if "readers" in job.groups:
        return Named(job.groups["primary"][0], job.groups["readers"])
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


def _over(job: Job) -> Placement:
    return PLACEMENTS[job.way](job)


PLACEMENTS: Mapping[str, Callable[[Job], Placement]] = {
    "bare": _asking,
    "replica": _asking,
    "redirect": _first,
    "modulo": _sharded("modulo"),
    "ring": _sharded("ring"),
    "proxy": _proxy,
    "l1": _over,
    "split": _over,
}
"""How the clients of each route that are machines know where keys are."""


def _wrong_retries(options: Mapping[str, Any]) -> str | None:
    retries = options["retries"]
    fits = retries is None or (isinstance(retries, int) and not isinstance(retries, bool) and retries >= 0)
    return None if fits else f"retries: {retries!r} is not a whole number from 0"


def _wrong_tracking(options: Mapping[str, Any]) -> str | None:
    return "entries must be above 0" if options["entries"] < 1 else _wrong_retries(options)


def _plain() -> list[str]:
    """The routes whose clients are machines that wrap no other."""
    return [name for name in PLACEMENTS if name not in _MACHINES]


def refuses(route: str, workloads: Collection[str]) -> str | None:
    """Why the clients of a route cannot do these workloads, in one sentence; None when they can."""
    if "cachefill" not in workloads or route not in CACHING:
        return None
    fitting = [name for name in ROUTES if name not in CACHING]
    return (
        f"workload cachefill fills and empties one cache, and clients of route {route} have copies elsewhere, too; "
        f"use one of {', '.join(fitting)}"
    )


def _wrong_over(over: str, unfit: Sequence[str]) -> str | None:
    fitting = [name for name in _plain() if name not in unfit]
    return None if over in fitting else f"over: {over!r} cannot be wrapped; use one of {', '.join(fitting)}"


def _wrong_near(options: Mapping[str, Any]) -> str | None:
    if options["ttl_ms"] < 1 or options["entries"] < 1:
        return "ttl and entries must be above 0; without a cache it is the route that it wraps"
    return _wrong_over(options["over"], ())


def _wrong_split(options: Mapping[str, Any]) -> str | None:
    if not 2 <= options["copies"] <= MOST_COPIES:
        return f"copies: {options['copies']} is not from 2 to {MOST_COPIES}"
    return _wrong_over(options["over"], ("replica",))  # a copy is read where it is written


def _unfit_for_tracking(server: str) -> str | None:
    name, _, version = server.partition(" ")
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if name == "redis" and numbers is not None and (int(numbers[1]), int(numbers[2])) >= TRACKING_SINCE:
        return None
    return (
        f"route tracking needs a server that calls itself redis 7.4 or later, for redis-py caches with no other, and "
        f"this is {server}; name one with --server"
    )


TRACKING_SINCE = (7, 4)
CACHING = ("l1", "split", "tracking")
"""Routes whose clients keep copies of their own."""
MOST_COPIES = 8
_OVER = {"over": "bare"}
"""Which route is wrapped; in a scenario the default is the topology's own."""
ROUTES: Mapping[str, Route] = {
    "bare": Route("each command once per hop, no retries, every hop recorded", {}, _machines),
    "replica": Route("as bare, but reads go to replicas in turn", {"primary": False}, _machines),
    "redirect": Route("as bare, without a map: every operation begins at one node and is redirected", {}, _machines),
    "modulo": Route("as bare, but the client itself shares the keys: hash modulo the number of nodes", {}, _machines),
    "ring": Route(
        "as bare, but the client itself shares the keys: consistent hashing, ketama's ring",
        {},
        _machines,
    ),
    "proxy": Route("as bare, to proxies that know where keys are: each client to one of them", {}, _machines),
    "l1": Route(
        "another route (`over`) behind a cache in each client, whose entries live for `ttl`",
        {**_OVER, "ttl_ms": 500, "entries": 1000},
        _machines,
        _wrong_near,
    ),
    "split": Route(
        "another route (`over`), each register in several copies: all are written, one is read",
        {**_OVER, "copies": 3},
        _machines,
        _wrong_split,
    ),
    "cluster": Route("redis-py's RedisCluster as applications use it", {"retries": None}, _threads, _wrong_retries),
    "tracking": Route(
        "redis-py's RedisCluster with its own cache, which the servers invalidate",
        {"retries": None, "entries": 10_000},
        _tracked,
        _wrong_tracking,
        _unfit_for_tracking,
    ),
    "sentinel": Route(
        "redis-py's client of the primary named by Sentinels", {"retries": None}, _watched, _wrong_retries
    ),
}

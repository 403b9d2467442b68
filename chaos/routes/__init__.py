"""How an operation reaches a node. One file a route; `ROUTES` names them all.

What a route needs is imported only when clients are made: reading a scenario, which names routes, needs no client.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from cachequake.plugins import Table

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


def bare_client(job: Job, terms: Terms, effects: Effects) -> Machine:
    """Makes the one client of a job as route `bare` has it; see `Make`."""
    from chaos.routes.bare import Bare

    ((client, seed),) = job.streams.items()
    return Bare(client, seed, terms, placement_of(job), effects)


def machines(job: Job, recorder: Recorder, clock: Clock) -> Crew:
    """Makes the clients of a job, which are machines, on sockets; see `Route.crew`."""
    from chaos.transport import SocketTransport

    transport: Transport[Link] = SocketTransport()
    context = job.access.context()
    if context is not None:
        from chaos.tls import TlsTransport

        transport = TlsTransport(transport, context)
    return machine_crew(job, transport, recorder, clock)


class Route(NamedTuple):
    """A route as scenarios name it.

    One that has an option `over` wraps the route named there: it leads wherever that one does.
    """

    summary: str
    options: Mapping[str, Any]
    """Every option with its default."""
    crew: Callable[[Job, Recorder, Clock], Crew] = machines
    """Makes the clients of a job."""
    wrong: Callable[[Mapping[str, Any]], str | None] = lambda options: None
    """Why nobody could run with these options; None when one can."""
    unfit: Callable[[str], str | None] = lambda server: None
    """Why its clients cannot work with a server (`redis 8.2.3`), in one sentence; None when they can."""
    place: Callable[[Job], Placement] | None = None
    """How its clients, where they are machines, know where keys are; None where a route is wrapped that knows."""
    make: Make = bare_client
    """Makes one client, where they are machines."""
    caches: bool = False
    """Whether its clients keep copies of their own."""
    leads_to: Collection[str] = ()
    """Names of topologies that do not list this route themselves, and that its clients can reach."""

    @property
    def has_machines(self) -> bool:
        """Whether its clients are machines, which run in virtual time as well."""
        return self.crew is machines


def placement_of(job: Job) -> Placement:
    """Where one client of a job believes that keys are, at first."""
    place = ROUTES[job.way].place
    assert place is not None, job.way  # what cannot be wrapped was refused with the scenario
    return place(job)


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
    make = ROUTES[job.route].make
    if job.database is not None:
        make = _aside(job, job.database, make)
    machines = [make(own, terms, effects) for own in alone]
    return MachineCrew(machines, effects, transport, recorder, clock, job.nodes, job.sources)


def _near(job: Job, terms: Terms, effects: Effects) -> Machine:
    from chaos.routes.bare import Bare
    from chaos.routes.near import Near

    ((client, seed),) = job.streams.items()
    near = Near(job.route_options["ttl_ms"] * 1_000_000, job.route_options["entries"])
    return Bare(client, seed, terms, placement_of(job), effects, near)


def _split(job: Job, terms: Terms, effects: Effects) -> Machine:
    from chaos.routes.split import Copies, Split

    ((client, seed),) = job.streams.items()
    count = job.route_options["copies"]
    place, *places = [placement_of(job) for _ in range(count + 1)]
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
    def place(job: Job) -> Placement:
        from chaos.routes.sharding import Sharded

        return Sharded(way, job.groups["shards"], job.placement["virtual_nodes"])

    return place


def _wrong_retries(options: Mapping[str, Any]) -> str | None:
    retries = options["retries"]
    fits = retries is None or (isinstance(retries, int) and not isinstance(retries, bool) and retries >= 0)
    return None if fits else f"retries: {retries!r} is not a whole number from 0"


def _wrong_tracking(options: Mapping[str, Any]) -> str | None:
    return "entries must be above 0" if options["entries"] < 1 else _wrong_retries(options)


def _plain() -> list[str]:
    """The routes whose clients are machines that wrap no other."""
    return [name for name, route in ROUTES.items() if route.place is not None]


def refuses(route: str, workloads: Collection[str]) -> str | None:
    """Why the clients of a route cannot do these workloads, in one sentence; None when they can."""
    if "cachefill" not in workloads or not ROUTES[route].caches:
        return None
    fitting = [name for name, other in ROUTES.items() if not other.caches]
    return (
        f"workload cachefill fills and empties one cache, and clients of route {route} have copies elsewhere, too; "
        f"use one of {', '.join(fitting)}"
    )


def wrong_over(over: str, unfit: Collection[str] = ()) -> str | None:
    """Why no route can wrap the one named in its option `over`, apart from those that are `unfit`; None when it can."""
    fitting = [name for name in _plain() if name not in unfit]
    return None if over in fitting else f"over: {over!r} cannot be wrapped; use one of {', '.join(fitting)}"


def _wrong_near(options: Mapping[str, Any]) -> str | None:
    if options["ttl_ms"] < 1 or options["entries"] < 1:
        return "ttl and entries must be above 0; without a cache it is the route that it wraps"
    return wrong_over(options["over"])


def _wrong_split(options: Mapping[str, Any]) -> str | None:
    if not 2 <= options["copies"] <= MOST_COPIES:
        return f"copies: {options['copies']} is not from 2 to {MOST_COPIES}"
    return wrong_over(options["over"], ("replica",))  # a copy is read where it is written


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
MOST_COPIES = 8
_OVER = {"over": "bare"}
"""Which route is wrapped; in a scenario the default is the topology's own."""
_BUILT_IN: dict[str, Route] = {
    "bare": Route("each command once per hop, no retries, every hop recorded", {}, place=_asking),
    "replica": Route("as bare, but reads go to replicas in turn", {"primary": False}, place=_asking),
    "redirect": Route("as bare, without a map: every operation begins at one node and is redirected", {}, place=_first),
    "modulo": Route(
        "as bare, but the client itself shares the keys: hash modulo the number of nodes",
        {},
        place=_sharded("modulo"),
    ),
    "ring": Route(
        "as bare, but the client itself shares the keys: consistent hashing, ketama's ring",
        {},
        place=_sharded("ring"),
    ),
    "proxy": Route("as bare, to proxies that know where keys are: each client to one of them", {}, place=_proxy),
    "l1": Route(
        "another route (`over`) behind a cache in each client, whose entries live for `ttl`",
        {**_OVER, "ttl_ms": 500, "entries": 1000},
        wrong=_wrong_near,
        make=_near,
        caches=True,
    ),
    "split": Route(
        "another route (`over`), each register in several copies: all are written, one is read",
        {**_OVER, "copies": 3},
        wrong=_wrong_split,
        make=_split,
        caches=True,
    ),
    "cluster": Route("redis-py's RedisCluster as applications use it", {"retries": None}, _threads, _wrong_retries),
    "tracking": Route(
        "redis-py's RedisCluster with its own cache, which the servers invalidate",
        {"retries": None, "entries": 10_000},
        _tracked,
        _wrong_tracking,
        _unfit_for_tracking,
        caches=True,
    ),
    "sentinel": Route(
        "redis-py's client of the primary named by Sentinels", {"retries": None}, _watched, _wrong_retries
    ),
}


def _unfit(name: str, found: Any) -> str | None:
    if not isinstance(found, Route):
        return "it is no chaos.routes.Route"
    lost = found.has_machines and found.place is None and "over" not in found.options
    return "it needs `place`, or an option `over` that names the route which it wraps" if lost else None


ROUTES: Table[Route] = Table("routes", "route", _BUILT_IN, _unfit)
"""Routes by the name that scenarios use; those that other packages add come last."""

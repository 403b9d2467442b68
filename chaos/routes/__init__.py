"""How an operation reaches a node. One file a route; `ROUTES` names them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from chaos.crew import Clock, Crew
    from chaos.job import Job
    from chaos.recorder import Recorder


class Route(NamedTuple):
    """A route as scenarios name it."""

    summary: str
    options: Mapping[str, Any]
    """Every option with its default."""
    crew: Callable[[Job, Recorder, Clock], Crew]
    """Makes the clients of a job."""


def _machines(job: Job, recorder: Recorder, clock: Clock) -> Crew:
    from chaos.routes.bare import socket_crew

    return socket_crew(job, recorder, clock, from_replicas=job.route == "replica")


def _threads(job: Job, recorder: Recorder, clock: Clock) -> Crew:
    from chaos.routes.redis_client import ThreadCrew

    return ThreadCrew(job, recorder, clock)


ROUTES: Mapping[str, Route] = {
    "bare": Route("each command once per hop, no retries, every hop recorded", {}, _machines),
    "replica": Route("as bare, but reads go to replicas in turn", {}, _machines),
    "cluster": Route("redis-py's RedisCluster as applications use it", {"retries": None}, _threads),
}

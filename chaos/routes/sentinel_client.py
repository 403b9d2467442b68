"""Route `sentinel`: redis-py's `Sentinel.master_for`, watched from below like route `cluster`.

The client asks Sentinels where the primary is whenever it opens a connection, and nobody tells it of a failover: one
that keeps its connection to a deposed primary notices when that refuses a write (READONLY) or ends the connection,
which Sentinels see to when they make it a replica.
"""

from __future__ import annotations

from typing import Any

from redis import Redis
from redis.connection import ConnectionPool
from redis.sentinel import Sentinel, SentinelManagedConnection

from chaos.job import Job
from chaos.routes.redis_client import WatchedConnection, untyped
from chaos.routes.slotmap import Directory
from nemeses.sentinels import SERVICE


def sentinel_client(job: Job, directory: Directory, watched: type[WatchedConnection], options: dict[str, Any]) -> Redis:
    """A client of the primary; see `chaos.routes.redis_client.Connect`."""

    class Managed(SentinelManagedConnection, watched):  # type: ignore[misc, valid-type]
        """Watched below what the library makes of replies: it turns READONLY into an error of the connection."""

        def connect_to(self, address: tuple[str, int]) -> None:
            """Connect to the primary where clients reach it: Sentinels name it as servers know it."""
            untyped(super()).connect_to(directory.reachable(address))

    manager = Sentinel([], **options)
    manager.sentinels = [_asked(*job.nodes[name], watched, options) for name in job.groups["sentinels"]]
    client: Redis = manager.master_for(SERVICE, connection_class=Managed)
    return client


def _asked(host: str, port: int, watched: type[WatchedConnection], options: dict[str, Any]) -> Redis:
    """A client of one Sentinel, from the address of its owner: a cut link is cut for these questions, too."""
    return Redis(connection_pool=ConnectionPool(connection_class=watched, host=host, port=port, **options))

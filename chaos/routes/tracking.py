"""Route `tracking`: redis-py's `RedisCluster` with its client-side cache, whose entries the servers invalidate.

A node remembers which client has read which key, and tells it when the key is written (CLIENT TRACKING over RESP3,
Redis 6). Before the client answers from its cache it reads what lies on the connection that filled the entry, and it
drops everything when a connection is closed. It does not wait for a message that is still on its way; and when the
node is cut off, so that the message cannot come, the old value is served until the connection is given up.

Only GET is cached here, as values are wanted by name; other commands go to the nodes.
"""

from __future__ import annotations

from typing import Any

from redis.cache import CacheConfig
from redis.cluster import RedisCluster
from redis.maint_notifications import MaintNotificationsConfig

from chaos.job import Job
from chaos.routes.redis_client import WatchedConnection, cluster_client
from chaos.routes.slotmap import Directory


class OnlyGet(CacheConfig):
    """The cache's settings: the library would cache every command that only reads."""

    def is_allowed_to_cache(self, command: str) -> bool:
        """Whether replies of a command are kept."""
        return command == "GET"


def tracking_client(
    job: Job, directory: Directory, watched: type[WatchedConnection], options: dict[str, Any]
) -> RedisCluster:
    """A `RedisCluster` with a cache of so many `entries`; see `chaos.routes.redis_client.Connect`."""
    cache = OnlyGet(max_size=job.route_options["entries"])
    # Maintenance notifications, which come with RESP3, would change timeouts.
    unchanged = {"protocol": 3, "maint_notifications_config": MaintNotificationsConfig(enabled=False)}
    return cluster_client(job, directory, watched, {**options, **unchanged, "cache_config": cache})

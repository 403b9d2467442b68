"""What the nodes form: how it is made, when it is ready, and when it has come to rest again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cachequake.plugins import Table
from chaos.topologies.base import ClusterSpec, Kind, Topology
from chaos.topologies.cluster import CLUSTER
from chaos.topologies.found import ENDPOINT_CLUSTER, ENDPOINT_REPLICATION
from chaos.topologies.proxied import PROXIED
from chaos.topologies.replication import REPLICATION
from chaos.topologies.shards import SHARDS

FOUND: Mapping[str, Kind] = {"endpoint-cluster": ENDPOINT_CLUSTER, "endpoint-replication": ENDPOINT_REPLICATION}
"""Those that are found at an endpoint, and cannot be formed."""
_BUILT_IN: dict[str, Kind] = {
    "cluster": CLUSTER,
    "replication": REPLICATION,
    "shards": SHARDS,
    "proxied": PROXIED,
    **FOUND,
}


def _unfit(name: str, found: Any) -> str | None:
    return None if isinstance(found, Kind) else "it is no chaos.topologies.Kind"


TOPOLOGIES: Table[Kind] = Table("topologies", "topology", _BUILT_IN, _unfit)
"""By the name that scenarios use; those that other packages add come last."""


def make_topology(spec: ClusterSpec) -> Topology:
    """The topology that a scenario names; nothing is started."""
    return TOPOLOGIES[spec.topology].make(spec)


__all__ = ["TOPOLOGIES", "ClusterSpec", "Kind", "Topology", "make_topology"]

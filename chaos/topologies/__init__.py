"""What the nodes form: how it is made, when it is ready, and when it has come to rest again."""

from __future__ import annotations

from collections.abc import Callable

from chaos.topologies.base import Topology
from chaos.topologies.cluster import ClusterTopology

TOPOLOGIES: dict[str, Callable[[int, int], Topology]] = {"cluster": ClusterTopology}
"""By the name that scenarios use; called with the number of primaries and of replicas of each."""

__all__ = ["TOPOLOGIES", "Topology"]

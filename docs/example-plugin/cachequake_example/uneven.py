"""Topology `uneven`: a cluster whose first primary has more of the slots than the others."""

from chaos.extend import CLUSTER, SLOTS, ClusterSpec, ClusterTopology


class Uneven(ClusterTopology):
    def __init__(self, spec: ClusterSpec) -> None:
        super().__init__(spec)
        self.largest = spec.options["largest"] if spec.primaries > 1 else 1.0

    def initial_map(self) -> list[tuple[int, int, str]]:
        first, others = round(SLOTS * self.largest), len(self.primaries) - 1
        cuts = [0, *(first + (SLOTS - first) * i // others for i in range(others)), SLOTS]
        return [(cuts[i], cuts[i + 1] - 1, name) for i, name in enumerate(self.primaries)]


UNEVEN = CLUSTER._replace(
    summary="a Redis Cluster whose first primary has the share `largest` of the slots",
    make=Uneven,
    options={**CLUSTER.options, "largest": 0.5},
)

"""The topology `shards`: servers that know nothing of each other; the clients share the keys among them.

Spare nodes run from the start, empty, and belong to nobody's list until a fault `resize` lets them join.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from chaos.errors import BadInput
from chaos.member import servers
from chaos.roles import of_key
from chaos.sharding import KETAMA_POINTS, WAYS, locator
from chaos.topologies.alone import Alone
from chaos.topologies.base import ClusterSpec, Kind
from nemeses.system import System
from nemeses.view import Owners

Tell = Callable[[Sequence[str]], Mapping[str, int]]
"""Has all clients share the keys among some nodes; see `chaos.deploy.base.Clients.tell`."""


class Members:
    """Among whom the clients of a run share the keys. Implements `nemeses.system.Membership`."""

    def __init__(self, nodes: Sequence[str], spares: Sequence[str], tell: Tell) -> None:
        """`nodes` are those that the clients begin with; `spares` can join."""
        self.nodes = list(nodes)
        self.spares = list(spares)
        self._tell = tell
        self._turn = threading.Lock()

    def change(self, nodes: Sequence[str]) -> Mapping[str, int]:
        """See `nemeses.system.Membership`."""
        with self._turn:
            heard = self._tell(nodes)
            if heard:
                self.nodes = list(nodes)
            return heard


class Shards(Alone):
    """The first `primaries` servers are the shards, those behind them are spare."""

    def __init__(self, spec: ClusterSpec) -> None:
        """Raises BadInput for what shards cannot be."""
        if spec.replicas:
            raise BadInput(f"replicas: {spec.replicas}: topology shards has none; leave replicas out")
        points: int = spec.options["virtual_nodes"]
        if points < 1:
            raise BadInput(f"virtual_nodes: {points}: a node needs at least one point on the ring")
        super().__init__(servers(spec.primaries + spec.options["spare"], spec.config))
        self.primaries, spares = self.servers[: spec.primaries], self.servers[spec.primaries :]
        self.groups = {"shards": self.primaries, "spares": spares}
        self._points = points
        self._place: Callable[[str], str] | None = None

    def target(self, text: str, route: str) -> str:
        """See `Topology.target`: `primary of KEY` is the node that the route's clients would ask at first."""

        def place(role: str, key: str) -> str:
            if role != "primary":
                raise ValueError(f"{text!r} cannot be hit: shards have no replicas")
            return locator(route, self.primaries, self._points)(key)

        return of_key(text, place)

    def form(self, system: System) -> None:
        """There is nothing to form: servers that answer serve."""

    def shared(self, route: str, tell: Tell) -> Members:
        """See `chaos.topologies.base.Shared`."""
        members = Members(self.groups["shards"], self.groups["spares"], tell)
        self._place = lambda key: locator(route, members.nodes, self._points)(key)
        return members

    def owner(self, system: System, maps: Mapping[str, Owners]) -> Callable[[str], str]:
        """See `Topology.owner`: where the clients would look for a key in the end."""
        if self._place is None:
            raise RuntimeError("nobody has said yet by which route clients share the keys")
        return self._place


SHARDS = Kind(
    "servers that know nothing of each other; the clients share the keys among them",
    Shards,
    routes=tuple(WAYS),
    capabilities=frozenset({"resize"}),
    options={"spare": 0, "virtual_nodes": KETAMA_POINTS},
    defaults={"primaries": 4, "replicas": 0},
)

"""The links of the simulated network: how long a message takes, and which links are cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from typing import NamedTuple

from nemeses.stream import Stream, derive
from nemeses.system import Port

CONTROLLER = "controller"
"""Name of the end that no cut concerns."""


class Delay(NamedTuple):
    """How long messages take, in nanoseconds: a base of each link's own, and up to `jitter` more for each message."""

    shortest: int
    longest: int
    jitter: int


NEAR = Delay(100_000, 250_000, 50_000)
"""Between nodes: machines of one zone."""
FAR = Delay(6_000_000, 10_000_000, 1_000_000)
"""Between clients and nodes. It decides how many operations a client can do in a second, and so how long a run takes:
each costs a step of a server in real time, whatever it costs in virtual time."""
OWN = Delay(50_000, 50_000, 0)
"""Between the controller and nodes."""


class Links:
    """Latency and cuts between named ends: nodes (`n1`), clients (`c0`) and the controller."""

    def __init__(self, seed: int) -> None:
        """`seed` decides every latency; each direction of a link draws from a stream of its own."""
        self._seed = seed
        self._delays: dict[tuple[str, str], tuple[int, int, Stream]] = {}
        self._cuts: dict[str, list[tuple[str, str, str]]] = {}
        self._blocked: Counter[tuple[str, str, str]] = Counter()
        self._made = 0

    def delay(self, source: str, destination: str) -> int:
        """Draw how long the next message takes, in nanoseconds."""
        pair = source, destination
        known = self._delays.get(pair)
        if known is None:
            kind = OWN if CONTROLLER in pair else NEAR if source[0] == destination[0] == "n" else FAR
            stream = Stream(derive(self._seed, "latency", *pair))
            known = self._delays[pair] = stream.between(kind.shortest, kind.longest), kind.jitter, stream
        base, jitter, stream = known
        return base + stream.below(jitter) if jitter else base

    def open(self, source: str, destination: str, port: str) -> bool:
        """Whether messages get through now; `port` is `data` or `bus`."""
        return not self._blocked or (source, destination, port) not in self._blocked

    def cut(self, sources: Collection[str], destinations: Collection[str], port: Port) -> str:
        """See `nemeses.system.Links.cut`."""
        self._made += 1
        handle = f"cut-{self._made}"
        self._cuts[handle] = list(_covered(sources, destinations, port))
        self._blocked.update(self._cuts[handle])
        return handle

    def heal(self, handle: str) -> None:
        """See `nemeses.system.Links.heal`."""
        for link in self._cuts.pop(handle, []):
            self._blocked[link] -= 1
            if not self._blocked[link]:
                del self._blocked[link]

    def heal_all(self) -> None:
        """See `nemeses.system.Links.heal_all`."""
        self._cuts.clear()
        self._blocked.clear()


def _covered(sources: Collection[str], destinations: Collection[str], port: Port) -> Iterator[tuple[str, str, str]]:
    for source in sources:
        for destination in destinations:
            if source != destination:
                for kind in ("data", "bus") if port == "all" else (port,):
                    yield source, destination, kind

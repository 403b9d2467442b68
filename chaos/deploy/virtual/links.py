"""The links of the simulated network: how long a message takes, and which links are cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from nemeses.stream import Stream, derive
from nemeses.system import Port

CONTROLLER = "controller"
"""Name of the end that no cut concerns; a machine that is off does not hear it either."""


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
RETRY_NS = 200_000_000
"""First retransmission: the kernel's smallest timeout."""
LONGEST_RETRY_NS = 120_000_000_000
HEADERS = 66
"""Bytes of Ethernet, IP and TCP around a message."""


class Disturbance(NamedTuple):
    """What a fault does to the messages of a link, beside cutting it."""

    loss: float = 0.0
    """Share of the messages that are lost, and sent again after a while."""
    delay_ns: int = 0
    jitter_ns: int = 0
    bits_per_s: float = 0.0
    """At most so much gets through; 0 for no limit."""
    shuffle_ns: int = 0
    """Each message is held back by up to so much, drawn for itself: those of other connections overtake it."""


@dataclass
class Shuffled:
    """What a disturbance with `shuffle_ns` has done."""

    messages: int = 0
    overtaking: int = 0
    """How many of them arrived before one to the same end that would have been there first."""
    last: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By end, when the latest message to it arrives, and when it would have been there."""


class Links:
    """Latency, cuts and disturbances between named ends: nodes (`n1`), clients (`c0`) and the controller."""

    def __init__(self, seed: int) -> None:
        """`seed` decides every latency; each direction of a link draws from a stream of its own."""
        self._seed = seed
        self._delays: dict[tuple[str, str], tuple[int, int, Stream]] = {}
        self._disturbed: dict[tuple[str, str], dict[str, Disturbance]] = {}
        self._free_at: dict[tuple[str, str], int] = {}
        """When a link of limited bandwidth has sent what was sent before."""
        self._shuffled: dict[str, Shuffled] = {}
        """By handle; kept when the disturbance is healed."""
        self._down: set[str] = set()
        """Machines that are off."""
        self._cuts: dict[str, list[tuple[str, str, str]]] = {}
        self._blocked: Counter[tuple[str, str, str]] = Counter()
        self._made = 0

    def arrival(self, source: str, destination: str, at: int, size: int = 0, earliest: int = 0) -> int:
        """Draw when a message of so many bytes arrives that is sent at a time; in nanoseconds.

        Not before `earliest`, when what its connection sent before it arrives.
        """
        pair = source, destination
        known = self._delays.get(pair)
        if known is None:
            kind = OWN if CONTROLLER in pair else NEAR if source[0] == destination[0] == "n" else FAR
            stream = Stream(derive(self._seed, "latency", *pair))
            known = self._delays[pair] = stream.between(kind.shortest, kind.longest), kind.jitter, stream
        base, jitter, stream = known
        arrival = at + base + (stream.below(jitter) if jitter else 0)
        if pair in self._disturbed:
            for disturbance in self._disturbed[pair].values():
                arrival += self._extra(pair, disturbance, stream, at, size)
            arrival = max(arrival, earliest)
            for handle, disturbance in self._disturbed[pair].items():
                if disturbance.shuffle_ns:
                    due, arrival = arrival, arrival + stream.below(disturbance.shuffle_ns)
                    _note_overtaking(self._shuffled[handle], destination, arrival, due)
            return arrival
        return max(arrival, earliest)

    def _extra(self, pair: tuple[str, str], what: Disturbance, stream: Stream, at: int, size: int) -> int:
        """How much later a message comes. A lost one comes with TCP's retransmission, after 200 ms, 600 ms, ..."""
        extra, retry = what.delay_ns, RETRY_NS
        if what.jitter_ns:
            extra += stream.between(-what.jitter_ns, what.jitter_ns)
        while what.loss and stream.chance(what.loss) and retry < LONGEST_RETRY_NS:
            extra += retry
            retry *= 2
        if what.bits_per_s:
            free = max(self._free_at.get(pair, 0), at) + round(8e9 * (size + HEADERS) / what.bits_per_s)
            self._free_at[pair] = free
            extra += free - at
        return extra

    def disturb(self, sources: Collection[str], destinations: Collection[str], what: Disturbance) -> str:
        """Disturb these links, one direction, in addition to what disturbs them already; returns a handle."""
        self._made += 1
        handle = f"disturbance-{self._made}"
        if what.shuffle_ns:
            self._shuffled[handle] = Shuffled()
        for source in sources:
            for destination in destinations:
                if source != destination:
                    self._disturbed.setdefault((source, destination), {})[handle] = what
        return handle

    def shuffled(self, handle: str) -> Shuffled:
        """What a disturbance with `shuffle_ns` has done so far."""
        return self._shuffled[handle]

    def open(self, source: str, destination: str, port: str) -> bool:
        """Whether messages get through now; `port` is `data` or `bus`."""
        if self._down and (source in self._down or destination in self._down):
            return False
        return not self._blocked or (source, destination, port) not in self._blocked

    def turn_off(self, machine: str) -> None:
        """Nothing reaches this machine any more, and nothing comes from it; of the controller's neither."""
        self._down.add(machine)

    def turn_on(self, machine: str) -> None:
        """Undo `turn_off`. Without effect on a machine that is on."""
        self._down.discard(machine)

    def cut(self, sources: Collection[str], destinations: Collection[str], port: Port) -> str:
        """See `nemeses.system.Links.cut`."""
        self._made += 1
        handle = f"cut-{self._made}"
        self._cuts[handle] = list(_covered(sources, destinations, port))
        self._blocked.update(self._cuts[handle])
        return handle

    def heal(self, handle: str) -> None:
        """See `nemeses.system.Links.heal`; also of disturbances."""
        for pair in [pair for pair, handles in self._disturbed.items() if handles.pop(handle, None)]:
            if not self._disturbed[pair]:
                del self._disturbed[pair]
                self._free_at.pop(pair, None)
        for link in self._cuts.pop(handle, []):
            self._blocked[link] -= 1
            if not self._blocked[link]:
                del self._blocked[link]

    def heal_all(self) -> None:
        """See `nemeses.system.Links.heal_all`."""
        self._disturbed.clear()
        self._free_at.clear()
        self._cuts.clear()
        self._blocked.clear()


def _note_overtaking(shuffled: Shuffled, destination: str, arrival: int, due: int) -> None:
    last = shuffled.last.get(destination, (0, 0))
    shuffled.messages += 1
    shuffled.overtaking += arrival < last[0] and due >= last[1]
    shuffled.last[destination] = max(last, (arrival, due))


def _covered(sources: Collection[str], destinations: Collection[str], port: Port) -> Iterator[tuple[str, str, str]]:
    for source in sources:
        for destination in destinations:
            if source != destination:
                for kind in ("data", "bus") if port == "all" else (port,):
                    yield source, destination, kind

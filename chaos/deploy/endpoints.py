"""The ends of links, and what every way of cutting them offers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Literal, NamedTuple, Protocol

from nemeses.system import InjectionFailed, Port


class Endpoint(NamedTuple):
    """An end of a link: a node, or a client (which listens on no port)."""

    address: str
    data: int | None = None
    bus: int | None = None
    own_ports: tuple[int, int] | None = None
    """First and last port that it speaks from, where others share its address."""

    @property
    def is_node(self) -> bool:
        """Whether it listens, and so may be dialled."""
        return self.data is not None

    def port(self, port: Literal["data", "bus"]) -> int | None:
        """The port that it listens on for this kind of connections."""
        return self.data if port == "data" else self.bus


class LinkLayer(Protocol):
    """How a deployment cuts links; see `nemeses.system.Links`."""

    def cut(self, sources: Collection[str], destinations: Collection[str], port: Port) -> str:
        """Drop what `sources` send to `destinations`, and return a handle. Raises InjectionFailed."""

    def heal(self, handle: str) -> None:
        """Undo one cut; without effect when it was already undone."""

    def heal_all(self) -> None:
        """Undo all cuts."""

    def close(self) -> None:
        """Undo all cuts and give back what was taken."""


class Shape(NamedTuple):
    """How packets of a link are slowed."""

    delay_ms: float = 0
    jitter_ms: float = 0
    """Each packet is up to so much earlier or later than the delay says."""
    kbit: float | None = None
    """Kilobits a second that get through at most."""


class Shaper(Protocol):
    """How a deployment makes links slow; see `nemeses.system.Delay` and `nemeses.system.Bandwidth`."""

    def shape(self, sources: Collection[str], destinations: Collection[str], shape: Shape) -> str:
        """Slow what `sources` send to `destinations`, and return a handle. Raises InjectionFailed.

        Delays of one link add up; of several bandwidths the least counts.
        """

    def heal(self, handle: str) -> None:
        """Undo one; without effect on any other handle."""

    def heal_all(self) -> None:
        """Undo all."""

    def close(self) -> None:
        """Undo all and give back what was taken."""


def links(sources: Iterable[str], destinations: Iterable[str], known: Mapping[str, Endpoint]) -> set[tuple[str, str]]:
    """Each source with each destination, by name, without those to itself.

    Raises InjectionFailed for a name that the run does not have, and when nothing is left.
    """
    from_, to = set(sources), set(destinations)
    if strangers := sorted((from_ | to) - known.keys()):
        raise InjectionFailed(f"there is no node or client {strangers[0]!r} whose links could be cut")
    pairs = {(source, destination) for source in from_ for destination in to if source != destination}
    if not pairs:
        raise InjectionFailed(f"there is no link from {sorted(from_)} to {sorted(to)} to cut")
    return pairs

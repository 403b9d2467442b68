"""Packets lost in per cent: nftables rules (see `nftables`), in the run's own network namespace.

Each loss is a table of its own, with a rule for each link at the input hook.
"""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Collection, Mapping

from chaos.deploy import nftables
from chaos.deploy.endpoints import Endpoint, links
from chaos.deploy.nftables import Drop
from nemeses.system import InjectionFailed

_PROBE = ("127.0.66.1", "127.0.66.2")


class PacketLoss:
    """Loses packets between endpoints by name. What a server sends from 127.0.0.1 (its MIGRATE) is not lost."""

    def __init__(self, known: Mapping[str, Endpoint]) -> None:
        self._known = known
        self._numbers = itertools.count(1)
        self._tables: set[str] = set()
        self._lock = threading.Lock()

    def lose(self, sources: Collection[str], destinations: Collection[str], percent: float) -> str:
        """Drop that share of the packets from `sources` to `destinations`; returns a handle.

        Raises InjectionFailed for a share that is none, and when the kernel refuses.
        """
        if not 0 < percent <= 100:
            raise InjectionFailed(f"{percent} % is no share of packets that can be lost")
        drops = [
            Drop("input", self._known[source].address, self._known[destination].address, percent=percent)
            for source, destination in links(sources, destinations, self._known)
        ]
        handle = f"loss-{next(self._numbers)}"
        try:
            nftables.add(handle, drops)
        except OSError as error:
            raise InjectionFailed(f"the kernel refuses a rule: {error}") from error
        with self._lock:
            self._tables.add(handle)
        return handle

    def heal(self, handle: str) -> None:
        """Undo one loss; without effect on any other handle."""
        with self._lock:
            if handle in self._tables:
                self._tables.remove(handle)
                nftables.delete(handle)

    def heal_all(self) -> None:
        """Undo all losses."""
        for handle in list(self._tables):
            self.heal(handle)


def reason_against() -> str | None:
    """Why packets cannot be lost here, found out by losing some; None when they can.

    To be called in the run's own network namespace only.
    """
    source, destination = _PROBE
    try:
        nftables.add("probe", [Drop("input", source, destination)])
    except OSError as error:
        return f"nftables refuses: {error}"
    try:
        if _arrives(*_PROBE):
            return "a packet that should have been lost arrived"
    finally:
        nftables.delete("probe")
    return None if _arrives(*_PROBE) else "a packet that should have arrived was lost"


def _arrives(source: str, destination: str) -> bool:
    """Whether a datagram gets through. On the loopback it is there at once or never."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind((destination, 0))
        sender.bind((source, 0))
        sender.sendto(b"?", receiver.getsockname())
        receiver.settimeout(0.05)
        try:
            return bool(receiver.recv(1))
        except TimeoutError:
            return False

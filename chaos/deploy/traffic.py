"""Slow links by the kernel's traffic control (pyroute2), in the network namespace of the calling thread.

Every link that is slow has a class of its own in a tree of token buckets (htb) at the interface where its packets
leave, a filter that finds its packets by source and destination, and under the class, for a delay, netem. What has no
class passes untouched. netem lets a packet overtake another when jitter says so; TCP sorts that out.
"""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from chaos.deploy.endpoints import Endpoint, Shape, links
from nemeses.system import InjectionFailed

Pair = tuple[str, str]
_ROOT = 0x1_0000
_IPV4 = 0x0800
_SOURCE_AT, _DESTINATION_AT = 12, 16
_ANY_RATE = 1 << 31
"""Bytes a second of a link that is only delayed: 17 Gbit/s."""
_BURST = 1_600
"""Bytes that may leave at once although the bandwidth is used up."""
_ROOM = 16_384
"""Packets that a delayed link holds."""


class TrafficControl:
    """Slows links between endpoints by name. Needs their packets to leave through one interface."""

    def __init__(self, known: Mapping[str, Endpoint], interface: str = "lo") -> None:
        """Plant the tree. Raises OSError when the kernel has no htb or does not let this process use it."""
        self._known = known
        self._shapes: dict[str, tuple[set[Pair], Shape]] = {}
        self._numbers = itertools.count(1)
        self._minors: dict[Pair, int] = {}
        """Number of each link's class, from 1; kept when the link is fast again."""
        self._slow: set[Pair] = set()
        self._lock = threading.Lock()
        with _kernel() as kernel:
            self._interface = kernel.link_lookup(ifname=interface)[0]
            kernel.tc("add", "htb", self._interface, _ROOT, default=0)

    def shape(self, sources: Collection[str], destinations: Collection[str], shape: Shape) -> str:
        """See `Shaper`."""
        pairs = links(sources, destinations, self._known)
        handle = f"slow-{next(self._numbers)}"
        with self._lock:
            self._shapes[handle] = pairs, shape
            try:
                self._apply(pairs)
            except OSError as error:
                del self._shapes[handle]
                with suppress(OSError):
                    self._apply(pairs)
                raise InjectionFailed(f"the kernel does not slow a link: {error}") from error
        return handle

    def heal(self, handle: str) -> None:
        """See `Shaper`."""
        with self._lock:
            pairs, _ = self._shapes.pop(handle, (set(), None))
            self._apply(pairs)

    def heal_all(self) -> None:
        """See `Shaper`."""
        for handle in list(self._shapes):
            self.heal(handle)

    def close(self) -> None:
        """See `Shaper`."""
        self._shapes.clear()
        with suppress(OSError), _kernel() as kernel:
            kernel.tc("del", "htb", self._interface, _ROOT)

    def _apply(self, pairs: Collection[Pair]) -> None:
        """Make what the kernel does to these links what it should be. Raises OSError."""
        with _kernel() as kernel:
            for pair in pairs:
                shapes = [shape for slowed, shape in self._shapes.values() if pair in slowed]
                if pair in self._slow:
                    self._remove(kernel, pair)
                if shapes:
                    self._add(kernel, pair, shapes)

    def _add(self, kernel: IPRoute, pair: Pair, shapes: list[Shape]) -> None:
        minor = self._minors.setdefault(pair, len(self._minors) + 1)
        rate = min((round(shape.kbit * 125) for shape in shapes if shape.kbit is not None), default=_ANY_RATE)
        own, where = _ROOT | minor, self._interface
        kernel.tc(
            "add-class", "htb", where, own, parent=_ROOT, rate=rate, ceil=rate, burst=_BURST, cburst=_BURST
        )  # fmt: skip
        self._slow.add(pair)
        delay_us, jitter_us = (1000 * sum(amounts) for amounts in zip(*(shape[:2] for shape in shapes), strict=True))
        if delay_us or jitter_us:
            delays = {"delay": round(delay_us), "jitter": round(jitter_us), "limit": _ROOM}
            kernel.tc("add", "netem", where, _ROOT + (minor << 16), parent=own, **delays)
        ends = zip(pair, (_SOURCE_AT, _DESTINATION_AT), strict=True)
        keys = [f"0x{socket.inet_aton(self._known[end].address).hex()}/0xffffffff+{place}" for end, place in ends]
        kernel.tc("add-filter", "u32", where, parent=_ROOT, prio=minor, protocol=_IPV4, target=own, keys=keys)

    def _remove(self, kernel: IPRoute, pair: Pair) -> None:
        """What still waits in the class goes with it; TCP sends it again."""
        minor, where = self._minors[pair], self._interface
        with suppress(NetlinkError):  # the class may have been made, and its filter refused
            kernel.tc("del-filter", None, where, 0, parent=_ROOT, prio=minor, protocol=_IPV4)
        kernel.tc("del-class", None, where, _ROOT | minor, parent=_ROOT)
        self._slow.discard(pair)


@contextmanager
def _kernel() -> Iterator[IPRoute]:
    """A socket of its own each time: pyroute2's are bound to the thread that opened them. Raises OSError."""
    try:
        with IPRoute() as kernel:
            yield kernel
    except NetlinkError as error:
        raise OSError(error.code, str(error.args[-1])) from error

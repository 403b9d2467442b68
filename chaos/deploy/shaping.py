"""Which way links can be made slow here: found out by slowing one, and timing what crosses it.

Delays by netem, else by holding packets (`holding`); bandwidth by token buckets, else by holding packets, too.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from chaos.deploy.endpoints import Endpoint, Shape, Shaper
from chaos.deploy.holding import PacketHolder
from chaos.deploy.traffic import TrafficControl
from nemeses.system import InjectionFailed

Make = Callable[[Mapping[str, Endpoint]], Shaper]
_WAYS: Mapping[str, Make] = {"traffic control": TrafficControl, "NFQUEUE": PacketHolder}
"""Best first."""
_TRIALS: Mapping[str, tuple[Shape, float]] = {
    "delay": (Shape(delay_ms=30), 0.025),
    "bandwidth": (Shape(kbit=1_000), 0.04),
}
"""By capability: what is tried, and the seconds that the datagrams of a trial take at least then."""
_DATAGRAMS = 8
_BYTES = 1_500
"""Such datagrams are 96 kbit together, of which a token bucket lets a quarter pass at once."""
_ENDS = {"a": Endpoint("127.0.66.3"), "b": Endpoint("127.0.66.4")}


def open_shapers(known: Mapping[str, Endpoint], wanted: Collection[str], ends: ExitStack) -> dict[str, Shaper]:
    """What slows links between these, by capability: those that are wanted, without what is not possible here.

    To be called in the run's own network namespace only. What must be undone is left in `ends`.
    """
    opened: dict[str, Shaper] = {}
    shapers: dict[str, Shaper] = {}
    for capability in sorted(_TRIALS.keys() & wanted):
        way = next((way for way in _WAYS if reason_against(capability, way) is None), None)
        if way is not None:
            if way not in opened:
                opened[way] = _WAYS[way](known)
                ends.callback(opened[way].close)
            shapers[capability] = opened[way]
    return shapers


def reasons_against(capability: str) -> str | None:
    """Why no way works here, in one sentence; None when one does."""
    reasons = {way: reason_against(capability, way) for way in _WAYS}
    if None in reasons.values():
        return None
    return "; ".join(f"{way}: {reason}" for way, reason in reasons.items())


def reason_against(capability: str, way: str) -> str | None:
    """Why links cannot be slowed this way; None when they can."""
    shape, least_s = _TRIALS[capability]
    try:
        with _opened(_WAYS[way]) as shaper:
            handle = shaper.shape(["a"], ["b"], shape)
            slow_s = _crossing_s()
            shaper.heal(handle)
            if slow_s < least_s:
                return "it was accepted, and packets were as fast as before"
            if _crossing_s() == float("inf"):
                return "packets stayed away afterwards"
    except (OSError, InjectionFailed) as error:
        return str(error)
    return None if slow_s != float("inf") else "packets that should have come late never came"


@contextmanager
def _opened(make: Make) -> Iterator[Shaper]:
    shaper = make(_ENDS)
    try:
        yield shaper
    finally:
        shaper.close()


def _crossing_s() -> float:
    """How long a few datagrams take to cross; infinity when one is lost."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind((_ENDS["b"].address, 0))
        receiver.settimeout(2)
        sender.bind((_ENDS["a"].address, 0))
        began = time.monotonic()
        for _ in range(_DATAGRAMS):
            sender.sendto(bytes(_BYTES), receiver.getsockname())
        try:
            for _ in range(_DATAGRAMS):
                receiver.recv(_BYTES)
        except TimeoutError:
            return float("inf")
        return time.monotonic() - began

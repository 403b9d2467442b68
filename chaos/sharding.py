"""Where clients that shard by themselves put a key: pure functions of the key and of the list of nodes.

Servers that are in no cluster know nothing of each other, so the client decides. Two ways are common:

* *modulo*: the CRC-32 of the key (zlib's, the one that Twemproxy calls `crc32a`) modulo the number of nodes;
* *ring*: consistent hashing after Karger and others (1997) in the form of libketama, which memcached clients and
  Twemproxy share: a node has points on a circle of 2**32 places, four from each MD5 of `NODE-0`, `NODE-1` and so on,
  and a key belongs to the first point behind its own MD5. libketama gives each node 160 points.

Nodes go by their names (`n1`), not by their addresses: so a key is on the same node wherever a scenario runs.

Keys that belong together must be on one node here, too. Only what stands between braces is hashed, by the rule of
Redis Cluster (`checkers.keyslot.hash_tag`), as Twemproxy does with `hash_tag: "{}"`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from zlib import crc32

from uhashring import HashRing

from checkers.keyslot import hash_tag

KETAMA_POINTS = 160
"""Points of a node in libketama."""
POINTS_OF_A_HASH = 4
"""An MD5 has room for four places of the circle."""
REMEMBERED = 16
"""Lists of nodes whose answers are kept: a run has few, and its clients ask for the same keys all the time."""

Locate = Callable[[str], str]
"""From a key to the name of a node."""


class _Located(dict[str, str]):
    """Answers of a function by key."""

    def __init__(self, locate: Locate) -> None:
        super().__init__()
        self._locate = locate

    def __missing__(self, key: str) -> str:
        node = self[key] = self._locate(key)
        return node


def modulo(nodes: Sequence[str], points: int = KETAMA_POINTS) -> Locate:
    """CRC-32 of the key modulo the number of nodes, in the order of the list; `points` mean nothing here."""
    count = len(nodes)
    return lambda key: nodes[crc32(hash_tag(key.encode())) % count]


def ring(nodes: Sequence[str], points: int = KETAMA_POINTS) -> Locate:
    """The ring of libketama, with `points` of each node on it.

    A number of points that four divides is made of quarters as many hashes, as libketama does; another number of as
    many hashes, of which the first place counts. The order of the nodes is of no matter.
    """
    whole = points % POINTS_OF_A_HASH == 0
    places = POINTS_OF_A_HASH if whole else 1
    circle = HashRing(nodes=list(nodes), hash_fn="ketama", vnodes=points // places, replicas=places)

    def locate(key: str) -> str:
        node: str = circle.get_node(hash_tag(key.encode()).decode())
        return node

    return locate


WAYS: Mapping[str, Callable[[Sequence[str], int], Locate]] = {"modulo": modulo, "ring": ring}
"""By the name of the route."""


@lru_cache(maxsize=REMEMBERED)
def _remembered(way: str, nodes: tuple[str, ...], points: int) -> Locate:
    return _Located(WAYS[way](nodes, points)).__getitem__


def locator(way: str, nodes: Sequence[str], points: int = KETAMA_POINTS) -> Locate:
    """The function of a way, one of `WAYS`, for some nodes; it remembers its answers."""
    return _remembered(way, tuple(nodes), points)

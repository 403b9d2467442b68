"""Routes `modulo` and `ring`: the client itself decides which node a key is on, from the list of nodes it was given.

Nobody redirects such a client, and no server can tell it that it asks the wrong one: two clients with different lists
read and write different copies of a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chaos.routes.slotmap import Directory
from chaos.sharding import locator


class Sharded:
    """What one client believes: a list of nodes. Implements `Placement` and `Told`."""

    question = None

    def __init__(self, way: str, nodes: Sequence[str], points: int) -> None:
        """`way` is one of `chaos.sharding.WAYS`, `points` is how many each node has on the ring."""
        self._way = way
        self._points = points
        self.place = locator(way, nodes, points)
        """The node of a key."""

    def among(self, nodes: Sequence[str]) -> Sharded:
        """The same way over other nodes."""
        return Sharded(self._way, nodes, self._points)

    def replicas(self, primary: str) -> Sequence[str]:
        """There are none."""
        return ()

    def moved(self, slot: int, node: str) -> None:
        """Nobody redirects."""

    def learned(self, reply: Any, directory: Directory, said_by: str) -> Sharded:
        """Nothing is asked."""
        return self

"""Watches servers and the Sentinels that watch them: who is primary, and by which failover.

A server outside a cluster has no epoch. But every failover by Sentinels has one, and Sentinels tell under which they
name a primary (see `nemeses.sentinels`). So a server that calls itself primary is shown with the greatest epoch under
which a Sentinel named it. It is shown without one (null, which proves nothing) as long as no Sentinel has named it
since it was last a replica: it was promoted by a failover of which no Sentinel has told yet. A deposed primary that
comes back is one without having been a replica in between, and keeps its old epoch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

from chaos.topologies.observer import PATIENCE_MS, Observer
from nemeses.sentinels import Sight, is_sentinel, sentinels, sight
from nemeses.system import ReplyError, System, Unreachable
from nemeses.view import View

ALL_SLOTS = (0, 16383)
"""What the one primary serves."""


class Reigns:
    """Under which epoch each server is primary, from what Sentinels and servers say. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._named: dict[str, int] = {}
        """The greatest epoch under which a Sentinel named a server."""
        self._spent: dict[str, int] = {}
        """The greatest epoch that any Sentinel had told when a server was last seen to be a replica."""
        self._newest = -1

    def named(self, seen: Sight) -> None:
        """A Sentinel names a primary."""
        with self._lock:
            self._named[seen.primary] = max(seen.epoch, self._named.get(seen.primary, -1))
            self._newest = max(seen.epoch, self._newest)

    @property
    def newest(self) -> int:
        """The greatest epoch that any Sentinel has told so far; -1 when none has."""
        with self._lock:
            return self._newest

    def is_replica(self, node: str, newest: int) -> None:
        """A server was seen to be a replica; `newest` is what that property was before it was asked."""
        with self._lock:
            self._spent[node] = newest

    def epoch(self, node: str) -> int | None:
        """The epoch under which a server that calls itself primary is one; None when that is not known (yet)."""
        with self._lock:
            epoch = self._named.get(node, -1)
            return epoch if epoch > self._spent.get(node, -1) else None


class Watch(Observer):
    """The observer of servers and their Sentinels.

    A replica's view names a primary once the replica was linked to it: until then its data are those of another. A
    Sentinel's view has the role `sentinel`, and primary and epoch as it believes them to be; while it leads a
    failover it has nothing new to say.
    """

    def __init__(self, system: System, emit: Callable[[Mapping[str, Any]], None], nodes: Collection[str]) -> None:
        """See `Observer`."""
        super().__init__(system, emit, nodes)
        self._reigns = Reigns()
        self._followed: dict[str, str] = {}
        """The primary to which each replica was linked last; every server is asked by a thread of its own."""

    def start(self) -> None:
        """Hear the Sentinels once, so that the first primary has its epoch from the start, and begin to watch."""
        for name in sentinels(self._system):
            self._look(name)
        super().start()

    def _look(self, node: str) -> dict[str, Any] | None:
        return self._hear(node) if is_sentinel(node) else self._see(node)

    def _hear(self, sentinel: str) -> dict[str, Any] | None:
        try:
            seen = sight(self._system, sentinel, PATIENCE_MS)
        except Unreachable:
            return {"node": sentinel, "state": "down"}
        except ReplyError:
            return None
        if seen is None:
            return None
        self._reigns.named(seen)
        return {"node": sentinel, "state": "up", "role": "sentinel", "primary": seen.primary, "epoch": seen.epoch}

    def _see(self, server: str) -> dict[str, Any] | None:
        newest = self._reigns.newest
        try:
            view = self._view(server)
        except Unreachable:
            return {"node": server, "state": "down"}
        except ReplyError:
            return None
        said = {"node": server, "state": "up", "cluster": "ok"}
        if view.myself.is_primary:
            self._followed.pop(server, None)
            epoch = self._reigns.epoch(server)
            return {**said, "role": "primary", "primary": None, "epoch": epoch, "slots": [list(ALL_SLOTS)]}
        self._reigns.is_replica(server, newest)
        return {**said, "role": "replica", "primary": self._whose(server, view), "epoch": None, "slots": []}

    def _view(self, server: str) -> View:
        """Asked twice if need be: a Sentinel that makes a server follow another ends all its connections, ours too."""
        with suppress(Unreachable):
            return View.fetch(self._system, server, PATIENCE_MS)
        return View.fetch(self._system, server, PATIENCE_MS)

    def _whose(self, server: str, view: View) -> str | None:
        """The primary whose data a replica has: the one that it follows, once it was linked to that."""
        primary = view.myself.primary
        if primary is not None and view.row(primary).link_up:
            self._followed[server] = primary
        return primary if self._followed.get(server) == primary else None

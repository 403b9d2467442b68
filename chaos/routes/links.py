"""The connections of one client: at most one to each node, one that asked for READONLY, and one that writes nothing.

A node that was silent once has to show a sign of life first: its connection is *overdue* and made anew in the
background, and until it stands, nothing waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import TYPE_CHECKING

from hiredis import Reader

if TYPE_CHECKING:
    from chaos.routes.machine import Effects, Linked

REDIAL_NS = 1_000_000_000
"""After so long a connection in the making is begun anew: by itself TCP waits longer and longer between its tries."""


class Phase(IntEnum):
    """How far a connection has come."""

    CONNECTING = 0
    GREETING = 1
    """Connected; its name is told to the server. Bytes of an operation are sent only after that was answered."""
    READY = 2
    CLOSED = 3


class Link:
    """One connection of one machine to one node; also the handle by which a transport knows it."""

    __slots__ = ("apart", "awaited", "machine", "node", "opened", "overdue", "phase", "reader", "readonly")

    def __init__(self, machine: Linked, node: str, readonly: bool, apart: bool, opened: int) -> None:
        self.machine = machine
        self.node = node
        self.readonly = readonly
        """Whether it asked for READONLY, so that a replica answers."""
        self.apart = apart
        """Whether it is kept apart from the operations: for a WAIT on another connection than its write."""
        self.opened = opened
        """When the machine asked for it."""
        self.overdue = False
        """An operation waited for it in vain, or for the link before it."""
        self.phase = Phase.CONNECTING
        self.reader = Reader()
        self.awaited = 0
        """Replies to the greeting that are still to come."""

    def greeted(self) -> None:
        """The greeting was answered: it carries operations now."""
        self.phase = Phase.READY
        self.overdue = False


class Links:
    """All links of one machine."""

    def __init__(self, machine: Linked, effects: Effects) -> None:
        self._machine = machine
        self._effects = effects
        self._open: dict[tuple[str, bool, bool], Link] = {}

    def get(self, node: str, readonly: bool, now: int, *, apart: bool = False) -> Link:
        """The link to a node, opened if there is none."""
        return self._open.get((node, readonly, apart)) or self._begin(node, readonly, apart, now)

    def best(self, nodes: Iterable[str]) -> list[str]:
        """Those of `nodes` that are connected; if none is, those that were never silent; may be empty."""
        found = {node: self._open.get((node, False, False)) for node in nodes}
        ready = [node for node, link in found.items() if link is not None and link.phase is Phase.READY]
        return ready or [node for node, link in found.items() if link is None]

    def silent(self, link: Link, now: int) -> None:
        """A link was waited for in vain. One that stood is replaced: a late reply must not be taken for another."""
        if link.phase is Phase.READY:
            self._replace(link, now)
        else:
            link.overdue = True

    def redial(self, link: Link, now: int) -> None:
        """Begin an overdue link anew if it takes too long."""
        if now - link.opened > REDIAL_NS:
            self._replace(link, now)

    def drop(self, link: Link) -> None:
        """Close a link. Without effect on one that is closed."""
        if link.phase is not Phase.CLOSED:
            self.forget(link)
            self._effects.closes.append(link)

    def forget(self, link: Link) -> None:
        """A link is closed already."""
        link.phase = Phase.CLOSED
        del self._open[link.node, link.readonly, link.apart]

    def close(self) -> None:
        """Close all links."""
        for link in list(self._open.values()):
            self.drop(link)

    def _begin(self, node: str, readonly: bool, apart: bool, now: int) -> Link:
        link = self._open[node, readonly, apart] = Link(self._machine, node, readonly, apart, now)
        self._effects.opens.append(link)
        return link

    def _replace(self, link: Link, now: int) -> None:
        self.drop(link)
        self._begin(link.node, link.readonly, link.apart, now).overdue = True

"""Where a client believes that keys are: one file a way to know it, and this is what each of them has to say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from chaos.operation import Command
from chaos.routes.slotmap import Directory


class Placement(Protocol):
    """One client's belief, which it changes by what nodes tell it."""

    @property
    def question(self) -> Command | None:
        """What to ask a node after an error that may come of a wrong belief; None when nobody can be asked."""

    def place(self, key: str) -> str | None:
        """The node to which operations on a key go; None for any."""

    def replicas(self, primary: str) -> Sequence[str]:
        """Replicas of a primary; empty when none is known."""

    def moved(self, slot: int, node: str) -> None:
        """A node has redirected us for a slot."""

    def learned(self, reply: Any, directory: Directory, said_by: str) -> Placement:
        """What to believe after the answer to `question`. Raises ValueError for an answer that is none."""


@runtime_checkable
class Told(Protocol):
    """A placement that hears from outside which nodes there are, because no node knows."""

    def among(self, nodes: Sequence[str]) -> Placement:
        """What to believe once the keys are shared among these nodes."""


@runtime_checkable
class Guided(Protocol):
    """A placement outside a cluster, where only certain nodes can answer the question: Sentinels.

    Replicas there answer whoever asks; a connection needs no READONLY for that, and gets an error for it.
    """

    guides: Sequence[str]
    """Names of those nodes."""


class Named:
    """A primary for all keys, and readers, by names that stay whoever is behind them. Implements `Guided`."""

    question = None
    guides: Sequence[str] = ()

    def __init__(self, primary: str, readers: Sequence[str]) -> None:
        self._primary = primary
        self._readers = readers

    def place(self, key: str) -> str:
        """The primary."""
        return self._primary

    def replicas(self, primary: str) -> Sequence[str]:
        """The readers."""
        return self._readers

    def moved(self, slot: int, node: str) -> None:
        """Nobody redirects outside a cluster."""

    def learned(self, reply: Any, directory: Directory, said_by: str) -> Named:
        """Nothing is asked."""
        return self


class OneNode:
    """Everything is where one node is: it serves all keys, or says who does. Implements `Placement`."""

    question = None

    def __init__(self, node: str) -> None:
        self._node = node

    def place(self, key: str) -> str:
        """That node."""
        return self._node

    def replicas(self, primary: str) -> Sequence[str]:
        """None are known."""
        return ()

    def moved(self, slot: int, node: str) -> None:
        """Follow, but learn nothing: the next operation begins at our node again."""

    def learned(self, reply: Any, directory: Directory, said_by: str) -> OneNode:
        """Nothing is asked."""
        return self

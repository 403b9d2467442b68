"""What the controller needs of a topology: how it is made, watched, brought to rest, and described."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from chaos.topologies.rest import Unrest
from nemeses.system import System
from nemeses.view import Owners


class Topology(Protocol):
    """What the nodes of a system form."""

    replicas_of: dict[str, list[str]]
    """Names of the replicas by the name of their primary, as formed."""

    def initial_map(self) -> Owners:
        """First slot, last slot and owner of each range, as formed."""

    def form(self, system: System) -> None:
        """Make it, and return when it serves everywhere and every replica is linked. Raises WaitTimeout."""

    def observed(self, system: System, emit: Callable[[Mapping[str, Any]], None]) -> AbstractContextManager[object]:
        """While the context is entered, `emit` gets what each node says of itself, at the start and at changes."""

    def converge(self, system: System, deadline_ms: int) -> Unrest | None:
        """Wait until all are at rest; None, or why they were not within the deadline."""

    def maps(self, system: System) -> dict[str, Owners]:
        """What each node that answers believes of who serves what."""

    def holds(self, system: System, patterns: Iterable[str]) -> dict[str, list[str]]:
        """The keys that match one of `patterns`, by the primary that holds them."""

    def current_replicas(self, system: System) -> dict[str, list[str]]:
        """Names of the replicas that answer, by the primary that each says it follows."""

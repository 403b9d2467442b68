"""Processes that stand still: the connections stay, nothing answers, and what was sent is answered after waking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nemeses.evidence import await_proof, began, on_each
from nemeses.fault import Check, Strike
from nemeses.system import InjectionFailed, Pause, System

STOPPED_MS = 2_000
"""How long stopping or continuing a process may take to be seen."""


def _pauser(system: System) -> Pause:
    if not isinstance(system, Pause):
        raise InjectionFailed("this deployment cannot stop processes: choose one with the capability `pause`")
    return system


class PauseFault:
    """SIGSTOP or the freezer. A primary paused for longer than the node timeout is deposed while it sleeps."""

    kind = "pause"
    requires = frozenset({"pause"})
    default_target = "a primary"
    options: Mapping[str, Any] = {}
    checks: Mapping[str, Check] = {}

    def inject(self, strike: Strike) -> dict[str, Any]:
        """Pause, and read from the operating system that every process stands."""
        system = _pauser(strike.system)
        since_ns = began(strike)
        on_each(strike.nodes, system.pause)
        return {"since_ns": since_ns, "paused": self._seen(strike, stopped=True)}

    def heal(self, strike: Strike) -> dict[str, Any]:
        """Continue, and read that none stands."""
        system = _pauser(strike.system)
        on_each(strike.nodes, system.resume)
        return {"paused": {node: system.paused(node) for node in strike.nodes}}

    def _seen(self, strike: Strike, *, stopped: bool) -> dict[str, bool]:
        system = _pauser(strike.system)

        def all_so() -> dict[str, bool] | None:
            states = {node: system.paused(node) for node in strike.nodes}
            return states if all(state is stopped for state in states.values()) else None

        return await_proof(strike.system, f"{', '.join(strike.nodes)} to stand still", all_so, STOPPED_MS)

"""What only a simulation can do to servers: know what is synced, meddle with their calls, crash machines, reorder."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path

from chaos.deploy.virtual.calls import Calls
from chaos.deploy.virtual.crash import Crash
from chaos.deploy.virtual.links import Disturbance, Links
from chaos.deploy.virtual.power import drop_unsynced
from chaos.deploy.virtual.process import Process
from chaos.deploy.virtual.world import World
from nemeses.system import CallRule, CallsSeen, CrashPlan, CrashSeen

SIMULATED = frozenset({"power", "calls", "crash", "reorder"})


class SimulatedFaults:
    """Implements `Power`, `Calls`, `Machines` and `Reorder` of `nemeses.system`, as a part of the deployment."""

    directory: Path
    links: Links
    world: World
    began_ns: int
    _processes: Mapping[str, Process]
    _calls: dict[str, Calls]
    _crashes: dict[str, Crash]

    def drop_unsynced(self, node: str) -> Mapping[str, int]:
        """See `Power.drop_unsynced`."""
        return drop_unsynced(self.directory / node)

    def rule_calls(self, node: str, rule: CallRule) -> None:
        """See `Calls.rule_calls`."""
        self._calls[node].rule(rule)

    def pass_calls(self, node: str) -> None:
        """See `Calls.pass_calls`."""
        self._calls[node].clear()

    def calls_seen(self, node: str) -> CallsSeen:
        """See `Calls.calls_seen`."""
        seen = self._calls[node].seen()
        return dataclasses.replace(seen, time_ns=seen.time_ns - self.began_ns)

    def crash(self, node: str, plan: CrashPlan) -> None:
        """See `Machines.crash`."""
        self._crashes[node] = Crash(self._processes[node], self.links, plan, self.world.now)

    def spare(self, node: str) -> None:
        """See `Machines.spare`."""
        if node in self._crashes:
            self._crashes[node].spare()

    def crash_seen(self, node: str) -> CrashSeen | None:
        """See `Machines.crash_seen`."""
        seen = self._crashes[node].seen() if node in self._crashes else None
        return None if seen is None else dataclasses.replace(seen, time_ns=seen.time_ns - self.began_ns)

    def _turn_on(self, node: str) -> None:
        """The machine of a node that is about to be started."""
        if node in self._crashes:
            self._crashes[node].end()

    def reorder(self, sources: Collection[str], destinations: Collection[str], *, window_ms: float) -> str:
        """See `Reorder.reorder`."""
        return self.links.disturb(sources, destinations, Disturbance(shuffle_ns=round(window_ms * 1e6)))

    def reordered(self, handle: str) -> tuple[int, int]:
        """See `Reorder.reordered`."""
        shuffled = self.links.shuffled(handle)
        return shuffled.messages, shuffled.overtaking

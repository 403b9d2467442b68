"""Processes that die: killed, told to end, or restarted at once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from nemeses.evidence import await_proof, began, info, on_each
from nemeses.fault import Check, Strike
from nemeses.system import InjectionFailed, Kill, System, Unreachable

GONE_MS = 2_000
"""How long a dead process may take to be seen as such."""


def killer(system: System) -> Kill:
    """The system as one that can end processes. Raises InjectionFailed."""
    if not isinstance(system, Kill):
        raise InjectionFailed("this deployment cannot end processes: choose one with the capability `kill`")
    return system


def end(strike: Strike, *, politely: bool = False) -> dict[str, str]:
    """End the processes of all targets and return what each port said afterwards. Raises InjectionFailed."""
    system = killer(strike.system)
    absent = [node for node in strike.nodes if not system.running(node)]
    if absent:
        raise InjectionFailed(f"{', '.join(absent)} was not running: another fault holds it")
    began(strike)
    on_each(strike.nodes, system.terminate if politely else system.kill)
    return {
        node: await_proof(strike.system, f"{node} to be gone", partial(refusal, strike.system, node), GONE_MS)
        for node in strike.nodes
    }


def refusal(system: System, node: str) -> str | None:
    """The error of its port when neither the process nor the port is there any more, else None."""
    if killer(system).running(node):
        return None
    try:
        system.call(node, "PING", timeout_ms=300)
    except Unreachable as error:
        return str(error)
    return None


def revive(strike: Strike, *, keep_data: bool = True) -> dict[str, Any]:
    """Start whatever targets are dead; each answers PING or says LOADING then."""
    system = killer(strike.system)
    dead = [node for node in strike.nodes if not system.running(node)]
    on_each(dead, lambda node: system.start(node, keep_data=keep_data))
    return {"started": dead, "running": {node: system.running(node) for node in strike.nodes}}


class KillFault:
    """SIGKILL; heals by starting the process again, with whatever its persistence kept."""

    kind = "kill"
    requires = frozenset({"kill"})
    default_target = "a primary"
    options: Mapping[str, Any] = {}
    checks: Mapping[str, Check] = {}

    def inject(self, strike: Strike) -> dict[str, Any]:
        """Kill, and see that process and port are gone."""
        refused = end(strike)
        return {"since_ns": strike.state["since_ns"], "port": refused}

    def heal(self, strike: Strike) -> dict[str, Any]:
        """Start what is dead."""
        return revive(strike)


class TerminateFault(KillFault):
    """SIGTERM: a server that has something to save saves it, and waits for replicas that lag behind."""

    kind = "terminate"

    def inject(self, strike: Strike) -> dict[str, Any]:
        """Terminate, and see that process and port are gone."""
        refused = end(strike, politely=True)
        return {"since_ns": strike.state["since_ns"], "port": refused}


class RestartFault(KillFault):
    """SIGKILL and a start right after it, or `down_ms` later; `keep_data: false` removes AOF and RDB in between."""

    kind = "restart"
    options: Mapping[str, Any] = {"keep_data": True, "down_ms": 0}

    def inject(self, strike: Strike) -> dict[str, Any]:
        """Restart, and see that another process answers."""
        before = {node: self._process(strike.system, node) for node in strike.nodes}
        refused = end(strike)
        gone_ns = strike.system.now_ns()
        strike.system.sleep_until(gone_ns + strike.planned.options["down_ms"] * 1_000_000)
        revive(strike, keep_data=strike.planned.options["keep_data"])
        started_ns = strike.system.now_ns()
        after = {node: self._replaced(strike.system, node, before[node]) for node in strike.nodes}
        return {
            "since_ns": strike.state["since_ns"],
            "port": refused,
            "started_ns": started_ns,
            "process": {node: [before[node], after[node]] for node in strike.nodes},
        }

    def _process(self, system: System, node: str) -> str:
        """The identity that a server draws when it starts; INFO answers while it loads, too."""
        return info(system, node, "server")["run_id"][:8]

    def _replaced(self, system: System, node: str, before: str) -> str:
        def another() -> str | None:
            now = self._process(system, node)
            return now if now != before else None

        return await_proof(system, f"another process to answer as {node}", another, GONE_MS)

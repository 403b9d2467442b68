"""Machines that crash: the process is gone, and so is all that was not synced, and what was under way to others.

A killed process leaves a kernel that sends what was written and closes the connections. A crashed machine just falls
silent. So a client may have the reply to a write of which the replica never got a byte, or the other way round.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nemeses.evidence import await_proof
from nemeses.fault import Check, Strike
from nemeses.kill import GONE_MS, KillFault, killer, refusal
from nemeses.system import CrashPlan, CrashSeen, InjectionFailed, Machines, Power, System
from nemeses.words import one_of

MOMENTS = ("replication", "reply", "any")
ALL = "all"


def _bytes(value: Any) -> Any:
    if value is not None and value != ALL and (type(value) is not int or value < 0):
        raise ValueError(f"{value!r} is neither a number of bytes nor {ALL!r}")
    return value


def _machines(system: System) -> Machines:
    if not isinstance(system, Machines):
        raise InjectionFailed("this deployment cannot crash machines: choose one with the capability `crash`")
    return system


class CrashFault(KillFault):
    """The machine falls silent at a moment when bytes are under way; healing turns it on and starts the server.

    `moment`: when bytes for a replica or primary are under way (`replication`), when bytes for a client are (`reply`),
    or at once (`any`). `to_nodes` and `to_clients` are how many bytes of each connection still arrive: none unless
    given, or `all`. `for` is waiting and silence together.
    """

    kind = "crash"
    requires = frozenset({"kill", "power", "crash"})
    options: Mapping[str, Any] = {"moment": "replication", "to_nodes": None, "to_clients": None}
    checks: Mapping[str, Check] = {"moment": one_of(MOMENTS), "to_nodes": _bytes, "to_clients": _bytes}

    def inject(self, strike: Strike) -> dict[str, Any]:
        """Lie in wait, and see that the machine is silent; tells what was under way, and what was not synced."""
        system, options = strike.system, strike.planned.options
        machines = _machines(system)
        if len(strike.nodes) != 1:
            raise InjectionFailed(f"crash takes one node, not {', '.join(strike.nodes)}")
        (node,) = strike.nodes
        if not killer(system).running(node):
            raise InjectionFailed(f"{node} was not running: another fault holds it")
        keep = {to: None if options[to] == ALL else options[to] or 0 for to in ("to_nodes", "to_clients")}
        strike.state["waited_since_ns"] = system.now_ns()
        machines.crash(node, CrashPlan(options["moment"], **keep))

        def crashed() -> CrashSeen | None:
            return machines.crash_seen(node)

        seen = await_proof(system, f"{node} to have sent what is waited for", crashed, strike.planned.for_ms)
        strike.state["since_ns"] = seen.time_ns
        silent = await_proof(system, f"{node} to be silent", lambda: refusal(system, node), GONE_MS)
        assert isinstance(system, Power)
        return {
            "since_ns": seen.time_ns,
            "under_way_bytes": dict(seen.under_way),
            "silent": silent,
            "dropped_bytes": {node: dict(system.drop_unsynced(node))},
        }

    def heal(self, strike: Strike) -> dict[str, Any]:
        """Turn on what is silent, start its server, and tell how many of the bytes under way had arrived."""
        machines = _machines(strike.system)
        arrived = {}
        for node in strike.nodes:
            machines.spare(node)
            if "since_ns" in strike.state and (seen := machines.crash_seen(node)) is not None:
                arrived[node] = seen.arrived
        return {**super().heal(strike), "arrived_bytes": arrived}

"""Processes that die at an exact moment: before or after their Nth write, send, fsync or rename.

Whatever a server takes to be indivisible is taken apart: between the write to the log and its fsync, between the
snapshot and its rename, between the reply to the client and the bytes for the replica.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nemeses.call_rules import CHECKS, await_call, ruler, told
from nemeses.evidence import await_proof, info
from nemeses.fault import Check, Strike
from nemeses.kill import GONE_MS, KillFault, killer, refusal
from nemeses.system import CallRule, InjectionFailed, Power
from nemeses.words import one_of

MOMENTS = ("before", "after")
SAVES = {
    "bgsave": ("BGSAVE", "rdb_last_bgsave_status"),
    "rewrite": ("BGREWRITEAOF", "aof_last_bgrewrite_status"),
}
"""What a child is forked for: the command that asks for it, and where INFO says what came of it."""


def _one(strike: Strike) -> str:
    """The target. Raises InjectionFailed when there are several: they would die at different times."""
    if len(strike.nodes) != 1:
        raise InjectionFailed(f"{strike.planned.kind} takes one node, not {', '.join(strike.nodes)}")
    (node,) = strike.nodes
    if not killer(strike.system).running(node):
        raise InjectionFailed(f"{node} was not running: another fault holds it")
    return node


def _rule(strike: Strike, process: Any) -> CallRule:
    options = strike.planned.options
    return CallRule(
        options["call"],
        process,
        file=options["file"],
        first=options["number"],
        most=1,
        after=options["moment"] == "after",
    )


class KillAtFault(KillFault):
    """SIGKILL at exactly the Nth call since the fault began to lie in wait; started again when healed.

    The fault has waited for the call within its own length; `for` is waiting and death together. With `power` the
    machine loses its power as well: what was not synced is gone, as with `power-loss`.
    """

    kind = "kill-at"
    requires = frozenset({"kill", "calls"})
    options: Mapping[str, Any] = {"call": "fsync", "number": 1, "moment": "before", "file": "*", "power": False}
    checks: Mapping[str, Check] = {**CHECKS, "moment": one_of(MOMENTS)}

    def inject(self, strike: Strike) -> dict[str, Any]:
        """Lie in wait, and see that the process died at that call and its port is gone."""
        system, node = strike.system, _one(strike)
        rule = _rule(strike, "server")
        strike.state["waited_since_ns"] = system.now_ns()
        ruler(system).rule_calls(node, rule)
        seen = await_call(strike, node, rule)
        strike.state["since_ns"] = seen.time_ns
        evidence = {
            "since_ns": seen.time_ns,
            "died": told(rule, seen) | {"moment": strike.planned.options["moment"]},
            "port": {node: await_proof(system, f"{node} to be gone", lambda: refusal(system, node), GONE_MS)},
        }
        if strike.planned.options["power"]:
            if not isinstance(system, Power):
                raise InjectionFailed("this deployment cannot tell what was synced: leave `power` out")
            evidence["dropped_bytes"] = {node: dict(system.drop_unsynced(node))}
        return evidence

    def heal(self, strike: Strike) -> dict[str, Any]:
        """Let calls pass, and start what is dead."""
        for node in strike.nodes:
            ruler(strike.system).pass_calls(node)
        return super().heal(strike)


class KillChildFault:
    """SIGKILL at exactly the Nth call of the child that saves the server's data; the server itself lives on.

    The fault asks for the child: BGSAVE, or BGREWRITEAOF.
    """

    kind = "kill-child"
    requires = frozenset({"kill", "calls"})
    default_target = "a primary"
    options: Mapping[str, Any] = {"during": "bgsave", "call": "write", "number": 1, "moment": "before", "file": "*"}
    checks: Mapping[str, Check] = {**CHECKS, "moment": one_of(MOMENTS), "during": one_of(SAVES)}

    def inject(self, strike: Strike) -> dict[str, Any]:
        """Have the server save, and see that the child died at that call and the server says that it failed."""
        system, node = strike.system, _one(strike)
        rule = _rule(strike, "child")
        command, field = SAVES[strike.planned.options["during"]]
        strike.state["waited_since_ns"] = system.now_ns()
        ruler(system).rule_calls(node, rule)
        system.call(node, command)
        seen = await_call(strike, node, rule)
        strike.state["since_ns"] = seen.time_ns

        def failed() -> str | None:
            status = info(system, node, "persistence")[field]
            return status if status == "err" else None

        status = await_proof(system, f"{field} of {node} to be err", failed, GONE_MS)
        return {
            "since_ns": seen.time_ns,
            "died": told(rule, seen) | {"moment": strike.planned.options["moment"]},
            field: status,
        }

    def heal(self, strike: Strike) -> dict[str, Any]:
        """Let calls pass; the server saves again when it wants to, or is asked to."""
        for node in strike.nodes:
            ruler(strike.system).pass_calls(node)
        return {"since_ns": strike.system.now_ns(), "passed": list(strike.nodes)}

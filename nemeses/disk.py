"""Disks that refuse: writes or fsyncs of a server fail with EIO or ENOSPC, for a time or so many of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nemeses.call_rules import CHECKS, await_call, ruler, told
from nemeses.evidence import began, on_each
from nemeses.fault import Check, Strike
from nemeses.kill import killer, revive
from nemeses.system import CallRule, InjectionFailed
from nemeses.words import one_of

ERRORS = ("EIO", "ENOSPC")


def _count(value: Any) -> Any:
    if value < 0:
        raise ValueError("so many calls are refused, or all of them with 0")
    return value


class DiskFault:
    """The file system of each target refuses `call` with `error`, the server's own and those of its children.

    `calls` says how many are refused; all while the fault holds, if it is 0. A server may end itself because of that
    (with `appendfsync always` it does): healing starts it again.
    """

    kind = "disk"
    requires = frozenset({"kill", "calls"})
    default_target = "a primary"
    options: Mapping[str, Any] = {"error": "EIO", "call": "write", "calls": 0, "file": "*"}
    checks: Mapping[str, Check] = {
        "error": one_of(ERRORS),
        "call": one_of(("write", "fsync")),
        "calls": _count,
        "file": CHECKS["file"],
    }

    def inject(self, strike: Strike) -> dict[str, Any]:
        """Refuse, and see that a call of each target was refused. Raises InjectionFailed when none ever asks."""
        system, options = strike.system, strike.planned.options
        absent = [node for node in strike.nodes if not killer(system).running(node)]
        if absent:
            raise InjectionFailed(f"{', '.join(absent)} was not running: another fault holds it")
        rule = CallRule(options["call"], "both", file=options["file"], most=options["calls"], error=options["error"])
        since_ns = began(strike)
        on_each(strike.nodes, lambda node: ruler(system).rule_calls(node, rule))
        refused = {node: told(rule, await_call(strike, node, rule)) for node in strike.nodes}
        return {"since_ns": since_ns, "seen_ns": system.now_ns(), "refused": refused}

    def heal(self, strike: Strike) -> dict[str, Any]:
        """Refuse no more, start whatever ended itself, and tell how many calls were refused."""
        system = strike.system
        on_each(strike.nodes, ruler(system).pass_calls)
        since_ns = system.now_ns()
        refused = {node: ruler(system).calls_seen(node).struck for node in strike.nodes}
        return {"since_ns": since_ns, "refused": refused, **revive(strike)}

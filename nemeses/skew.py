"""Servers whose wall clock is wrong: it jumps when the fault strikes, and jumps back when it heals.

Expiry goes by the wall clock. A key's deadline is an absolute time, replicas get it as such, and who serves the key
compares it with its own clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nemeses.evidence import await_proof, began, on_each
from nemeses.fault import Check, Strike
from nemeses.system import InjectionFailed, Interrupted, Skew, System, WaitTimeout
from nemeses.words import one_of

SEEN_MS = 3_000
"""How long a server may go on with a time that it noted before."""
TOLERANCE_MS = 50
"""TIME is answered a round trip after it was asked for; on a busy machine that takes milliseconds."""
SIGN = {"ahead": 1, "behind": -1}


def _positive(value: Any) -> Any:
    if value <= TOLERANCE_MS:
        raise ValueError(f"an offset is longer than {TOLERANCE_MS}ms, or it cannot be told from a slow answer")
    return value


def _skewer(system: System) -> Skew:
    if not isinstance(system, Skew):
        raise InjectionFailed("this deployment cannot set clocks: choose one with the capability `skew`")
    return system


class SkewFault:
    """Sets the wall clock of each target `offset` ahead of the real time, or behind it (`direction`)."""

    kind = "skew"
    requires = frozenset({"skew"})
    default_target = "a primary"
    options: Mapping[str, Any] = {"offset_ms": 2_000, "direction": "ahead"}
    checks: Mapping[str, Check] = {"offset_ms": _positive, "direction": one_of(SIGN)}

    def inject(self, strike: Strike) -> dict[str, Any]:
        """Set, and see that each server's own TIME is wrong by that much."""
        system, options = _skewer(strike.system), strike.planned.options
        offset_ms = SIGN[options["direction"]] * options["offset_ms"]
        before = {node: round(system.skew_of(node), 3) for node in strike.nodes}
        since_ns = began(strike)
        on_each(strike.nodes, lambda node: system.skew(node, offset_ms))
        after = await_proof(strike.system, "TIME to be wrong", lambda: _told(strike, offset_ms), SEEN_MS)
        return {"since_ns": since_ns, "seen_ns": strike.system.now_ns(), "before_ms": before, "ahead_ms": after}

    def heal(self, strike: Strike) -> dict[str, Any]:
        """Set right, and see that the servers say so, unless the run is over or one of them is dead."""
        system = _skewer(strike.system)
        on_each(strike.nodes, lambda node: system.skew(node, 0))
        evidence = {"since_ns": strike.system.now_ns()}
        try:
            return evidence | {"ahead_ms": strike.system.wait("TIME is right", lambda: _told(strike, 0), SEEN_MS)}
        except (Interrupted, WaitTimeout) as error:
            return evidence | {"not_seen": str(error)}


def _told(strike: Strike, offset_ms: float) -> dict[str, float] | None:
    """What each target says its clock is ahead, in ms, once all of them are near `offset_ms`."""
    system = _skewer(strike.system)
    told = {node: round(system.skew_of(node), 3) for node in strike.nodes}
    return told if all(abs(ahead - offset_ms) <= TOLERANCE_MS for ahead in told.values()) else None

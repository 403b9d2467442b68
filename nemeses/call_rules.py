"""What faults that let a server's own calls go wrong have in common: giving the rule, and seeing a call meet it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nemeses.fault import Check, Strike
from nemeses.system import CallRule, Calls, CallsSeen, InjectionFailed, System, WaitTimeout
from nemeses.words import one_of

NAMES = {"write": "writes to files", "send": "sends to connections", "fsync": "fsyncs", "rename": "renames"}
"""What each call is called when there are several."""


def _positive(value: Any) -> Any:
    if value < 1:
        raise ValueError("calls are counted from 1")
    return value


def _pattern(value: Any) -> Any:
    if not isinstance(value, str) or not 0 < len(value.encode()) < 64:
        raise ValueError("the pattern of a file's name has 1 to 63 letters, as in '*.aof'")
    return value


CHECKS: Mapping[str, Check] = {"call": one_of(NAMES), "number": _positive, "file": _pattern}


def ruler(system: System) -> Calls:
    """The system as one that can let calls go wrong. Raises InjectionFailed."""
    if not isinstance(system, Calls):
        raise InjectionFailed(
            "this deployment cannot let a server's calls go wrong: choose one with the capability `calls`"
        )
    return system


def ordinal(number: int) -> str:
    """`1st`, `2nd`, `3rd`, `4th`, `11th`."""
    special = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{'th' if number % 100 in (11, 12, 13) else special.get(number % 10, 'th')}"


def await_call(strike: Strike, node: str, rule: CallRule) -> CallsSeen:
    """Wait, for the length of the fault, until a call of the node goes wrong. Raises InjectionFailed if none does."""
    system, calls = strike.system, ruler(strike.system)
    for_ms = strike.planned.for_ms

    def struck() -> CallsSeen | None:
        seen = calls.calls_seen(node)
        return seen if seen.struck else None

    try:
        return system.wait(f"the {ordinal(rule.first)} {rule.call} of {node}", struck, for_ms)
    except WaitTimeout as error:
        seen = calls.calls_seen(node).seen
        where = "" if rule.file == "*" else f" of {rule.file}"
        who = f"the child of {node}" if rule.process == "child" else node
        raise InjectionFailed(
            f"{who} made {seen} {NAMES[rule.call]}{where} within {for_ms} ms, and the {ordinal(rule.first)} never came"
            ": make the fault longer, or have the server do more of them (appendonly, appendfsync, save)"
        ) from error


def told(rule: CallRule, seen: CallsSeen) -> dict[str, Any]:
    """A call that went wrong, as evidence."""
    return {"call": rule.call, "number": rule.first, "of": seen.what, "time_ns": seen.time_ns}

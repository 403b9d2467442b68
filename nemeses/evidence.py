"""Proof that a fault took hold: waiting for it, and turning its absence into InjectionFailed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from nemeses.fault import Strike
from nemeses.system import InjectionFailed, System, WaitTimeout

T = TypeVar("T")


def await_proof(system: System, what: str, condition: Callable[[], T | None], timeout_ms: int) -> T:
    """`System.wait` for the proof that a fault took hold. Raises InjectionFailed instead of WaitTimeout."""
    try:
        return system.wait(what, condition, timeout_ms)
    except WaitTimeout as error:
        raise InjectionFailed(f"the fault was made and its effect was not seen: {error}") from error


def lasting(system: System, condition: Callable[[], T | None], for_ms: int) -> Callable[[], T | None]:
    """A condition that is true once `condition` was true at every call for that long: a flicker proves nothing."""
    began_ns: int | None = None

    def held() -> T | None:
        nonlocal began_ns
        seen = condition()
        if not seen:
            began_ns = None
            return None
        if began_ns is None:
            began_ns = system.now_ns()
        return seen if system.now_ns() - began_ns >= for_ms * 1_000_000 else None

    return held


def checkpoint(system: System) -> None:
    """Raise Interrupted if the run was asked to end; for loops of commands that wait for nothing."""
    system.sleep_until(system.now_ns() + 1_000_000)  # a time that has come already would not look


def began(strike: Strike) -> int:
    """Note that the fault bites from now on, and return the time: from here the schedule counts its length."""
    now = strike.system.now_ns()
    strike.state["since_ns"] = now
    return now


def on_each(nodes: Iterable[str], action: Callable[[str], object]) -> None:
    """Do it to every node, whatever one raises; the first error is raised when all had their turn."""
    errors = []
    for node in nodes:
        try:
            action(node)
        except Exception as error:  # noqa: BLE001 - a deployment's own errors, too, must not spare the rest
            errors.append(error)
    if errors:
        raise errors[0]


def info(system: System, node: str, section: str) -> dict[str, str]:
    """One section of INFO as a mapping. Raises Unreachable and ReplyError."""
    lines = system.call(node, "INFO", section).decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)

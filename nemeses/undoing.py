"""Whatever faults have left behind when the load ends, undone: none of it outlasts the load."""

from __future__ import annotations

from nemeses.system import Calls, Kill, Links, Pause, Skew, System


def undo_all(system: System) -> None:
    """Heal links, set clocks right, let calls pass, wake every node that is paused and start every one that is dead.

    Works when the run was asked to end, too. Raises what the capabilities raise.
    """
    if isinstance(system, Links):
        system.heal_all()
    for node in system.nodes:
        if isinstance(system, Skew) and "skew" in system.capabilities:
            system.skew(node, 0)
        if isinstance(system, Calls) and "calls" in system.capabilities:
            system.pass_calls(node)
        if isinstance(system, Pause):
            system.resume(node)
        if isinstance(system, Kill) and not system.running(node):
            system.start(node)

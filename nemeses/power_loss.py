"""Machines that lose their power: the process is gone, and so is all that was written to files and not synced."""

from __future__ import annotations

from typing import Any

from nemeses.fault import Strike
from nemeses.kill import KillFault, end
from nemeses.system import InjectionFailed, Power


class PowerLossFault(KillFault):
    """SIGKILL, and files as the last fsync left them: `appendfsync everysec` may lose its last second."""

    kind = "power-loss"
    requires = frozenset({"kill", "power"})

    def inject(self, strike: Strike) -> dict[str, Any]:
        """Kill, see that process and port are gone, and drop what was not synced: so many bytes of each file."""
        system = strike.system
        if not isinstance(system, Power):
            raise InjectionFailed("this deployment cannot tell what was synced: choose one with the capability `power`")
        refused = end(strike)
        dropped = {node: dict(system.drop_unsynced(node)) for node in strike.nodes}
        return {"since_ns": strike.state["since_ns"], "port": refused, "dropped_bytes": dropped}

"""Fault `refuse-writes`: a primary wants more replicas than there are before it takes a write (NOREPLICAS)."""

from functools import partial
from typing import Any

from chaos.extend import Fault, ReplyError, Strike, await_proof, began


class RefuseWrites(Fault):
    kind = "refuse-writes"

    def inject(self, strike: Strike) -> dict[str, Any]:
        return {"since_ns": began(strike), **self._want(strike, 1_000)}

    def heal(self, strike: Strike) -> dict[str, Any]:
        return self._want(strike, 0)

    def _want(self, strike: Strike, replicas: int) -> dict[str, Any]:
        for node in strike.nodes:
            strike.system.call(node, "CONFIG", "SET", "min-replicas-to-write", replicas)
            await_proof(strike.system, f"{node} to heed it", partial(self._heeds, strike, node, replicas > 0), 2_000)
        return {"replicas_wanted": replicas}

    def _heeds(self, strike: Strike, node: str, refuses: bool) -> bool:
        try:
            return bool(strike.system.call(node, "FUNCTION", "DELETE", "none"))  # a write that changes nothing
        except ReplyError as error:
            return str(error).startswith("NOREPLICAS") is refuses

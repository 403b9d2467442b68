"""A replica is made primary on request.

`graceful` stops the writes of the primary until the replica has them all, and then holds an election: nothing should
be lost. `force` asks nobody but the electorate, `takeover` not even that: writes that were on their way are lost.
The server's OK means only that it will try, so the promotion is read from the replica itself.

Where Sentinels watch the servers it is they who are asked (`nemeses.sentinel_failover`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from nemeses import by_command, sentinel_failover
from nemeses.evidence import await_proof, began, info
from nemeses.fault import Check, Strike
from nemeses.sentinels import sentinels
from nemeses.system import Commanded, InjectionFailed, System
from nemeses.targets import Survey
from nemeses.view import View
from nemeses.words import one_of

MODES: dict[str, tuple[str, ...]] = {"graceful": (), "force": ("FORCE",), "takeover": ("TAKEOVER",)}
"""Arguments of CLUSTER FAILOVER by mode."""
LINKED_MS = 5_000
"""How long a replica may take to be linked to its primary; the server refuses a graceful failover before."""
PROMOTED_MS = 10_000
"""The server gives a manual failover up after 5 s; a lost election is repeated within the double of that."""


class FailoverFault:
    """CLUSTER FAILOVER, sent to a replica of the target (or to the target, if that is a replica)."""

    kind = "failover"
    requires = frozenset({"promotion"})
    default_target = "a primary"
    options: Mapping[str, Any] = {"mode": "graceful"}
    checks: Mapping[str, Check] = {"mode": one_of(MODES)}

    def inject(self, strike: Strike) -> dict[str, Any]:
        """Ask, and wait until the replica serves the slots.

        Where somebody else runs the servers, and has a command for it, that is what asks.
        """
        if isinstance(strike.system, Commanded) and strike.system.commanded(self.kind):
            return by_command.fail_over(strike, strike.system)
        if sentinels(strike.system):
            return sentinel_failover.fail_over(strike)
        system, mode = strike.system, strike.planned.options["mode"]
        promotions = [self._candidate(strike, node, linked=mode == "graceful") for node in strike.nodes]
        since_ns = began(strike)
        promoted = {}
        for primary, replica in promotions:
            system.call(replica, "CLUSTER", "FAILOVER", *MODES[mode])
            promotion = partial(_promoted, system, replica)
            epoch = await_proof(system, f"{replica} to be promoted", promotion, PROMOTED_MS)
            promoted[primary] = {"to": replica, "epoch": epoch, "ms": (system.now_ns() - since_ns) // 1_000_000}
            strike.note("promoted", {"from": primary, "to": replica, "epoch": epoch})
        return {"since_ns": since_ns, "seen_ns": system.now_ns(), "promoted": promoted}

    def _candidate(self, strike: Strike, node: str, *, linked: bool) -> tuple[str, str]:
        """The primary to depose and the replica to promote."""
        system = strike.system

        def fit() -> list[str]:
            survey = Survey.take(system)
            row = survey.rows.get(node)
            names = survey.replicas_of(node) if row is None or row.is_primary else [node]
            return [name for name in names if not linked or _linked(system, name)]

        replica = strike.draw.choice(await_proof(system, f"a linked replica of {node}", fit, LINKED_MS))
        primary = View.fetch(system, replica).myself.primary
        if primary is None:
            raise InjectionFailed(f"{replica} became a primary before it could be asked to")
        return primary, replica

    def heal(self, strike: Strike) -> dict[str, Any]:
        """Nothing is undone: a cluster is as well off with the promoted node."""
        return {"primaries": Survey.take(strike.system).primaries}


def _linked(system: System, replica: str) -> bool:
    return info(system, replica, "replication").get("master_link_status") == "up"


def _promoted(system: System, node: str) -> int | None:
    """The configuration epoch of a node that calls itself a primary and serves slots, else None."""
    if system.call(node, "ROLE")[0] != b"master":
        return None
    row = View.fetch(system, node).myself
    return row.epoch if row.slots else None

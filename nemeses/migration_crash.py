"""A node dies in the middle of a classic migration.

Slots are opened, a share of their keys is moved, and source or target is killed. The state of an open slot is
local to each node (Redis does not tell its replicas; Valkey 8 and later do), so after a failover half of the keys can
be where nobody looks. Healing starts the victim again and tells what is left; `fix` mends that, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

from nemeses.fault import Check, Strike
from nemeses.kill import end, killer, revive
from nemeses.mending import mend, remains
from nemeses.moving import MOST_SLOTS, choose, keys_in, move_keys, opened, ranges, which_slots
from nemeses.system import InjectionFailed, System
from nemeses.targets import Survey
from nemeses.words import one_of


class MigrationCrashFault:
    """Opens slots, moves a share of their keys, kills one of the two nodes, and starts it again when healed."""

    kind = "migrate-crash"
    requires = frozenset({"kill", "slots"})
    default_target = "a primary"
    options: Mapping[str, Any] = {
        "victim": "source",
        "after": 0.5,
        "slots": None,
        "batch": 20,
        "to": None,
        "fix": False,
    }
    """`after`: the share of keys that is moved before the kill; `slots`: how many or which, 20 with keys unless given;
    `fix`: bring the moves to their end when healing, instead of leaving open what was left."""
    checks: Mapping[str, Check] = {"victim": one_of(("source", "target")), "slots": which_slots}

    def inject(self, strike: Strike) -> dict[str, Any]:
        """Open, move, kill, and see that the victim is gone and the other one still has the slots open."""
        system, options = strike.system, strike.planned.options
        killer(system)  # a system that cannot kill is refused before a slot is opened
        if len(strike.nodes) != 1:
            raise InjectionFailed(f"migrate-crash takes one primary, not {', '.join(strike.nodes)}")
        move = choose(strike, strike.nodes[0], options["slots"] or MOST_SLOTS, full_only=True)
        strike.state["slots"] = move.slots
        total = keys_in(system, move.source, move.slots)
        if not total:
            raise InjectionFailed(f"the slots {ranges(move.slots)} of {move.source} hold no keys to leave half-way")
        for slot in move.slots:
            opened(strike, slot, move)
        wanted, moved = ceil(total * options["after"]), 0
        for slot in move.slots:
            moved += move_keys(system, slot, move.source, move.target, options["batch"], wanted - moved)
        victim = move.source if options["victim"] == "source" else move.target
        survivor = move.target if victim == move.source else move.source
        strike.nodes[:] = [victim]
        gone = end(strike)
        strike.state["crashed"] = True
        strike.note("crash", {"victim": victim, "moved": moved, "of": total, "slots": ranges(move.slots)})
        return {
            "since_ns": strike.state["since_ns"],
            "port": gone,
            "victim": victim,
            "moved": moved,
            "of": total,
            "open": self._still_open(system, survivor, move.slots),
        }

    def _still_open(self, system: System, node: str, slots: tuple[int, ...]) -> dict[str, Any]:
        row = Survey.take(system).rows.get(node)
        open_slots = sorted(row.open_slots & set(slots)) if row else []
        if not open_slots:
            raise InjectionFailed(f"{node} has none of the slots {ranges(slots)} open after the kill")
        return {node: ranges(open_slots)}

    def heal(self, strike: Strike) -> dict[str, Any]:
        """Start the victim, finish the moves (if asked to, or if nobody died), and tell what is left."""
        evidence = revive(strike)
        if strike.planned.options["fix"] or "crashed" not in strike.state:
            evidence["fixed"] = ranges(mend(strike))
        return {**evidence, **remains(strike.system, strike.state.get("slots", ()))}

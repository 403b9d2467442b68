"""A classic migration that is begun and called off: keys go back, and the slots are closed where they were.

Whoever begins a move may think better of it: CLUSTER SETSLOT STABLE closes a slot on both sides and leaves its owner.
While the fault lasts the slots stand open, so other faults can meet them then. It is not safe: what a client writes to
a key that is away, between the closing and the coming back, is overwritten.

With `told: source` it was nearly done when it stopped: the source has named the target as the owner, the target was
not told any more, and healing only closes the slot there. Each then takes the other for the owner.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import ceil
from typing import Any

from nemeses.fault import Check, Strike
from nemeses.mending import MENDED_MS, REFUSED_MS, remains
from nemeses.moving import (
    MOST_SLOTS,
    Move,
    choose,
    insist,
    keys_in,
    move_keys,
    opened,
    ranges,
    set_slot,
    which_slots,
)
from nemeses.system import InjectionFailed, ReplyError, Unreachable, WaitTimeout
from nemeses.targets import Survey
from nemeses.view import View
from nemeses.words import one_of


class MigrationCancelFault:
    """Opens slots and moves a share of their keys; heals by moving them back and closing the slots."""

    kind = "migrate-cancel"
    requires = frozenset({"slots"})
    default_target = "a primary"
    options: Mapping[str, Any] = {"after": 0.5, "told": "nobody", "slots": None, "batch": 20, "to": None}
    """`after`: the share of keys that is moved; `told`: who knows of the new owner when the move stops, `nobody` or
    the `source` (then all keys are moved); `slots`: how many or which, 20 with keys unless given."""
    checks: Mapping[str, Check] = {"told": one_of(("nobody", "source")), "slots": which_slots}

    def inject(self, strike: Strike) -> dict[str, Any]:
        """Open, move, tell, and see that the target has the slots open and that the source was told or has, too."""
        system, options = strike.system, strike.planned.options
        if len(strike.nodes) != 1:
            raise InjectionFailed(f"migrate-cancel takes one primary, not {', '.join(strike.nodes)}")
        move = choose(strike, strike.nodes[0], options["slots"] or MOST_SLOTS, full_only=True)
        told = options["told"] == "source"
        strike.state.update(move=move, since_ns=system.now_ns())
        for slot in move.slots:
            opened(strike, slot, move)
        total = keys_in(system, move.source, move.slots)
        wanted, moved = total if told else ceil(total * options["after"]), 0
        for slot in move.slots:
            most = None if told else wanted - moved
            moved += move_keys(system, slot, move.source, move.target, options["batch"], most)
            if told:
                set_slot(system, move.source, slot, "NODE", move.target)
                strike.note("half-told", {"slots": [[slot, slot]], "from": move.source, "to": move.target})
        self._verify(strike, move, told=told)
        ends = {"from": move.source, "to": move.target, "slots": ranges(move.slots)}
        return {"since_ns": strike.state["since_ns"], "moved": moved, "of": total, **ends}

    def _verify(self, strike: Strike, move: Move, *, told: bool) -> None:
        source, target = View.fetch(strike.system, move.source), View.fetch(strike.system, move.target)
        for slot in move.slots:
            aware = source.owner(slot) != move.source if told else slot in source.myself.migrating
            if not aware or slot not in target.myself.importing:
                raise InjectionFailed(f"slot {slot} is not open at {move.target}, or {move.source} knows nothing of it")

    def heal(self, strike: Strike) -> dict[str, Any]:
        """Close what was opened, by whoever is primary now. Raises WaitTimeout when they go on refusing."""
        move: Move | None = strike.state.get("move")
        for slot in sorted(strike.state.get("open", {})):
            strike.system.wait(f"slot {slot} to be closed", partial(_closed, strike, slot), MENDED_MS)
            del strike.state["open"][slot]
        return remains(strike.system, move.slots if move else ())


def _closed(strike: Strike, slot: int) -> bool:
    """Close a slot at its owner, move its keys back, and close it at the target. Raises Unreachable and ReplyError."""
    system, options = strike.system, strike.planned.options
    survey = Survey.take(system)
    target = survey.heir(strike.state["open"][slot])
    owner = target if options["told"] == "source" else survey.owner(slot)
    if owner is None or target is None:
        raise Unreachable(f"the owner ({owner}) or the target ({target}) of slot {slot} does not answer")
    try:
        if owner != target:  # which takes no key back while it migrates
            insist(system, owner, "CLUSTER", "SETSLOT", slot, "STABLE", within_ms=REFUSED_MS)
            move_keys(system, slot, target, owner, options["batch"], within_ms=REFUSED_MS)
        insist(system, target, "CLUSTER", "SETSLOT", slot, "STABLE", within_ms=REFUSED_MS)
    except WaitTimeout as error:  # a refusal: look anew who is who
        raise ReplyError(str(error)) from error
    return True

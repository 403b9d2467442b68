"""Classic migrations that were left half-way: what is left of them, and how they are brought to their end.

Roles may have changed since: a restarted node may be a replica now, and an importing node never learns from the bus
that the owner of a slot was deposed. In Redis 7.0 it then takes the slot for unserved, and (with full coverage
required) the whole cluster for down, until it is told.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any

from nemeses.fault import Strike
from nemeses.moving import closed, hand_over, keys_in, move_keys, open_slot, set_slot
from nemeses.system import ReplyError, System, Unreachable, WaitTimeout
from nemeses.targets import Survey
from nemeses.view import View

MENDED_MS = 8_000
"""A restarted node refuses to serve for 2 s, and a failover may be under way."""
REFUSED_MS = 300
"""A node that has refused for this long may no longer be what it was taken for."""


def mend(strike: Strike) -> list[int]:
    """Bring every slot that the strike left open to its end, by whoever is primary now; returns those slots.

    Moving forward with REPLACE is right whoever died: a key on both sides was made anew at the owner, and its
    version is the younger. Raises WaitTimeout when a shard has no primary that answers, or a node goes on refusing.
    """
    open_: dict[int, str] = strike.state.get("open", {})
    slots = sorted(open_)
    if slots:
        strike.system.wait("all to agree on who is alive and what", partial(_settled, strike.system), MENDED_MS)
    for slot in slots:
        ends = strike.system.wait(f"slot {slot} to be mended", partial(_attempt, strike, slot), MENDED_MS)
        closed(strike, slot, *ends)
    return slots


def _settled(system: System) -> bool:
    """Whether every node that answers takes the others that do for what they are themselves: no election is on."""
    survey = Survey.take(system)
    for witness in survey.rows:
        view = View.fetch(system, witness)
        for name, own in survey.rows.items():
            if not view.knows(name) or view.row(name).failing or view.row(name).is_primary != own.is_primary:
                return False
    return True


def _attempt(strike: Strike, slot: int) -> tuple[str, str]:
    """Finish the move of one slot; returns the owners before and after. Raises Unreachable and ReplyError."""
    system, open_ = strike.system, strike.state["open"]
    survey = Survey.take(system)
    owner, heir = survey.owner(slot), survey.heir(open_[slot])
    if owner is None or heir is None:
        raise Unreachable(f"the owner ({owner}) or the heir ({heir}) of slot {slot} does not answer")
    try:
        if owner != heir:
            _tell_owners(system, survey, heir, {other for other, target in open_.items() if target == open_[slot]})
            open_slot(system, slot, owner, heir, REFUSED_MS)
            move_keys(system, slot, owner, heir, strike.planned.options["batch"], within_ms=REFUSED_MS)
            hand_over(system, slot, owner, heir, REFUSED_MS)
    except WaitTimeout as error:  # a refusal: look anew who is who
        raise ReplyError(str(error)) from error
    _close_elsewhere(system, survey, slot, {owner, heir})
    return owner, heir


def _tell_owners(system: System, survey: Survey, node: str, slots: set[int]) -> None:
    view = View.fetch(system, node)
    for slot in sorted(slots):
        owner = survey.owner(slot)
        if owner is not None and owner != view.owner(slot):
            set_slot(system, node, slot, "NODE", owner, REFUSED_MS)


def _close_elsewhere(system: System, survey: Survey, slot: int, ends: set[str]) -> None:
    for name, row in survey.rows.items():
        if name not in ends and slot in row.open_slots:
            with suppress(ReplyError):  # a replica takes this from its primary
                system.call(name, "CLUSTER", "SETSLOT", slot, "STABLE")


def left_open(survey: Survey) -> dict[str, dict[str, dict[str, str]]]:
    """The open slots that each node tells of: `{"n1": {"migrating": {"7629": "n2"}}}`."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for name, row in survey.rows.items():
        for state, slots in (("importing", row.importing), ("migrating", row.migrating)):
            if slots:
                found.setdefault(name, {})[state] = {str(slot): other for slot, other in sorted(slots.items())}
    return found


def remains(system: System, slots: tuple[int, ...]) -> dict[str, Any]:
    """What a crash left: open slots by node, and how many keys of the slots each primary holds.

    Replicas stand apart: Valkey tells them of a closed slot through replication alone, so one whose link was down at
    that moment keeps it open, and nothing but its primary's next word about the slot closes it.
    """
    survey = Survey.take(system)
    keys = {}
    for name, row in survey.rows.items():
        if row.is_primary:
            with suppress(Unreachable, ReplyError):  # still loading: it cannot tell
                keys[name] = keys_in(system, name, slots)
    open_ = left_open(survey)
    replicas = {name: open_.pop(name) for name in list(open_) if not survey.rows[name].is_primary}
    told = {"open_on_replicas": replicas} if replicas else {}
    return {"open": open_, **told, "keys": {name: count for name, count in keys.items() if count}}

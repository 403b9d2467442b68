"""Slots move to another primary while clients use them.

Three ways: `classic` (SETSLOT and MIGRATE, slot by slot), and what newer servers do in one piece: Valkey 9's
CLUSTER MIGRATESLOTS, sent to the source, and Redis 8.4's CLUSTER MIGRATION IMPORT, sent to the destination. Which
one a server has is asked of the server, since Valkey calls itself Redis 7.2.4. `auto` takes the classic way, too,
where another fault has left slots open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from nemeses.evidence import await_proof, began
from nemeses.fault import Check, Strike
from nemeses.mending import mend
from nemeses.moving import Move, choose, closed, hand_over, identity, move_keys, opened, ranges, which_slots
from nemeses.system import InjectionFailed, ReplyError, System, Unreachable
from nemeses.targets import Survey
from nemeses.view import View
from nemeses.words import one_of

METHODS = ("auto", "classic", "atomic")
ATOMIC_MS = 30_000
"""How long an atomic migration may take."""
AGREED_MS = 5_000
"""How long source and destination may take to agree on the new owner."""
_FAILED = ("failed", "cancelled", "canceled")


class MigrateFault:
    """Moves slots of the target primary. It is done when both ends say so, and nothing is moved back."""

    kind = "migrate"
    requires = frozenset({"slots"})
    default_target = "a primary"
    options: Mapping[str, Any] = {"slots": None, "method": "auto", "batch": 20, "to": None}
    """`slots`: how many (one unless given) or which; `batch`: keys per MIGRATE; `to`: a node, drawn unless given."""
    checks: Mapping[str, Check] = {"method": one_of(METHODS), "slots": which_slots}

    def inject(self, strike: Strike) -> dict[str, Any]:
        """Move, and see that source and destination agree."""
        return carry_out(strike, [choose(strike, node, strike.planned.options["slots"] or 1) for node in strike.nodes])

    def heal(self, strike: Strike) -> dict[str, Any]:
        """Bring a move that was left half-way to its end, or call it off if the server did it in one piece."""
        return finish(strike)


def carry_out(strike: Strike, moves: Sequence[Move]) -> dict[str, Any]:
    """Move by the strike's options `method` and `batch`; returns the evidence. Raises InjectionFailed."""
    system = strike.system
    atomic = _atomically(strike, moves)
    since_ns = began(strike)
    for move in moves:
        if atomic is None:
            _classic(strike, move)
        else:
            _atomic(strike, move, atomic)
        what = f"{move.source} and {move.target} to agree on the owner"
        await_proof(system, what, partial(_agreed, system, move), AGREED_MS)
    told = [{"from": move.source, "to": move.target, "slots": ranges(move.slots)} for move in moves]
    return {"since_ns": since_ns, "seen_ns": system.now_ns(), "method": atomic or "classic", "moved": told}


def _atomically(strike: Strike, moves: Sequence[Move]) -> str | None:
    """The subcommand by which the slots are to move in one piece; None for the classic way."""
    system, method = strike.system, strike.planned.options["method"]
    if method == "classic":
        return None
    command = atomic_command(system, moves[0].source)
    if method == "atomic" and command is None:
        raise InjectionFailed("this server has no atomic slot migration: use method classic or auto")
    if method == "auto" and command is not None:  # Valkey refuses while any slot stands open at one of the ends
        rows = Survey.take(system).rows
        ends = {node for move in moves for node in (move.source, move.target)}
        if any(rows[node].open_slots for node in ends & rows.keys()):
            return None
    return command


def finish(strike: Strike) -> dict[str, Any]:
    """Bring what `carry_out` left half-way to its end, or call it off if the server did it in one piece."""
    cancelled = strike.state.pop("job", None)
    if cancelled is not None:
        _cancel(strike.system, *cancelled)
    return {"finished": ranges(mend(strike)), "cancelled": cancelled is not None}


def _classic(strike: Strike, move: Move) -> None:
    system, batch = strike.system, strike.planned.options["batch"]
    for slot in move.slots:
        opened(strike, slot, move)
        move_keys(system, slot, move.source, move.target, batch)
        hand_over(system, slot, move.source, move.target)
        closed(strike, slot, move.source, move.target)


def atomic_command(system: System, node: str) -> str | None:
    """The subcommand of CLUSTER by which a server moves slots in one piece: MIGRATESLOTS, MIGRATION or None."""
    for command in ("MIGRATESLOTS", "MIGRATION"):
        known = system.call(node, "COMMAND", "INFO", f"cluster|{command.lower()}")
        if known and known[0]:
            return command
    return None


def _atomic(strike: Strike, move: Move, command: str) -> None:
    system = strike.system
    flat = [number for first_and_last in ranges(move.slots) for number in first_and_last]
    if command == "MIGRATESLOTS":
        strike.state["job"] = (move.source, "CLUSTER", "CANCELSLOTMIGRATIONS")
        new = identity(system, move.target)
        system.call(move.source, "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", *flat, "NODE", new)
    else:
        strike.state["job"] = (move.target, "CLUSTER", "MIGRATION", "CANCEL", "ALL")
        system.call(move.target, "CLUSTER", "MIGRATION", "IMPORT", *flat)

    def done() -> bool:
        if _owns(system, move.target, move):
            return True
        if command == "MIGRATESLOTS" and (why := _failure(system, move)):
            raise InjectionFailed(f"{move.source} could not move {ranges(move.slots)} to {move.target}: {why}")
        return False

    await_proof(system, f"{move.target} to own slots {ranges(move.slots)}", done, ATOMIC_MS)
    strike.state.pop("job")
    for first, last in ranges(move.slots):
        strike.note("handover", {"slots": [[first, last]], "from": move.source, "to": move.target})


def _failure(system: System, move: Move) -> str | None:
    """Why the source's latest job for these slots ended in vain; None while it did not."""
    jobs = [_mapping(job) for job in system.call(move.source, "CLUSTER", "GETSLOTMIGRATIONS")]
    ours = " ".join(f"{first}-{last}" for first, last in ranges(move.slots))
    latest = max(
        (job for job in jobs if job.get("slot_ranges") == ours),
        key=lambda job: int(job.get("create_time", 0)),
        default={},
    )
    if latest.get("state") not in _FAILED:
        return None
    return f"{latest['state']}: {latest.get('message', '')}"


def _mapping(flat: list[Any]) -> dict[str, str]:
    texts = [item.decode() if isinstance(item, bytes) else str(item) for item in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def _cancel(system: System, node: str, *command: str) -> None:
    with suppress(ReplyError, Unreachable):  # an answer that there is nothing to cancel is as good; a dead node, too
        system.call(node, *command)


def _agreed(system: System, move: Move) -> bool:
    return _owns(system, move.target, move) and _owns(system, move.source, move)


def _owns(system: System, witness: str, move: Move) -> bool:
    """Whether the target owns the moved slots in the eyes of a node."""
    view = View.fetch(system, witness)
    owned = view.row(move.target).slots if view.knows(move.target) else []
    return all(any(first <= slot <= last for first, last in owned) for slot in move.slots)

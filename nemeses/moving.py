"""Slots on the move the classic way: opened on both sides, emptied key by key, handed over.

While a slot is open, the source sends who asks for a key that it has not (any more) to the target with -ASK. The
sequence is that of the Redis Cluster specification ("Live reconfiguration"); the destination is told first that it
owns the slot, so that at no time nobody does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from nemeses.evidence import checkpoint
from nemeses.fault import Strike
from nemeses.system import InjectionFailed, ReplyError, System, Unreachable, WaitTimeout
from nemeses.targets import SLOTS, Survey, parse
from nemeses.words import nearest

COMMAND_MS = 5_000
"""SETSLOT waits for replicas and MIGRATE for the target, so they get more time than other commands."""
MIGRATE_MS = 1_000
"""How long the source waits for the target, per batch."""
MOST_SLOTS = 20
"""So many slots with keys are opened, unless the scenario says which, by faults that leave them open."""
FILLED_MS = 5_000
"""How long a primary may hold no key: restarted empty, it refuses to serve for 2 s, and then has to be written to."""
SCANNED = 2_000
"""As many keys are looked at to find slots that are not empty."""


@dataclass(frozen=True)
class Move:
    """Slots to be moved from one primary to another."""

    source: str
    target: str
    slots: tuple[int, ...]


def insist(system: System, node: str, *arguments: str | bytes | int, within_ms: int = COMMAND_MS) -> Any:
    """Send a command that may be repeated until the node accepts it. Raises WaitTimeout with the last refusal."""
    return system.wait(
        f"{node} to accept {' '.join(map(str, arguments[:3]))}",
        lambda: system.call(node, *arguments, timeout_ms=COMMAND_MS),
        within_ms,
    )


def identity(system: System, node: str) -> str:
    """The id of a node in the cluster."""
    text: str = system.call(node, "CLUSTER", "MYID").decode()
    return text


def set_slot(system: System, node: str, slot: int, state: str, other: str, within_ms: int = COMMAND_MS) -> None:
    """CLUSTER SETSLOT with state IMPORTING (from), MIGRATING (to) or NODE (the owner); `other` is a name."""
    insist(system, node, "CLUSTER", "SETSLOT", slot, state, identity(system, other), within_ms=within_ms)


def open_slot(system: System, slot: int, source: str, target: str, within_ms: int = COMMAND_MS) -> None:
    """Let the target import the slot and the source migrate it."""
    set_slot(system, target, slot, "IMPORTING", source, within_ms)
    set_slot(system, source, slot, "MIGRATING", target, within_ms)


def move_keys(
    system: System,
    slot: int,
    source: str,
    target: str,
    batch: int,
    most: int | None = None,
    within_ms: int = COMMAND_MS,
) -> int:
    """Move the keys of an open slot, `most` at most, and return how many. Raises Interrupted between batches.

    REPLACE makes a batch repeatable: of one whose reply got lost, part may be there already.
    """
    node, moved = system.nodes[target], 0
    while most is None or moved < most:
        count = batch if most is None else min(batch, most - moved)
        keys = system.call(source, "CLUSTER", "GETKEYSINSLOT", slot, count)
        if not keys:
            break
        batch_of = (node.host, node.port, "", 0, MIGRATE_MS, "REPLACE", "KEYS", *keys)
        insist(system, source, "MIGRATE", *batch_of, within_ms=within_ms)
        moved += len(keys)
        checkpoint(system)
    return moved


def hand_over(system: System, slot: int, source: str, target: str, within_ms: int = COMMAND_MS) -> None:
    """Make the target the owner: there, at the source, and at every other primary that can be reached."""
    set_slot(system, target, slot, "NODE", target, within_ms)
    set_slot(system, source, slot, "NODE", target, within_ms)
    for other in Survey.take(system).primaries:
        if other not in (source, target):
            with suppress(Unreachable, ReplyError):  # it hears of it by gossip, since the target's epoch is higher
                system.call(other, "CLUSTER", "SETSLOT", slot, "NODE", identity(system, target))


def opened(strike: Strike, slot: int, move: Move) -> None:
    """Open a slot for a classic move, and note it: in the history, and for `heal`."""
    strike.state.setdefault("open", {})[slot] = move.target
    open_slot(strike.system, slot, move.source, move.target)
    strike.note("open", {"slots": [[slot, slot]], "from": move.source, "to": move.target})


def closed(strike: Strike, slot: int, source: str, target: str) -> None:
    """Note that an open slot has been handed over."""
    strike.state["open"].pop(slot, None)
    strike.note("handover", {"slots": [[slot, slot]], "from": source, "to": target})


def keys_in(system: System, node: str, slots: Iterable[int]) -> int:
    """How many keys of these slots a node holds, whoever owns them."""
    return sum(system.call(node, "CLUSTER", "COUNTKEYSINSLOT", slot) for slot in slots)


def ranges(slots: Iterable[int]) -> list[list[int]]:
    """Ascending slots as first and last of each run."""
    runs: list[list[int]] = []
    for slot in slots:
        if runs and runs[-1][1] == slot - 1:
            runs[-1][1] = slot
        else:
            runs.append([slot, slot])
    return runs


def choose(strike: Strike, source: str, wanted: int | Sequence[int], *, full_only: bool = False) -> Move:
    """Decide what moves where: `wanted` slots of a primary (or as many as that) to `to`, or to a drawn primary.

    The slot that the target names comes first, then those that hold keys, then (unless `full_only`) empty ones; never
    one that another fault is moving, unless it is asked for by its number. Raises InjectionFailed when the source does
    not own the slots (or, if `full_only`, goes on holding no key), or there is nowhere to go.
    """

    def taken() -> tuple[Survey, list[int]]:
        survey = Survey.take(strike.system)
        if not isinstance(wanted, int):
            return survey, sorted(wanted)
        return survey, _drawn(strike, source, survey, wanted, full_only=full_only)

    survey, slots = taken()
    if full_only and not slots:
        with suppress(WaitTimeout):
            strike.system.wait(f"{source} to hold a key", partial(_populated, strike.system, source), FILLED_MS)
            survey, slots = taken()
    foreign = [slot for slot in slots if survey.owner(slot) != source]
    if not slots or foreign:
        lacks = f"does not own slot {foreign[0]}" if foreign else "has no slot with keys in it"
        raise InjectionFailed(f"{source} ({survey.role(source)}) {lacks}")
    return Move(source, _destination(strike, survey, source), tuple(slots))


def _drawn(strike: Strike, source: str, survey: Survey, count: int, *, full_only: bool) -> list[int]:
    target = parse(strike.planned.target)
    populated = _populated(strike.system, source)
    moving = set(strike.moving) | {slot for row in survey.rows.values() for slot in row.open_slots}
    owned = [slot for slot in survey.slots(source) if slot not in moving]
    named = [target.number] if target.form.endswith("slot N") and target.number in owned else []
    full = sorted(populated & set(owned))
    empty = [] if full_only else sorted(set(owned) - set(full))
    strike.draw.shuffle(full)
    strike.draw.shuffle(empty)
    order = dict.fromkeys(slot for slot in (*named, *full, *empty) if slot is not None)
    own = strike.planned.number
    ours = (slot for slot in order if strike.moving.setdefault(slot, own) == own)  # at once, against other threads
    return sorted(islice(ours, count))


def _populated(system: System, node: str) -> set[int]:
    keys: list[bytes] = []
    for part in _scan(system, node):
        keys += part
        if len(keys) >= SCANNED:
            break
    return {system.call(node, "CLUSTER", "KEYSLOT", key) for key in keys[:SCANNED]}


def _scan(system: System, node: str) -> Iterator[list[bytes]]:
    cursor: Any = b"0"
    while True:
        cursor, keys = system.call(node, "SCAN", cursor, "COUNT", 500)
        yield keys
        if cursor in (b"0", 0):
            return


def _destination(strike: Strike, survey: Survey, source: str) -> str:
    to: str | None = strike.planned.options["to"]
    others = [name for name in survey.primaries if name != source]
    able = [name for name, row in survey.rows.items() if row.is_primary and name != source]  # without slots, too
    if to is not None and to not in able:
        raise InjectionFailed(f"to: {to} is no other primary that answers now; {nearest(to, able)}")
    if not others:
        raise InjectionFailed(f"there is no primary but {source} to move slots to")
    return to or strike.draw.choice(others)


def which_slots(value: Any) -> Any:
    """The check of an option `slots`: None, a number of slots, or a list of them."""
    if value is None or (type(value) is int and value >= 1):
        return value
    if isinstance(value, list | tuple) and value and all(type(s) is int and 0 <= s < SLOTS for s in value):
        return value
    raise ValueError(f"{value!r} is neither a number of slots (from 1) nor a list of slots (0 to {SLOTS - 1})")

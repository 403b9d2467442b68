"""The faults that a simulated cluster can suffer: each a story of what happens when, all of them on the first shard."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from simulated_bugs import Bug
from simulated_node import Data, Node, copied

from checkers.keyslot import key_slot

if TYPE_CHECKING:
    import random

MS = 1_000_000
CUT, BACK, TAKEOVER, HEALED, STOP = 200 * MS, 320 * MS, 350 * MS, 500 * MS, 700 * MS
"""When a fault begins, the way back of a failback, when the replica takes over, when it is healed, end of the load."""
POLL = 40 * MS
"""How late the observer records a change."""
PINNED = (0, 1)
"""Clients on the side of a primary that is cut off; they do not ask for the slot map by themselves."""
MOVED = ("k6", "k2", "{g2}", "l3", "s2", "c2", "{t2}", "m0")
"""Keys and tags of the first shard whose slots a migration moves to the second."""
PACE = 10 * MS
"""Between two keys that move."""
FAULTS = ("none", "failover", "failback", "migration", "kill", "partition", "wipe")
"""`failover` and `failback` (there and back) are graceful; `wipe` kills the primary and starts it empty before anybody
takes over."""


class Faults:
    """What breaks and heals in a simulated cluster."""

    nodes: dict[str, Node]
    fault: str
    bug: Bug | None
    draw: random.Random
    at: Callable[[int, Callable[[int], None]], None]
    note: Callable[[int, str, str, dict[str, Any]], None]
    view: Callable[[Node, int], None]
    replicate: Callable[..., None]

    def plan(self) -> None:
        """Put the story of the fault into the queue."""
        if self.fault == "none":
            return
        kind = {"wipe": "restart", "failback": "failover", "migration": "migrate"}.get(self.fault, self.fault)
        value = {"fault": 0, "nodes": ["n1"], "clients": list(PINNED) if self.fault == "partition" else []}
        self.note(CUT, "nemesis", kind, {**value, "phase": "inject"})
        self.note(HEALED, "nemesis", kind, {**value, "phase": "heal"})
        for time, action in STORIES[self.fault]:
            self.at(time, partial(action, self))
        if self.bug is Bug.OUTDATED_MAP:
            self.nodes["n3"].outdated = True

    def kill(self, now: int) -> None:
        self.nodes["n1"].up = False
        self.view(self.nodes["n1"], now + POLL)

    def cut(self, now: int) -> None:
        self.nodes["n1"].cut = True

    def take_over(self, now: int) -> None:
        """The replica becomes primary with what it has."""
        self._promote("n4", "n1", now)

    def heal(self, now: int) -> None:
        """The old primary becomes a replica, and what only it had is gone."""
        self._follow("n1", "n4", now)

    def start_empty(self, now: int) -> None:
        for node in (self.nodes["n1"], self.nodes["n4"]):
            node.data, node.up = {}, True
            node.link += 1
        self.view(self.nodes["n1"], now + POLL)

    def hand_over(self, now: int) -> None:
        self._hand_over("n1", "n4", now)

    def hand_back(self, now: int) -> None:
        self._hand_over("n4", "n1", now)

    def _hand_over(self, old: str, new: str, now: int) -> None:
        """A graceful failover: writes wait until the replica has everything."""
        source = self.nodes[old]
        source.held = []
        synced = now if self.bug is Bug.UNSYNCED_HANDOVER else max(now, source.delivered + 1)
        self.at(synced, partial(self._handed_over, old, new))

    def _handed_over(self, old: str, new: str, now: int) -> None:
        source, target = self.nodes[old], self.nodes[new]
        waiting, source.held = source.held or [], None
        if self.bug is Bug.STALE_AFTER_FAILBACK:
            source.memory = copied(source.data)
            target.remembers_until = now + 80 * MS if target.memory else 0
        self._promote(new, old, now)
        if self.bug is Bug.DEPOSED_PRIMARY:
            self.at(HEALED, partial(self._follow, old, new))
        else:
            self._follow(old, new, now)
        for action in waiting:
            self.at(now, action)

    def _promote(self, name: str, old: str, now: int) -> None:
        node = self.nodes[name]
        node.primary, node.epoch = None, self._next_epoch()
        node.slots = [list(span) for span in self.nodes[old].slots]
        node.link += 1
        node.delivered = max(node.delivered, now)
        self.view(node, now + POLL)

    def _follow(self, name: str, primary: str, now: int) -> None:
        node = self.nodes[name]
        node.up, node.cut, node.primary, node.slots = True, False, primary, []
        node.epoch = self.nodes[primary].epoch
        node.data = copied(self.nodes[primary].data)
        node.link += 1
        self.view(node, now + POLL)

    def _next_epoch(self) -> int:
        return max(node.epoch for node in self.nodes.values()) + 1

    def migrate(self, now: int) -> None:
        """Move the first of the slots, key by key; the next one follows when it is done."""
        self._open([key_slot(name) for name in MOVED], now)

    def _open(self, slots: list[int], now: int) -> None:
        slot = slots[0]
        source, target = self.nodes["n1"], self.nodes["n2"]
        source.migrating[slot] = target.name
        target.importing.add(slot)
        self._step("open", slot, now)
        self.at(now + PACE, partial(self._move, slots))

    def _move(self, slots: list[int], now: int) -> None:
        slot = slots[0]
        source, target = self.nodes["n1"], self.nodes["n2"]
        keys = source.keys_of(slot)
        if not keys or (self.bug is Bug.STRANDED_KEY and len(keys) == 1):
            self._hand_slot(slot, source, target, now)
            if slots[1:]:
                self._open(slots[1:], now)
            return
        cell = source.data.pop(keys[0])
        target.data[keys[0]] = cell.copy()

        def drop(data: Data) -> None:
            data.pop(keys[0], None)

        def restore(data: Data) -> None:
            data[keys[0]] = cell

        self.replicate(source, drop, now)
        self.replicate(target, restore, now)
        self.at(now + PACE, partial(self._move, slots))

    def _hand_slot(self, slot: int, source: Node, target: Node, now: int) -> None:
        source.migrating.pop(slot)
        target.importing.discard(slot)
        if self.bug is not Bug.TWO_OWNERS:
            source.give_up(slot)
        if self.bug is not Bug.ORPHANED_SLOT:
            target.slots = [*target.slots, [slot, slot]]
            target.epoch = self._next_epoch()
        if self.bug is Bug.REDIRECT_LOOP:
            source.misled[slot], target.misled[slot] = target.name, source.name
        self._step("handover", slot, now)
        self.view(source, now + POLL)
        self.view(target, now + POLL)

    def _step(self, name: str, slot: int, now: int) -> None:
        value = {"fault": 0, "phase": "step", "step": name, "slots": [[slot, slot]], "from": "n1", "to": "n2"}
        self.note(now, "nemesis", "migrate", value)


STORIES: dict[str, list[tuple[int, Callable[[Any, int], None]]]] = {
    "failover": [(CUT, Faults.hand_over)],
    "failback": [(CUT, Faults.hand_over), (BACK, Faults.hand_back)],
    "migration": [(CUT, Faults.migrate)],
    "kill": [(CUT, Faults.kill), (TAKEOVER, Faults.take_over), (HEALED, Faults.heal)],
    "partition": [(CUT, Faults.cut), (TAKEOVER, Faults.take_over), (HEALED, Faults.heal)],
    "wipe": [(CUT, Faults.kill), (CUT + 20 * MS, Faults.start_empty)],
}

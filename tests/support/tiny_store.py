"""A replicated store small enough to be right: it knows exactly which acknowledged writes it lost.

Two shards of a primary and a replica, asynchronous replication, clients in a closed loop, one fault on the first
shard, simulated in the order of time from a seed. What the primary had applied and its replica had not received when
the replica took over is gone, and listed. The history has everything that a run of the real thing would have.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from checkers.history import Event, History, from_events
from checkers.keyslot import key_slot

MS = 1_000_000
SLOTS = {"n1": [[0, 8191]], "n3": [[8192, 16383]]}
CUT, TAKEOVER, NOTICED, HEALED, STOP = 200 * MS, 350 * MS, 500 * MS, 500 * MS, 700 * MS
POLL = 40 * MS
"""How late the observer records a change."""
TIMEOUT = 60 * MS
CLIENTS = 6
PINNED = (0, 1)
"""Clients on the side of a primary that is cut off."""
GROUP = ("{g0}:a", "{g0}:b", "{g0}:c")
FAULTS = ("none", "failover", "kill", "partition", "wipe")
"""`failover` is graceful; `wipe` kills the primary and starts it empty before anybody takes over."""

Data = dict[str, Any]


@dataclass
class Node:
    name: str
    primary: str | None
    epoch: int
    slots: list[list[int]]
    data: Data = field(default_factory=dict)
    up: bool = True
    cut: bool = False
    delivered: int = 0
    """When the last command that is under way to its replica arrives; replication keeps the order."""


@dataclass
class Command:
    f: str
    key: str
    value: Any
    invoke: Event
    acknowledged: bool = False
    replicated: bool = False


@dataclass
class TinyStore:
    seed: int
    fault: str = "none"
    lag_ms: int = 12
    """Replication is late by up to this."""

    def __post_init__(self) -> None:
        self.draw = random.Random(f"{self.seed}/{self.fault}")
        self.nodes = {
            "n1": Node("n1", None, 1, SLOTS["n1"]),
            "n2": Node("n2", "n1", 1, []),
            "n3": Node("n3", None, 2, SLOTS["n3"]),
            "n4": Node("n4", "n3", 2, []),
        }
        self.events: list[Event] = []
        self.queue: list[tuple[int, int, Callable[[int], None]]] = []
        self.order = 0
        self.log: list[Command] = []
        """What the first shard's first primary has applied."""
        self.lost: list[Command] = []
        """Writes that the system lost; those of them that were acknowledged are `acknowledged_lost`."""
        self.number = 0
        self.processes = list(range(CLIENTS))

    @property
    def acknowledged_lost(self) -> list[Command]:
        return [command for command in self.lost if command.acknowledged]

    def run(self) -> History:
        for node in self.nodes.values():
            self._view(0, node)
        self._note(0, "controller", "phase", {"phase": "start"})
        for client in range(CLIENTS):
            self._at(self.draw.randrange(5 * MS), lambda now, client=client: self._begin(client, now))
        self._plan_fault()
        while self.queue:
            now, _, action = heapq.heappop(self.queue)
            action(now)
        self._note(STOP, "controller", "phase", {"phase": "stop"})
        self._finish(STOP + 200 * MS)
        header = {
            "server": "valkey 9.1.2",
            "clients": CLIENTS,
            "slots": [[*span, node] for node, spans in SLOTS.items() for span in spans],
            "replicas": {"n1": ["n2"], "n3": ["n4"]},
        }
        return from_events(self.events, header)

    def _at(self, time: int, action: Callable[[int], None]) -> None:
        self.order += 1
        heapq.heappush(self.queue, (time, self.order, action))

    def _note(self, time: int, process: str, f: str, value: dict[str, Any]) -> None:
        self.events.append(Event("info", f, process, time=time, value=value))

    def _view(self, time: int, node: Node) -> None:
        role = "replica" if node.primary else "primary"
        value = {"node": node.name, "state": "up" if node.up else "down", "role": role, "primary": node.primary}
        self._note(time, "observer", "view", {**value, "epoch": node.epoch, "slots": deepcopy(node.slots)})

    def _owner(self, key: str, client: int | None = None) -> Node:
        slot = key_slot(key)
        claims = [n for n in self.nodes.values() if n.up and any(a <= slot <= b for a, b in n.slots)]
        if client in PINNED:  # they still reach the old primary, and ask it as long as it claims the slot
            return min(claims, key=lambda node: node.epoch, default=self.nodes["n1"])
        return max(claims, key=lambda node: node.epoch, default=self.nodes["n1"])

    def _choose(self, client: int) -> tuple[str, str, Any]:
        self.number += 1
        value = client * 10_000_000 + self.number
        kind = self.draw.choice(["register", "register", "set", "list", "counter", "group"])
        n = self.draw.randrange(4)
        read = self.draw.random() < 0.4
        if kind == "register":
            return ("read", f"k{n}", None) if read else ("write", f"k{n}", value)
        if kind == "set":
            return ("read", f"s{n}", None) if read and n == 0 else ("add", f"s{n}", value)
        if kind == "counter":
            return ("read", f"c{n}", None) if read else ("add", f"c{n}", 1)
        if kind == "list":
            return ("txn", f"l{n}", [["r", f"l{n}", None]] if read else [["append", f"l{n}", value]])
        return ("mget", "{g0}", dict.fromkeys(GROUP)) if read else ("mset", "{g0}", dict.fromkeys(GROUP, value))

    def _begin(self, client: int, now: int) -> None:
        if now >= STOP:
            return
        f, key, value = self._choose(client)
        invoke = Event("invoke", f, self.processes[client], time=now, key=key, value=value)
        self.events.append(invoke)
        node = self._owner(key, client)
        arrival = now + self.draw.randrange(MS // 10, MS)
        self._at(arrival, lambda then: self._arrive(client, Command(f, key, value, invoke), node, then))

    def _reads(self, command: Command) -> bool:
        return command.f in ("read", "mget") or (command.f == "txn" and command.value[0][0] == "r")

    def _arrive(self, client: int, command: Command, node: Node, now: int) -> None:
        apart = node.cut and client not in PINNED
        if not node.up or apart:
            outcome = "fail" if self._reads(command) else "info"
            self._at(now + TIMEOUT, lambda then: self._end(client, command, outcome, None, None, then))
            return
        if not any(a <= key_slot(command.key) <= b for a, b in node.slots):
            self._end(client, command, "fail", None, node, now, "MOVED")
            return
        result = apply(node.data, command.f, command.key, command.value)
        if not self._reads(command):
            self._replicate(command, node, now)
        reply = now + self.draw.randrange(MS // 10, MS)
        self._at(reply, lambda then: self._end(client, command, "ok", result, node, then))

    def _end(
        self,
        client: int,
        command: Command,
        outcome: str,
        result: Any,
        node: Node | None,
        now: int,
        error: str = "timeout",
    ) -> None:
        if outcome == "ok" and node is not None and not node.up:  # killed before its reply left
            outcome, error = ("fail" if self._reads(command) else "info"), "reset"
        done = Event(outcome, command.f, command.invoke.process, time=now, key=command.key, value=command.value)
        if outcome == "ok":
            done.value, done.node = result, node.name if node else None
            command.acknowledged = True
        else:
            done.error = error
        self.events.append(done)
        if outcome == "info":
            self.processes[client] += CLIENTS
        self._at(now + self.draw.randrange(1, MS), lambda then: self._begin(client, then))

    def _replicate(self, command: Command, node: Node, now: int) -> None:
        if node.name == "n1" and node.primary is None:
            self.log.append(command)
        node.delivered = max(node.delivered + 1, now + self.draw.randrange(self.lag_ms * MS))
        source = node.name

        def deliver(_: int) -> None:
            for other in self.nodes.values():
                if other.primary == source and node.up and not node.cut:
                    apply(other.data, command.f, command.key, command.value)
                    command.replicated = True

        self._at(node.delivered, deliver)

    def _plan_fault(self) -> None:
        if self.fault == "none":
            return
        kind = {"wipe": "restart"}.get(self.fault, self.fault)
        value = {"fault": 0, "nodes": ["n1"], "clients": list(PINNED) if self.fault == "partition" else []}
        self._note(CUT, "nemesis", kind, {**value, "phase": "inject"})
        self._note(HEALED, "nemesis", kind, {**value, "phase": "heal"})
        for time, action in STORIES[self.fault]:
            self._at(time, lambda now, action=action: action(self, now))

    def kill(self, now: int) -> None:
        self.nodes["n1"].up = False
        self._view(now + POLL, self.nodes["n1"])

    def cut(self, now: int) -> None:
        self.nodes["n1"].cut = True

    def take_over(self, now: int) -> None:
        """The replica becomes primary with what it has; the rest of the old primary's log is lost."""
        new = self.nodes["n2"]
        new.primary, new.epoch, new.slots = None, 3, SLOTS["n1"]
        self._view(now + POLL, new)

    def follow(self, now: int) -> None:
        """The old primary becomes a replica and takes over the data of the new one."""
        old, new = self.nodes["n1"], self.nodes["n2"]
        self.lost = [command for command in self.log if not command.replicated]
        old.up, old.cut, old.primary, old.epoch, old.slots = True, False, "n2", 3, []
        old.data = deepcopy(new.data)
        self._view(now + POLL, old)

    def hand_over(self, now: int) -> None:
        """A graceful failover: the replica gets everything first."""
        for command in self.log:
            if not command.replicated:
                apply(self.nodes["n2"].data, command.f, command.key, command.value)
                command.replicated = True
        self.take_over(now)
        self.follow(now)

    def start_empty(self, now: int) -> None:
        for name in ("n1", "n2"):
            self.nodes[name].data = {}
            self.nodes[name].up = True
        self.lost = list(self.log)
        self._view(now + POLL, self.nodes["n1"])

    def _finish(self, now: int) -> None:
        for node in self.nodes.values():
            if node.primary:
                node.data = deepcopy(self.nodes[node.primary].data)
        self._note(now, "controller", "phase", {"phase": "healed"})
        self._note(now + 1, "controller", "phase", {"phase": "converged"})
        now += 10
        objects = sorted({(e.key or "", e.f) for e in self.events if e.type == "invoke"})
        reads = {key: {"write": "read", "add": "read", "mset": "mget"}.get(f, f) for key, f in objects}
        for key, f in reads.items():
            owner = self._owner(key)
            holders = [(owner, None, 1_000_000)]
            holders += [(n, "replica", 1_000_001) for n in self.nodes.values() if n.primary == owner.name]
            holders += [(owner, f"from:{name}", 1_000_100 + i) for i, name in enumerate(self.nodes)]
            for node, via, process in holders:
                value = {"mget": dict.fromkeys(GROUP), "txn": [["r", key, None]]}.get(f)
                result = apply(node.data, f, key, value)
                self.events.append(Event("invoke", f, process, time=now, key=key, value=value, final=True, via=via))
                self.events.append(
                    Event("ok", f, process, time=now + 5, key=key, value=result, node=node.name, final=True)
                )
                now += 10
        primaries = [node for node in self.nodes.values() if not node.primary]
        owners = [[*span, node.name] for node in primaries for span in node.slots]
        for node in self.nodes.values():
            self._note(now, "controller", "map", {"node": node.name, "slots": owners})
        for node in primaries:
            self._note(now, "controller", "holds", {"node": node.name, "keys": sorted(node.data)})
        self._note(now, "controller", "phase", {"phase": "closed"})


STORIES: dict[str, list[tuple[int, Callable[[TinyStore, int], None]]]] = {
    "failover": [(CUT, TinyStore.hand_over)],
    "kill": [(CUT, TinyStore.kill), (TAKEOVER, TinyStore.take_over), (HEALED, TinyStore.follow)],
    "partition": [(CUT, TinyStore.cut), (TAKEOVER, TinyStore.take_over), (NOTICED, TinyStore.follow)],
    "wipe": [(CUT, TinyStore.kill), (CUT + 20 * MS, TinyStore.start_empty)],
}


def apply(data: Data, f: str, key: str, value: Any) -> Any:
    """Do one command on a node's data and return what a client gets for it."""
    if f == "txn":
        verb, name, element = value[0]
        if verb == "r":
            return [["r", name, list(data.get(name, []))]]
        data.setdefault(name, []).append(element)
        return value
    if f == "mget":
        return {name: data.get(name) for name in value}
    if f == "mset":
        data.update(value)
    elif f == "write":
        data[key] = value
    elif f == "add" and key.startswith("c"):
        data[key] = data.get(key, 0) + value
    elif f == "add":
        data.setdefault(key, []).append(value)
    else:
        return list(data.get(key, [])) if key.startswith("s") else data.get(key, 0 if key.startswith("c") else None)
    return value

"""A cluster small enough to be right: it knows exactly which acknowledged writes it lost, and errs only when told to.

Three shards of a primary and a replica, asynchronous replication, clients in a closed loop that follow redirections,
and one fault on the first shard (see `simulated_faults`), simulated in the order of time from a seed. Each key keeps
the commands that made it, so an acknowledged write is lost exactly when the owner's key does not have it in the end.
The history has everything that a run of the real thing would have. A `Bug` makes it do one thing wrong.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

from simulated_bugs import Bug
from simulated_clients import CLIENTS, FINALS, USED, Client, ask
from simulated_faults import PINNED, STOP, Faults
from simulated_node import REFUSED, Command, Data, Node, apply

from checkers.events import Event
from checkers.history import History, from_events
from checkers.keyslot import SLOTS, key_slot

MS = 1_000_000
OWNED = {"n1": [[0, 5460]], "n2": [[5461, 10922]], "n3": [[10923, 16383]]}
REPLICAS = {"n1": "n4", "n2": "n5", "n3": "n6"}
TIMEOUT = 40 * MS
UNHEARD = ("timeout", "Connection", "CLUSTERDOWN")
"""How errors begin after which a client asks for the slot map."""
MOST_HOPS = 16
MOST_TRIES = 20


class Answer(NamedTuple):
    """What a node replies: `ok` with a value, `MOVED` or `ASK` with a node, else the text of an error."""

    kind: str
    value: Any = None


class SimulatedCluster(Faults):
    """One run, repeatable from its seed. `lag_ms` is how late replication is at most."""

    def __init__(self, seed: int, fault: str = "none", bug: Bug | None = None, lag_ms: int = 12) -> None:
        self.draw = random.Random(f"{seed}/{fault}")
        self.fault, self.bug = fault, bug
        self.lag_ms = 80 if bug is Bug.SESSION_GOES_BACK else lag_ms
        self.nodes = {
            name: Node(name, None, epoch, deepcopy(slots)) for epoch, (name, slots) in enumerate(OWNED.items(), 1)
        }
        for primary, name in REPLICAS.items():
            self.nodes[name] = Node(name, primary, self.nodes[primary].epoch, [])
        self.clients = [Client(number, number) for number in range(CLIENTS)]
        self.events: list[Event] = []
        self.acknowledged: list[Command] = []
        """Writes that were acknowledged."""
        self.queue: list[tuple[int, int, Callable[[int], None]]] = []
        self.order = self.number = 0

    @property
    def lost(self) -> list[tuple[str, Command]]:
        """Acknowledged writes that a key of theirs does not have where its owner keeps it, with that key."""
        logs: dict[str, set[int]] = {}
        for node in self.nodes.values():
            for key, cell in node.data.items():
                if self._owner(key_slot(key)) == node.name:
                    logs[key] = {id(command) for command in cell.log}
        return [
            (key, command)
            for command in self.acknowledged
            for key in written(command)
            if id(command) not in logs.get(key, ())
        ]

    def run(self) -> History:
        """Play it to the end. Only once."""
        for node in self.nodes.values():
            self.view(node, 0)
        self.note(0, "controller", "phase", {"phase": "start"})
        for client in self.clients:
            self._refresh(client)
            self.at(self.draw.randrange(5 * MS), partial(self._begin, client))
        self.plan()
        now = 0
        while self.queue:
            now, _, action = heapq.heappop(self.queue)
            action(now)
        self.note(STOP, "controller", "phase", {"phase": "stop"})
        self._finish(max(now, STOP) + 100 * MS)
        header = {
            "server": "valkey 9.1.2",
            "clients": CLIENTS,
            "slots": [[*span, node] for node, spans in OWNED.items() for span in spans],
            "replicas": {primary: [replica] for primary, replica in REPLICAS.items()},
        }
        return from_events(self.events, header)

    def at(self, time: int, action: Callable[[int], None]) -> None:
        self.order += 1
        heapq.heappush(self.queue, (time, self.order, action))

    def note(self, time: int, process: str, f: str, value: dict[str, Any]) -> None:
        self.events.append(Event("info", f, process, time=time, value=value))

    def view(self, node: Node, time: int) -> None:
        """What the observer writes of a node."""
        role = "replica" if node.primary else "primary"
        value = {"node": node.name, "state": "up" if node.up else "down", "role": role, "primary": node.primary}
        self.note(time, "observer", "view", {**value, "epoch": node.epoch, "slots": deepcopy(node.slots)})

    def strikes(self, bug: Bug, often: float = 1.0) -> bool:
        """Whether a bug that was asked for shows this time."""
        return self.bug is bug and self.draw.random() < often

    def _owner(self, slot: int) -> str | None:
        claims = [node for node in self.nodes.values() if node.claims(slot)]
        return max(claims, key=lambda node: node.epoch).name if claims else None

    def _refresh(self, client: Client) -> None:
        """The client asks for the slot map. Those beside a node that is cut off do not get it."""
        if client.number in PINNED and any(node.cut for node in self.nodes.values()):
            return
        client.table |= {slot: owner for slot in USED if (owner := self._owner(slot))}

    def _begin(self, client: Client, now: int) -> None:
        if now >= STOP:
            return
        if client.number not in PINNED and self.draw.random() < 0.05:
            self._refresh(client)
        self.number += 1
        command = ask(self.draw, client, client.number * 10_000_000 + self.number)
        target = client.table[min(command.slots, key=lambda slot: slot != key_slot(command.key))]
        if command.reads and command.key[0] == "k" and client.number > 2 and self.strikes(Bug.SESSION_GOES_BACK, 0.5):
            command.via = "replica"
            target = next((node.name for node in self.nodes.values() if node.primary == target), target)
        command.invoke = Event(
            "invoke", command.f, client.process, time=now, key=command.key, value=command.value, via=command.via
        )
        self.events.append(command.invoke)
        self._send(client, command, target, now)
        self.at(now + TIMEOUT, partial(self._give_up, client, command, target))

    def _send(self, client: Client, command: Command, name: str, now: int, asking: bool = False) -> None:
        command.hops.append(name)
        slow = self.draw.random() < 0.003
        delay = self.draw.randrange(2 * TIMEOUT) if slow else self.draw.randrange(MS // 10, MS)
        self.at(now + delay, partial(self._arrive, client, command, self.nodes[name], asking))

    def _give_up(self, client: Client, command: Command, target: str, now: int) -> None:
        if command.settled:
            return
        if not command.reads and not command.sent and self.strikes(Bug.RESENT_WRITE):
            command.sent = 1
            self._send(client, command, target, now)
            self.at(now + TIMEOUT, partial(self._give_up, client, command, target))
            return
        self._settle(client, command, "unknown", None, f"timeout reading from {command.hops[-1]}", now)

    def _apart(self, node: Node, client: Client) -> bool:
        return node.cut and client.number not in PINNED

    def _arrive(self, client: Client, command: Command, node: Node, asking: bool, now: int) -> None:
        if self._apart(node, client):
            return
        if not node.up:
            if not command.settled and not command.sent and self.draw.random() < 0.5:
                self._settle(client, command, "fail", None, f"Connection to {node.name} refused", now)
            return
        if node.held is not None and not command.reads:
            node.held.append(partial(self._arrive, client, command, node, asking))
            return
        answer = self._answer(node, command, asking, now)
        slow = self.draw.random() < (0.02 if self.bug is Bug.RESENT_WRITE else 0.003)
        delay = 2 * TIMEOUT if slow else self.draw.randrange(MS // 10, MS)
        if answer.kind == "ok" and self.bug in (Bug.TORN_WRITE, Bug.TORN_TRANSACTION):
            delay += 6 * MS  # the second half of the work comes before the reply
        self.at(now + delay, partial(self._hear, client, command, node, asking, answer))

    def _answer(self, node: Node, command: Command, asking: bool, now: int) -> Answer:
        """What a node replies, in the order in which Redis Cluster decides it."""
        slot = key_slot(command.keys[0])
        if len(command.slots) > 1 and self.bug is not Bug.CROSS_SLOT_ACCEPTED:
            return Answer("CROSSSLOT Keys in request don't hash to the same slot")
        if command.via == "replica" and node.primary:
            return Answer("ok", apply(node.data, command))
        if slot in node.misled:
            return Answer("MOVED", node.misled[slot])
        importing = asking and slot in node.importing
        if not node.claims(slot) and not importing:
            owner = self._owner(slot)
            return Answer("MOVED", owner) if owner else Answer("CLUSTERDOWN Hash slot not served")
        missing = sum(key not in node.data for key in command.keys)
        torn = command.f == "mget" and self.bug is Bug.TORN_MIGRATION
        if missing and slot in node.migrating and not torn:
            some = missing < len(command.keys)
            return (
                Answer("TRYAGAIN Multiple keys request during rehashing of slot")
                if some
                else Answer("ASK", node.migrating[slot])
            )
        if missing and importing and len(command.keys) > 1 and not torn:
            return Answer("TRYAGAIN Multiple keys request during rehashing of slot")
        if command.reads:
            return Answer("ok", self._read(node, command, now))
        refuse = self.draw.random() < 0.01
        if not refuse or self.bug is Bug.REFUSED_WRITE_APPLIED:
            result = self._write(node, command, now)
        if refuse:
            return Answer("NOREPLICAS Not enough good replicas to write.")
        return Answer("the operation is not possible") if result is REFUSED else Answer("ok", result)

    def _read(self, node: Node, command: Command, now: int) -> Any:
        data = node.memory if now < node.remembers_until else node.data
        if self.strikes(Bug.REPLICA_READ, 0.1):
            data = next((other.data for other in self._replicas(node)), data)
        result = apply(data, command)
        if command.key[0] == "k" and self.strikes(Bug.CORRUPTION, 0.02):
            return 777_000_000_000 + self.number
        return result

    def _write(self, node: Node, command: Command, now: int) -> Any:
        kind = command.key[0]
        dropped = {"s": Bug.ADD_DROPPED, "c": Bug.INCREMENT_LOST}.get(kind)
        if dropped and self.strikes(dropped, 0.05):
            return command.value
        halves = {"mset": Bug.TORN_WRITE, "txn": Bug.TORN_TRANSACTION}.get(command.f)
        if len(command.keys) > 1 and halves and self.strikes(halves):
            result = self._do(node, command, now, slice(0, 1))
            self.at(now + 5 * MS, partial(self._do_rest, node, command, result))
            return result
        if command.f == "acquire" and self.strikes(Bug.LOCK_GRANTED_TWICE, 0.3):
            node.data.pop(command.key, None)
        waiting = node.data[command.key].copy() if command.key in node.data else None
        result = self._do(node, command, now)
        if kind == "c" and self.strikes(Bug.INCREMENT_DOUBLED, 0.2):
            self._do(node, command, now)
        if command.f == "dequeue" and waiting and self.strikes(Bug.DELIVERED_TWICE, 0.2):
            node.data[command.key] = waiting
        return result

    def _do_rest(self, node: Node, command: Command, result: Any, now: int) -> None:
        rest = self._do(node, command, now, slice(1, None))
        if isinstance(result, list):
            result += rest

    def _do(self, node: Node, command: Command, now: int, part: slice = slice(None)) -> Any:
        result = apply(node.data, command, part)
        if result is not REFUSED:
            late = 20 * MS if command.f == "txn" and self.strikes(Bug.LIST_REORDERED, 0.15) else 0
            self.replicate(node, lambda data: apply(data, command, part), now, late)
        return result

    def _replicas(self, node: Node) -> list[Node]:
        return [other for other in self.nodes.values() if other.primary == node.name]

    def replicate(self, node: Node, effect: Callable[[Data], Any], now: int, late: int = 0) -> None:
        """Send a change to the replicas, behind everything that was sent before; `late` puts it out of order."""
        node.delivered = max(node.delivered + 1, now + self.draw.randrange(self.lag_ms * MS))
        for replica in self._replicas(node):
            if not self.strikes(Bug.REPLICA_MISSES_WRITE, 0.05):
                self.at(node.delivered + late, partial(self._deliver, node, replica, replica.link, effect))

    def _deliver(self, node: Node, replica: Node, link: int, effect: Callable[[Data], Any], now: int) -> None:
        if node.up and not node.cut and replica.link == link:
            effect(replica.data)

    def _hear(self, client: Client, command: Command, node: Node, asking: bool, answer: Answer, now: int) -> None:
        if command.settled or self._apart(node, client):
            return
        if not node.up:
            self._settle(client, command, "unknown", None, "Connection reset by peer", now)
        elif answer.kind == "ok":
            self._settle(client, command, "ok", answer.value, None, now, asking)
        elif len(command.hops) > MOST_HOPS:
            self._settle(client, command, "fail", None, f"redirect-loop after {answer.kind} to {answer.value}", now)
        elif answer.kind == "MOVED":
            client.table |= dict.fromkeys(command.slots, answer.value)
            self._send(client, command, answer.value, now)
        elif answer.kind == "ASK":
            self._send(client, command, answer.value, now, asking=True)
        elif answer.kind.startswith("TRYAGAIN") and command.tries < MOST_TRIES:
            command.tries += 1
            again = command.hops[0]
            command.hops.clear()
            self._send(client, command, again, now + MS)
        else:
            self._settle(client, command, "fail", None, answer.kind, now)

    def _settle(
        self,
        client: Client,
        command: Command,
        outcome: str,
        value: Any,
        error: str | None,
        now: int,
        asking: bool = False,
    ) -> None:
        """The client's outcome; `unknown` is `fail` for a read and `info` for a write."""
        assert command.invoke is not None
        command.settled = True
        kind = outcome if outcome != "unknown" else "fail" if command.reads else "info"
        done = Event(kind, command.f, command.invoke.process, time=now, key=command.key, error=error, asking=asking)
        done.value = value if kind == "ok" else command.value
        done.node = command.hops[-1] if kind == "ok" else None
        done.hops = list(command.hops) if len(command.hops) > 1 else None
        if command.sent:
            attempt = {"node": command.hops[0], "time": command.invoke.time, "sent": True, "error": "timeout"}
            done.attempts = [attempt, {**attempt, "error": error}]
        self.events.append(done)
        if kind == "ok" and not command.reads:
            self.acknowledged.append(command)
        if error and error.startswith(UNHEARD):
            self._refresh(client)
        if (command.f, kind) in (("acquire", "fail"), ("release", "fail"), ("release", "ok")):
            client.tokens.pop(command.key, None)
        if kind == "info":
            client.process += CLIENTS
        self.at(now + self.draw.randrange(1, MS), partial(self._begin, client))

    def _finish(self, now: int) -> None:
        """Everything has arrived; take the final reads and write down what the nodes believe and hold."""
        self.note(now, "controller", "phase", {"phase": "healed"})
        self.note(now + 1, "controller", "phase", {"phase": "converged"})
        for final in FINALS:
            owner = self._owner(key_slot(final.key)) or "n1"
            now = self._final(final, owner, None, 1_000_000, now + 10)
            for number, replica in enumerate(self._replicas(self.nodes[owner])):
                now = self._final(final, replica.name, "replica", 1_000_001 + number, now + 10)
            for number, name in enumerate(self.nodes):
                now = self._final(final, name, f"from:{name}", 1_000_100 + number, now + 10)
        for node in self.nodes.values():
            self.note(now, "controller", "map", {"node": node.name, "slots": self._map(node)})
        for node in self.nodes.values():
            if not node.primary:
                self.note(now, "controller", "holds", {"node": node.name, "keys": sorted(node.data)})
        self.note(now, "controller", "phase", {"phase": "closed"})

    def _final(self, final: Command, name: str, via: str | None, process: int, now: int) -> int:
        """Walk from a node to the answer; returns when it came."""
        invoke = Event("invoke", final.f, process, time=now, key=final.key, value=final.value, final=True, via=via)
        done = Event("ok", final.f, process, time=now + 5, key=final.key, value=final.value, final=True)
        hops, asking = [name], False
        command = replace(final, via=via)
        while (answer := self._answer(self.nodes[hops[-1]], command, asking, now)).kind in ("MOVED", "ASK"):
            if len(hops) > MOST_HOPS:
                answer = Answer("redirect-loop: " + " -> ".join(hops))
                break
            hops.append(answer.value)
            asking = answer.kind == "ASK"
        if answer.kind == "ok":
            done.node, done.value = hops[-1], answer.value
        else:
            done.type, done.error = "fail", answer.kind
        done.hops = hops if len(hops) > 1 else None
        self.events += [invoke, done]
        return now + 5

    def _map(self, node: Node) -> list[list[Any]]:
        """Ranges of slots with their owners, as a node believes; its own claims come first."""
        owners: list[str | None] = [None] * SLOTS
        claims = sorted(self.nodes.values(), key=lambda other: (other is node, other.epoch))
        known = [(other.name, other.slots) for other in claims]
        for name, slots in OWNED.items() if node.outdated else known:
            for first, last in slots:
                owners[first : last + 1] = [name] * (last - first + 1)
        ranges, place = [], 0
        for owner, span in groupby(owners):
            size = len(list(span))
            if owner:
                ranges.append([place, place + size - 1, owner])
            place += size
        return ranges


def written(command: Command) -> list[str]:
    """The keys that a write changes."""
    if command.f == "txn":
        return [key for verb, key, _ in command.value if verb == "append"]
    return [] if command.f == "dequeue" else list(command.keys)

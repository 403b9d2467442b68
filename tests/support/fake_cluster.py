"""A cluster in memory behind the Transport seam, in virtual time.

It speaks RESP, redirects, replicates late, and loses acknowledged writes on demand: as much of a server in cluster
mode as the workloads need. A test can kill, pause and cut nodes, open slots for migration and hand them over, and
fail over.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any

import hiredis
from redis.crc import key_slot

from chaos.crew import MachineCrew
from chaos.routes.bare import Bare
from chaos.routes.links import Link
from chaos.routes.machine import Effects, Terms
from chaos.routes.slotmap import SLOTS, Directory, SlotMap
from chaos.transport import Address, Happening, Kind
from chaos.workloads import Mixture
from chaos.workloads.multikey import READ_SCRIPT, UNDECLARED_SCRIPT
from checkers.events import Event
from checkers.history import History, from_events
from nemeses.stream import derive

LATENCY_NS = 500_000
REPLICATION_NS = 2_000_000
OK = b"+OK\r\n"
WRITES = {"SET", "DEL", "MSET", "INCRBY", "SADD", "RPUSH", "EVAL"}


class Connection:
    """The server's side of one link."""

    def __init__(self, node: FakeNode) -> None:
        self.node = node
        self.reader = hiredis.Reader()
        self.name = ""
        self.asking = False
        self.readonly = False
        self.queued: list[list[Any]] | None = None
        self.aborted = False


class FakeNode:
    """One server."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.address = (f"10.0.0.{number}", 6379)
        self.primary: str | None = None
        self.data: dict[bytes, Any] = {}
        self.alive = True
        self.paused: list[Callable[[], None]] | None = None
        self.migrating: dict[int, str] = {}
        self.importing: set[int] = set()
        self.error: str | None = None
        """Said to every command with a key, when set."""
        self.script_error: str | None = None
        self.loses = 0
        """Writes that it will still acknowledge and forget."""
        self.mute = False
        """Executes, but its replies are lost."""
        self.commands: list[list[Any]] = []


class FakeCluster:
    """Implements `chaos.transport.Transport`; it is the clock as well."""

    def __init__(self, primaries: int = 3, replicas: int = 1) -> None:
        names = [f"n{number}" for number in range(1, primaries * (1 + replicas) + 1)]
        self.nodes = {name: FakeNode(name, number) for number, name in enumerate(names, 1)}
        bounds = [SLOTS * i // primaries for i in range(primaries + 1)]
        self.ranges = [(bounds[i], bounds[i + 1] - 1, names[i]) for i in range(primaries)]
        self.owners = [name for first, last, name in self.ranges for _ in range(first, last + 1)]
        self.replicas = {name: names[primaries + i :: primaries] for i, name in enumerate(names[:primaries])}
        for primary, members in self.replicas.items():
            for member in members:
                self.nodes[member].primary = primary
        self.cut: set[str] = set()
        """Nodes that no client reaches."""
        self.now = 0
        self._links: dict[Link, Connection] = {}
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._happened: list[Happening[Link]] = []

    # Transport and clock

    def clock(self) -> int:
        self.now += 1_000  # reading the clock takes a while, so that no two readings are equal
        return self.now

    def connect(self, link: Link, address: Address, source: str | None) -> None:
        node = next(node for node in self.nodes.values() if node.address == address)
        connection = self._links[link] = Connection(node)
        if node.name in self.cut:
            return
        self.after(LATENCY_NS, lambda: self._accept(link, connection))

    def _accept(self, link: Link, connection: Connection) -> None:
        if self._links.get(link) is not connection:
            return
        if connection.node.alive:
            self._happened.append(Happening(link, Kind.CONNECTED))
        else:
            self._lose(link, ConnectionRefusedError("Connection refused"))

    def send(self, link: Link, data: bytes) -> None:
        connection = self._links.get(link)
        if connection is not None and connection.node.name not in self.cut:
            self.after(LATENCY_NS, lambda: self._arrive(link, connection, data))

    def _arrive(self, link: Link, connection: Connection, data: bytes) -> None:
        node = connection.node
        if not node.alive:
            return
        if node.paused is not None:
            node.paused.append(lambda: self._arrive(link, connection, data))
            return
        connection.reader.feed(data)
        while (command := connection.reader.gets()) is not False:
            node.commands.append(command)
            reply = self.answer(connection, [str(command[0], "ascii").upper(), *command[1:]])
            if not node.mute:
                self.after(LATENCY_NS, lambda reply=reply: self._deliver(link, connection, reply))

    def _deliver(self, link: Link, connection: Connection, reply: bytes) -> None:
        if self._links.get(link) is connection and connection.node.alive and connection.node.name not in self.cut:
            self._happened.append(Happening(link, Kind.DATA, reply))

    def _lose(self, link: Link, error: Exception) -> None:
        if self._links.pop(link, None) is not None:
            self._happened.append(Happening(link, Kind.LOST, error=error))

    def close(self, link: Link) -> None:
        self._links.pop(link, None)

    def poll(self, timeout_ns: int) -> list[Happening[Link]]:
        end = self.now + timeout_ns
        while not self._happened and self._agenda and self._agenda[0][0] <= end:
            at, _, action = heapq.heappop(self._agenda)
            self.now = max(self.now, at)
            action()
        if not self._happened:
            self.now = end
        happened, self._happened = self._happened, []
        return happened

    def after(self, delay_ns: int, action: Callable[[], None]) -> None:
        """Do something later."""
        heapq.heappush(self._agenda, (self.now + delay_ns, next(self._order), action))

    def settle(self) -> None:
        """Let everything happen that is still to come: replication, above all."""
        while self._agenda:
            self.now = max(self.now, self._agenda[0][0])
            heapq.heappop(self._agenda)[2]()

    # What a test does to it

    def kill(self, name: str) -> None:
        self.nodes[name].alive = False
        for link, connection in list(self._links.items()):
            if connection.node.name == name:
                self._lose(link, ConnectionResetError("Connection reset by peer"))

    def pause(self, name: str) -> None:
        self.nodes[name].paused = []

    def resume(self, name: str) -> None:
        waiting, self.nodes[name].paused = self.nodes[name].paused or [], None
        for action in waiting:
            action()

    def open_slot(self, slot: int, target: str) -> None:
        self.nodes[self.owners[slot]].migrating[slot] = target
        self.nodes[target].importing.add(slot)

    def move_key(self, key: bytes, source: str, target: str) -> None:
        self.nodes[target].data[key] = self.nodes[source].data.pop(key)

    def hand_over(self, slot: int, target: str) -> None:
        source = self.nodes[self.owners[slot]]
        for key in [key for key in source.data if key_slot(key) == slot]:
            self.move_key(key, source.name, target)
        source.migrating.pop(slot, None)
        self.nodes[target].importing.discard(slot)
        self.owners[slot] = target

    def promote(self, replica: str) -> None:
        """Fail over: the replica takes the slots with what it has, and the old primary follows it."""
        old = self.nodes[replica].primary
        self.owners = [replica if owner == old else owner for owner in self.owners]
        self.nodes[replica].primary = None
        self.nodes[str(old)].primary = replica

    # What servers do

    def answer(self, connection: Connection, command: list[Any]) -> bytes:
        """What a node replies to one command, and what it does for it."""
        name = command[0]
        node = connection.node
        if connection.queued is not None and name not in ("EXEC", "ASKING"):
            error = self._refusal(connection, command)
            connection.aborted = connection.aborted or error is not None
            connection.queued.append(command)
            return error or b"+QUEUED\r\n"
        if name == "ASKING":
            connection.asking = True
            return OK
        if name == "CLIENT":
            connection.name = command[2].decode()
            return OK
        if name == "READONLY":
            connection.readonly = True
            return OK
        if name == "CLUSTER":
            return self._slots()
        if name == "WAIT":
            return b":%d\r\n" % len(self.replicas.get(node.name, ()))
        if name == "MULTI":
            connection.queued, connection.aborted = [], False
            return OK
        if name == "EXEC":
            return self._execute(connection)
        error = self._refusal(connection, command)
        connection.asking = False
        return error or self._apply(node, command)

    def _execute(self, connection: Connection) -> bytes:
        commands, connection.queued = connection.queued, None
        asking, connection.asking = connection.asking, False
        assert commands is not None
        if connection.aborted:
            return b"-EXECABORT Transaction discarded because of previous errors.\r\n"
        connection.asking = asking
        error = self._refusal(connection, ["MSET", *[part for c in commands for part in (c[1], b"")]])
        connection.asking = False
        replies = [self._apply(connection.node, command) for command in commands] if error is None else []
        return error or b"*%d\r\n%s" % (len(replies), b"".join(replies))

    def _refusal(self, connection: Connection, command: list[Any]) -> bytes | None:
        node = connection.node
        if node.error:
            return b"-%s\r\n" % node.error.encode()
        keys = _keys(command)
        slots = {key_slot(key) for key in keys}
        if len(slots) > 1:
            return b"-CROSSSLOT Keys in request don't hash to the same slot\r\n"
        slot = slots.pop()
        missing = [key for key in keys if key not in node.data]
        if slot in node.importing and connection.asking:
            return b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n" if missing and keys[1:] else None
        if self.owners[slot] != node.name:
            reads = connection.readonly and node.primary == self.owners[slot] and command[0] not in WRITES
            return None if reads else _redirect(b"MOVED", slot, self.nodes[self.owners[slot]])
        if slot in node.migrating and missing:
            if len(missing) < len(keys):
                return b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n"
            return _redirect(b"ASK", slot, self.nodes[node.migrating[slot]])
        return None

    def _apply(self, node: FakeNode, command: list[Any]) -> bytes:
        if command[0] == "EVAL" and node.script_error:
            return b"-%s\r\n" % node.script_error.encode()
        if command[0] in WRITES:
            if node.loses:
                node.loses -= 1
                return _run(dict(node.data), command)
            for replica in self.replicas.get(node.name, ()):
                data = self.nodes[replica].data
                self.after(REPLICATION_NS, lambda data=data: _run(data, command) and None)
        if command[0] == "SET" and b"PX" in command[3:]:
            self.after(int(command[4]) * 1_000_000, lambda: self._expire(node, command[1], command[2]))
        return _run(node.data, command)

    @staticmethod
    def _expire(node: FakeNode, key: bytes, value: bytes) -> None:
        """An entry's time is over: if it is still the one that was set."""
        if node.data.get(key) is value:
            del node.data[key]

    def _slots(self) -> bytes:
        rows = []
        for owner, group in itertools.groupby(enumerate(self.owners), key=lambda item: item[1]):
            slots = [slot for slot, _ in group]
            servers = [self.nodes[name] for name in (owner, *self.replicas.get(owner, ()))]
            rows.append(
                b"*%d\r\n:%d\r\n:%d\r\n" % (2 + len(servers), slots[0], slots[-1]) + b"".join(map(_server, servers))
            )
        return b"*%d\r\n%s" % (len(rows), b"".join(rows))


def _server(node: FakeNode) -> bytes:
    return b"*3\r\n%s:%d\r\n%s" % (_bulk(node.address[0].encode()), node.address[1], _bulk(node.name.encode()))


def _redirect(kind: bytes, slot: int, node: FakeNode) -> bytes:
    return b"-%s %d %s:%d\r\n" % (kind, slot, node.address[0].encode(), node.address[1])


def _bulk(value: bytes | None) -> bytes:
    return b"$-1\r\n" if value is None else b"$%d\r\n%s\r\n" % (len(value), value)


def _array(values: list[bytes | None]) -> bytes:
    return b"*%d\r\n%s" % (len(values), b"".join(map(_bulk, values)))


def _keys(command: list[Any]) -> list[bytes]:
    name = command[0]
    if name in ("EVAL", "EVAL_RO"):
        return list(command[3 : 3 + int(command[2])])
    return list({"MSET": command[1::2], "MGET": command[1:]}.get(name, command[1:2]))


def _run(data: dict[bytes, Any], command: list[Any]) -> bytes:
    """Execute one command on the data of one node."""
    name, *arguments = command
    if name in ("EVAL", "EVAL_RO"):
        return _run_script(data, arguments[0].decode(), _keys(command), arguments[2 + int(arguments[1]) :])
    if name == "GET":
        return _bulk(data.get(arguments[0]))
    if name == "MGET":
        return _array([data.get(key) for key in arguments])
    if name == "SET":
        data[arguments[0]] = arguments[1]
        return OK
    if name == "DEL":
        return b":%d\r\n" % (data.pop(arguments[0], None) is not None)
    if name == "MSET":
        data.update(zip(arguments[::2], arguments[1::2], strict=True))
        return OK
    if name == "INCRBY":
        data[arguments[0]] = b"%d" % (int(data.get(arguments[0], 0)) + int(arguments[1]))
        return b":%s\r\n" % data[arguments[0]]
    if name == "SADD":
        data.setdefault(arguments[0], set()).add(arguments[1])
        return b":1\r\n"
    if name == "SMEMBERS":
        return _array(sorted(data.get(arguments[0], ())))
    if name == "RPUSH":
        data.setdefault(arguments[0], []).append(arguments[1])
        return b":%d\r\n" % len(data[arguments[0]])
    if name == "LRANGE":
        return _array(list(data.get(arguments[0], ())))
    return b"-ERR unknown command '%s'\r\n" % name.encode()


def _run_script(data: dict[bytes, Any], script: str, keys: list[bytes], arguments: list[bytes]) -> bytes:
    if script == READ_SCRIPT:
        return _array([data.get(key) for key in keys])
    if script == UNDECLARED_SCRIPT:
        keys = [*keys, arguments[1]]
    data.update(dict.fromkeys(keys, arguments[0]))
    return OK


class Memory:
    """In place of a Recorder: keeps the events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def write(self, *events: Event) -> None:
        self.events.extend(events)

    def history(self) -> History:
        """What was recorded, as checkers see it."""
        return from_events(list(self.events))


def _bare(client: int, seed: int, terms: Terms, slots: Callable[[], SlotMap], effects: Effects) -> Bare:
    return Bare(client, seed, terms, slots(), effects)


class Scene:
    """Bare clients on a fake cluster."""

    def __init__(
        self,
        mixture: Mixture,
        clients: int = 1,
        *,
        cluster: FakeCluster | None = None,
        timeout_ms: int = 500,
        recorder: Any = None,
        make: Callable[[int, int, Terms, Callable[[], SlotMap], Effects], Any] | None = None,
        **terms: Any,
    ) -> None:
        """`make` makes a client of its number, seed, terms, what makes a map, and effects; else it is a bare one."""
        self.cluster = cluster or FakeCluster()
        self.memory = recorder or Memory()
        self.effects = Effects()
        addresses = {name: node.address for name, node in self.cluster.nodes.items()}
        common = Terms(mixture, Directory(addresses, {}), clients, timeout_ms * 1_000_000, **terms)
        self.machines = [
            (make or _bare)(
                client,
                derive(7, "client", client),
                common,
                lambda: SlotMap(self.cluster.ranges, self.cluster.replicas),
                self.effects,
            )
            for client in range(clients)
        ]
        self.crew = MachineCrew(
            self.machines,
            self.effects,
            self.cluster,
            self.memory,
            self.cluster.clock,
            addresses,
            {},
        )

    def run(self, duration_ms: int) -> History:
        """Let the clients work until that time of the run, and finish."""
        self.crew.run(duration_ms * 1_000_000, lambda: False, lambda: None)
        return self.memory.history()

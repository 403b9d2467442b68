"""A cluster in memory under a clock of its own, with every capability: what faults can be tested on without a server.

Time passes only when all threads that take part sleep, and then jumps to the first of them that wakes. `refuse`
names what is accepted and not done (`kill`, `pause`, `cut`, `lose`, `failover`, `setslot`, `migrate`, `start`,
`delay`, `limit`, `skew`, `calls`, `crash`, `reorder`): an injection that believes what it was told, instead of what it
sees, is caught by that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from nemeses.system import (
    CallRule,
    CallsSeen,
    CrashPlan,
    CrashSeen,
    Interrupted,
    Node,
    ReplyError,
    Unreachable,
    WaitTimeout,
)

MS = 1_000_000
NODE_TIMEOUT_MS = 1_000
DELAYED_MS = 200
CALL_MS = 100
"""Between two calls of a server that a rule is about."""


@dataclass
class Server:
    name: str
    primary: str | None
    epoch: int
    slots: set[int]
    keys: dict[str, int] = field(default_factory=dict)
    """Key to its slot."""
    importing: dict[int, str] = field(default_factory=dict)
    migrating: dict[int, str] = field(default_factory=dict)
    alive: bool = True
    paused: bool = False
    starts: int = 1
    received: list[int] = field(default_factory=list)
    """When each message arrives that was published elsewhere."""
    frozen_at: int | None = None
    """Offset at which replication stopped."""


class VirtualClock:
    def __init__(self) -> None:
        self.now = 0
        self.interrupt_at: int | None = None
        self._condition = threading.Condition()
        self._sleeping: dict[threading.Thread, int] = {}
        self._parties: set[threading.Thread] = set()
        self._expected = 1

    def expect(self, threads: int) -> None:
        """So many threads take part from now on; nobody wakes before each of them has slept once."""
        self._parties, self._expected = set(), threads

    def now_ns(self) -> int:
        return self.now

    @property
    def interrupted(self) -> bool:
        return self.interrupt_at is not None and self.now >= self.interrupt_at

    def sleep_until(self, time_ns: int) -> None:
        me = threading.current_thread()
        with self._condition:
            self._parties.add(me)
            self._sleeping[me] = time_ns
            try:
                while self.now < time_ns:
                    if self.interrupted:
                        raise Interrupted("the run was asked to end")
                    self._advance()
                    if self.now < time_ns:
                        self._condition.wait(0.001)
            finally:
                del self._sleeping[me]
                self._condition.notify_all()

    def _advance(self) -> None:
        living = {thread for thread in self._parties if thread.is_alive()}
        if len(self._parties) >= self._expected and living <= self._sleeping.keys():
            wake = min(self._sleeping[thread] for thread in living)
            if self.interrupt_at is not None and self.now < self.interrupt_at:
                wake = min(wake, self.interrupt_at)
            self.now = max(self.now, wake)
            self._condition.notify_all()

    def wait(self, what: str, condition: Callable[[], Any], timeout_ms: int = 10_000) -> Any:
        deadline, last = self.now + timeout_ms * MS, None
        while True:
            try:
                if found := condition():
                    return found
            except (Unreachable, ReplyError) as error:
                last = error
            if self.now >= deadline:
                raise WaitTimeout(f"{what}: not within {timeout_ms} ms; last: {last}")
            self.sleep_until(self.now + 25 * MS)


class FakeSystem(VirtualClock):
    """`primaries` nodes that share the slots, and `replicas` of each, named as a formed cluster names them."""

    def __init__(self, primaries: int = 3, replicas: int = 1, *, atomic: bool = True, keys_per_slot: int = 0) -> None:
        super().__init__()
        self.refuse: set[str] = set()
        self.atomic = atomic
        self.capabilities = frozenset(
            {"kill", "pause", "links", "loss", "loseable", "delay", "bandwidth", "skew"}
            | {"power", "calls", "crash", "reorder"}
        )
        count = primaries * (1 + replicas)
        names = [f"n{number}" for number in range(1, count + 1)]
        self.nodes: Mapping[str, Node] = {name: Node(name, f"10.0.0.{name[1:]}", 6379, 16379) for name in names}
        share = 16384 // primaries
        self.servers: dict[str, Server] = {}
        for position, name in enumerate(names):
            last = 16384 if position == primaries - 1 else (position + 1) * share
            owned = set(range(position * share, last)) if position < primaries else set()
            primary = None if position < primaries else names[position % primaries]
            self.servers[name] = Server(name, primary, position + 1, owned)
        for server in self.servers.values():
            for slot in sorted(server.slots)[: 40 if keys_per_slot else 0]:
                server.keys.update({f"k{slot}-{number}": slot for number in range(keys_per_slot)})
        self.links: dict[str, tuple[frozenset[str], frozenset[str], str, int]] = {}
        self.losses: dict[str, tuple[frozenset[str], frozenset[str]]] = {}
        self.delays: dict[str, tuple[frozenset[str], frozenset[str], float]] = {}
        self.limits: dict[str, tuple[frozenset[str], frozenset[str], float]] = {}
        self.offsets = dict.fromkeys(names, 0.0)
        self.rules: dict[str, tuple[CallRule, int]] = {}
        """By node, with when it was given."""
        self.struck: dict[str, CallsSeen] = {}
        self.crashes: dict[str, int] = {}
        """By node, when its machine crashes."""
        self.shuffles: dict[str, int] = {}
        """By handle, since when messages overtake each other."""
        self.calls: list[tuple[str, ...]] = []
        self._made = 0

    # Kill and Pause

    def kill(self, node: str) -> None:
        if "kill" not in self.refuse:
            self.servers[node].alive = False

    terminate = kill

    def start(self, node: str, *, keep_data: bool = True) -> None:
        server = self.servers[node]
        server.alive = True
        server.starts += "start" not in self.refuse
        if not keep_data:
            server.keys.clear()

    def running(self, node: str) -> bool:
        return self.servers[node].alive

    def pause(self, node: str) -> None:
        self.servers[node].paused = "pause" not in self.refuse

    def resume(self, node: str) -> None:
        self.servers[node].paused = False

    def paused(self, node: str) -> bool:
        return self.servers[node].paused

    # Links and Loss

    def cut(self, sources: Collection[str], destinations: Collection[str], *, port: str = "all") -> str:
        self._made += 1
        handle = f"cut-{self._made}"
        if "cut" not in self.refuse:
            self.links[handle] = (frozenset(sources), frozenset(destinations), port, self.now)
        return handle

    def lose(self, sources: Collection[str], destinations: Collection[str], *, percent: float) -> str:
        assert 1 <= percent <= 100
        self._made += 1
        handle = f"loss-{self._made}"
        if "lose" not in self.refuse:
            self.losses[handle] = (frozenset(sources), frozenset(destinations))
        return handle

    def heal(self, handle: str) -> None:
        self.links.pop(handle, None)
        self.losses.pop(handle, None)
        self.delays.pop(handle, None)
        self.limits.pop(handle, None)
        self.shuffles.pop(handle, None)

    def heal_all(self) -> None:
        self.links.clear()
        self.losses.clear()
        self.delays.clear()
        self.limits.clear()
        self.shuffles.clear()

    # Delay, Bandwidth and Skew

    def delay(self, sources: Collection[str], destinations: Collection[str], *, ms: float, jitter_ms: float) -> str:
        return self._slow("delay", self.delays, sources, destinations, ms)

    def limit(self, sources: Collection[str], destinations: Collection[str], *, kbit: float) -> str:
        return self._slow("limit", self.limits, sources, destinations, kbit)

    def _slow(self, name: str, into: dict, sources: Collection[str], destinations: Collection[str], by: float) -> str:
        self._made += 1
        if name not in self.refuse:
            into[f"{name}-{self._made}"] = (frozenset(sources), frozenset(destinations), by)
        return f"{name}-{self._made}"

    def round_trip_ms(self, source: str, destination: str, *, payload: int = 0, timeout_ms: int = 5_000) -> float:
        """Half a millisecond, and what the ways there and back add to that; it takes no time of this clock."""
        if not self.servers[destination].alive or self.servers[destination].paused:
            raise Unreachable(f"{destination}: no answer within {timeout_ms} ms")
        ways = ((source, destination), (destination, source))
        late = sum(ms for way in ways for one, other, ms in self.delays.values() if way[0] in one and way[1] in other)
        slowest = [kbit for one, other, kbit in self.limits.values() if source in one and destination in other]
        return 0.5 + late + (payload * 8 / min(slowest) if slowest else 0)

    def skew(self, node: str, offset_ms: float) -> None:
        if "skew" not in self.refuse:
            self.offsets[node] = offset_ms

    def skew_of(self, node: str) -> float:
        if not self.servers[node].alive:
            raise Unreachable(f"{node}: connection refused")
        return self.offsets[node] + 0.2

    # Power and Calls

    def drop_unsynced(self, node: str) -> Mapping[str, int]:
        assert not self.servers[node].alive
        return {"appendonly.aof": 36}

    def rule_calls(self, node: str, rule: CallRule) -> None:
        self.rules[node] = rule, self.now
        self.struck[node] = CallsSeen(0, 0, 0, "")

    def pass_calls(self, node: str) -> None:
        if node in self.rules:
            self.calls_seen(node)
            del self.rules[node]

    def calls_seen(self, node: str) -> CallsSeen:
        """A call was made every `CALL_MS` since the rule was given."""
        if node in self.rules:
            rule, since = self.rules[node]
            seen = (self.now - since) // (CALL_MS * MS)
            struck = max(0, min(seen - rule.first + 1, rule.most or seen)) if "calls" not in self.refuse else 0
            self.struck[node] = CallsSeen(seen, struck, since + rule.first * CALL_MS * MS, "appendonly.aof")
            if struck and not rule.error and rule.process == "server":
                self.servers[node].alive = False
        return self.struck.get(node, CallsSeen(0, 0, 0, ""))

    # Machines and Reorder

    def crash(self, node: str, plan: CrashPlan) -> None:
        self.crashes[node] = self.now + (0 if plan.moment == "any" else CALL_MS * MS)

    def spare(self, node: str) -> None:
        if self.crashes.get(node, 0) > self.now:
            del self.crashes[node]

    def crash_seen(self, node: str) -> CrashSeen | None:
        if "crash" in self.refuse or self.crashes.get(node, self.now + 1) > self.now:
            return None
        self.servers[node].alive = False
        return CrashSeen(self.crashes[node], {"n4": 36}, 4)

    def reorder(self, sources: Collection[str], destinations: Collection[str], *, window_ms: float) -> str:
        self._made += 1
        self.shuffles[f"shuffle-{self._made}"] = self.now
        return f"shuffle-{self._made}"

    def reordered(self, handle: str) -> tuple[int, int]:
        messages = (self.now - self.shuffles.get(handle, self.now)) // (CALL_MS * MS)
        return messages, 0 if "reorder" in self.refuse else messages // 2

    def cut_since(self, source: str, destination: str, port: str) -> int | None:
        """When the direction was cut, or None while it is open."""
        return min(
            (
                since
                for sources, destinations, cut, since in self.links.values()
                if cut in ("all", port) and source in sources and destination in destinations
            ),
            default=None,
        )

    # Commands

    def call(self, node: str, *arguments: str | bytes | int, timeout_ms: int = 1_000) -> Any:
        server = self.servers[node]
        if not server.alive:
            raise Unreachable(f"{node}: connection refused")
        if server.paused:
            raise Unreachable(f"{node}: no answer within {timeout_ms} ms")
        words = [word.decode() if isinstance(word, bytes) else str(word) for word in arguments]
        self.calls.append((node, *words))
        name = words[0].lower()
        if name == "cluster":
            return getattr(self, f"_cluster_{words[1].lower()}")(server, *words[2:])
        return getattr(self, f"_{name}")(server, *words[1:])

    def _ping(self, server: Server) -> bytes:
        return b"PONG"

    def _config(self, server: Server, get: str, name: str) -> list[bytes]:
        return [name.encode(), str(NODE_TIMEOUT_MS).encode()]

    def _bgsave(self, server: Server) -> bytes:
        return b"Background saving started"

    _bgrewriteaof = _bgsave

    def _role(self, server: Server) -> list[bytes]:
        return [b"slave" if server.primary else b"master"]

    def _info(self, server: Server, section: str) -> bytes:
        if section == "server":
            return f"run_id:{server.name}-{server.starts}-of-many\r\n".encode()
        if section == "persistence":
            status = "err" if server.name in self.rules and self.calls_seen(server.name).struck else "ok"
            return f"rdb_last_bgsave_status:{status}\r\naof_last_bgrewrite_status:{status}\r\n".encode()
        offset = self.now // MS + 1_000  # as if something were written every millisecond
        if server.primary is None:
            return f"role:master\r\nmaster_repl_offset:{offset}\r\n".encode()
        source = self.servers[server.primary]
        since = self.cut_since(source.name, server.name, "data")
        has = offset if since is None else since // MS + 1_000
        link = "up" if source.alive else "down"
        return f"role:slave\r\nmaster_link_status:{link}\r\nslave_repl_offset:{has}\r\n".encode()

    def _publish(self, server: Server, channel: str, text: str) -> int:
        for other in self.servers.values():
            if other is server or self.cut_since(server.name, other.name, "bus") is not None:
                continue
            lossy = any(server.name in s and other.name in d for s, d in self.losses.values())
            other.received.append(self.now + (DELAYED_MS * MS if lossy else 0))
        return 0

    def _command(self, server: Server, info: str, name: str) -> list[Any]:
        return [[name]] if self.atomic and name == "cluster|migrateslots" else [None]

    def _scan(self, server: Server, cursor: str, *_: str) -> list[Any]:
        return [b"0", [key.encode() for key in server.keys]]

    def _migrate(self, server: Server, host: str, *rest: str) -> bytes:
        target = next(self.servers[node.name] for node in self.nodes.values() if node.host == host)
        if "migrate" in self.refuse or not target.alive:
            raise ReplyError("IOERR error or timeout writing to target instance")
        for key in rest[rest.index("KEYS") + 1 :]:
            target.keys[key] = server.keys.pop(key)
        return b"OK"

    def _cluster_myid(self, server: Server) -> bytes:
        return f"id-{server.name}".encode()

    def _cluster_info(self, server: Server) -> bytes:
        arrived = sum(time <= self.now for time in server.received)
        return f"cluster_state:ok\r\ncluster_stats_messages_publish_received:{arrived}\r\n".encode()

    def _cluster_keyslot(self, server: Server, key: str) -> int:
        return int(key[1:].partition("-")[0])

    def _cluster_countkeysinslot(self, server: Server, slot: str) -> int:
        return sum(of == int(slot) for of in server.keys.values())

    def _cluster_getkeysinslot(self, server: Server, slot: str, count: str) -> list[bytes]:
        return [key.encode() for key, of in server.keys.items() if of == int(slot)][: int(count)]

    def _cluster_failover(self, server: Server, *mode: str) -> bytes:
        if server.primary is None:
            raise ReplyError("ERR You should send CLUSTER FAILOVER to a replica")
        if "failover" not in self.refuse:
            old = self.servers[server.primary]
            server.slots, old.slots = old.slots, set()
            server.primary, old.primary = None, server.name
            server.epoch = self._next_epoch()
        return b"OK"

    def _cluster_setslot(self, server: Server, slot: str, state: str, id_: str = "") -> bytes:
        number, other = int(slot), id_.removeprefix("id-")
        if "setslot" in self.refuse:
            return b"OK"
        if state == "STABLE":
            server.importing.pop(number, None)
            server.migrating.pop(number, None)
        elif state == "IMPORTING":
            server.importing[number] = other
        elif state == "MIGRATING":
            if number not in server.slots:
                raise ReplyError("ERR I'm not the owner of hash slot")
            server.migrating[number] = other
        else:
            self._own(server, number, other)
        return b"OK"

    def _own(self, server: Server, slot: int, owner: str) -> None:
        server.migrating.pop(slot, None)
        if owner == server.name:
            server.importing.pop(slot, None)
            server.slots.add(slot)
            server.epoch = self._next_epoch()
        else:
            server.slots.discard(slot)

    def _cluster_migrateslots(self, server: Server, *words: str) -> bytes:
        if "migrate" not in self.refuse:
            target = self.servers[words[-1].removeprefix("id-")]
            numbers = [int(word) for word in words[1:-2]]
            moved = {s for a, b in zip(numbers[::2], numbers[1::2], strict=True) for s in range(a, b + 1)}
            server.slots -= moved
            target.slots |= moved
            target.epoch = self._next_epoch()
        return b"OK"

    def _cluster_getslotmigrations(self, server: Server) -> list[Any]:
        return []

    def _cluster_cancelslotmigrations(self, server: Server) -> bytes:
        return b"OK"

    def _next_epoch(self) -> int:
        return max(server.epoch for server in self.servers.values()) + 1

    def _cluster_nodes(self, server: Server) -> bytes:
        return "".join(f"{line}\n" for line in self._lines(server)).encode()

    def _lines(self, me: Server) -> Iterator[str]:
        for other in self.servers.values():
            node = self.nodes[other.name]
            flags = ["slave" if other.primary else "master"]
            lost = self._lost(me.name, other.name)
            flags += ["myself"] * (me is other) + ["fail?"] * lost
            link = "disconnected" if lost else "connected"
            runs = [f"{first}-{last}" for first, last in _runs(frozenset(other.slots))]
            if me is other:
                runs += [f"[{slot}-<-id-{name}]" for slot, name in me.importing.items()]
                runs += [f"[{slot}->-id-{name}]" for slot, name in me.migrating.items()]
            primary = f"id-{other.primary}" if other.primary else "-"
            address = f"{node.host}:{node.port}@{node.bus_port}"
            known = f"id-{other.name} {address} {','.join(flags)} {primary} 0 0 {other.epoch} {link}"
            yield " ".join([known, *runs])

    def _lost(self, witness: str, of: str) -> bool:
        """Whether a node has missed the other one for half a node timeout."""
        if witness == of:
            return False
        if not self.servers[of].alive or self.servers[of].paused:
            return True
        cuts = (self.cut_since(witness, of, "bus"), self.cut_since(of, witness, "bus"))
        return any(since is not None and self.now - since >= NODE_TIMEOUT_MS // 2 * MS for since in cuts)


@lru_cache
def _runs(slots: frozenset[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for slot in sorted(slots):
        if runs and runs[-1][1] == slot - 1:
            runs[-1] = (runs[-1][0], slot)
        else:
            runs.append((slot, slot))
    return runs

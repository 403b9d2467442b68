"""The proxy process: stands between each two nodes, and between clients and nodes, and holds back what is cut or slow.

Run by its path, with nothing but the standard library. On standard input it gets one JSON line that says what to
listen for and then one a change, `{"cuts": [...], "slow": [...]}`, with everything that is cut and all links that are
slow; it answers each with a line once it holds. It ends when its input does.

What a cut means to a TCP connection is what a network would do: bytes wait, and so does the end of a connection; both
come through after the cut. A new connection is accepted by this machine's kernel before anybody can ask, and then
hangs; if its dialler gave up meanwhile, it and what it sent are forgotten, as its handshake would never have ended.

On a slow link bytes wait as well, each for its time, and keep their order. The handshake of a connection is not slowed.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import random
import select
import socket
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Literal

Kind = Literal["data", "bus"]
Cut = tuple[str, str, str]
"""Source, destination, and `all`, `data` or `bus`."""
Slow = tuple[str, str, float, float, float | None]
"""Source, destination, delay and jitter in ms, and kilobits a second or None."""
MOST_KEPT = 1 << 18
"""Bytes of a connection that wait for their time before no more are read: its window is full."""
PIECE = 1 << 14
"""Bytes that leave a link of limited bandwidth together."""
STRANGER = "?"
"""A dialler of no known address: a server that did not bind (MIGRATE does not). It may be any node."""


class Cuts:
    """What is cut now."""

    def __init__(self, nodes: Iterable[str]) -> None:
        self._nodes = frozenset(nodes)
        self._blocked: frozenset[Cut] = frozenset()

    def set(self, cuts: Iterable[Iterable[str]]) -> None:
        """Replace everything that is cut."""
        blocked = {(source, destination, port) for source, destination, port in cuts}
        for source, destination, port in tuple(blocked):
            if {source, destination} <= self._nodes:  # the stranger may be one of the two
                blocked |= {(STRANGER, destination, port), (source, STRANGER, port)}
        self._blocked = frozenset(blocked)

    def block(self, source: str, destination: str, kind: Kind) -> bool:
        """Whether nothing that `source` sends to `destination` on connections of this kind may pass."""
        return bool({(source, destination, "all"), (source, destination, kind)} & self._blocked)


class Link:
    """One direction between two ends that is slow. Times in seconds of the event loop."""

    def __init__(self) -> None:
        self._delay_s = 0.0
        self._jitter_s = 0.0
        self._bytes_per_s: float | None = None
        self._free = 0.0
        """When everything that was sent so far has left."""

    def slow(self, delay_ms: float, jitter_ms: float, kbit: float | None) -> None:
        """Make it slower still: delays add up, and the least bandwidth counts."""
        self._delay_s += delay_ms / 1000
        self._jitter_s += jitter_ms / 1000
        if kbit is not None:
            self._bytes_per_s = min(kbit * 125, self._bytes_per_s or kbit * 125)

    def sent(self, data: bytes, now: float) -> Iterator[tuple[float, bytes]]:
        """What was sent now, in pieces, each with the time at which it arrives."""
        late = self._delay_s + random.uniform(-self._jitter_s, self._jitter_s)
        if self._bytes_per_s is None:
            yield now + late, data
            return
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            self._free = max(self._free, now) + len(piece) / self._bytes_per_s
            yield self._free + late, piece


class _Half(asyncio.Protocol):
    """One of the two sockets of a relayed connection: what is read here is written to `other`."""

    def __init__(self, name: str, pair: _Pair) -> None:
        self.name = name
        self.pair = pair
        self.other: _Half | None = None
        self.transport: asyncio.Transport | None = None
        self.kept: deque[tuple[float, bytes]] = deque()
        """What was read and not written yet, with the time of its arrival at the other end."""
        self.size = 0
        self.alarm: asyncio.TimerHandle | None = None
        self.open = False
        """Whether what this side sends may pass now."""
        self.lost = False
        self.congested = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        self.transport = transport
        self.pair.made(self)

    def data_received(self, data: bytes) -> None:
        now = asyncio.get_running_loop().time()
        link = self.pair.link(self)
        for arrival, piece in ((now, data),) if link is None else link.sent(data, now):
            self.kept.append((max(arrival, self.kept[-1][0]) if self.kept else arrival, piece))
        self.size += len(data)
        self.pass_on()

    def hurry(self) -> None:
        """Let everything arrive that is on its way: the link is slow no more."""
        self.kept = deque((0.0, piece) for _, piece in self.kept)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        self.pair.apply()

    def pause_writing(self) -> None:
        self.congested = True
        self.pair.apply()

    def resume_writing(self) -> None:
        self.congested = False
        self.pair.apply()

    def pass_on(self) -> None:
        """Do for the other side what may be done now: write, close when this side is gone, read on or not."""
        to = self.other
        if to is None or to.transport is None:
            return
        if self.open:
            self._deliver(to.transport)
        if self.lost:
            if self.open and not self.kept:
                to.transport.close()
        elif self.transport is not None and not self.transport.is_closing():
            may_read = self.open and not to.congested and not to.lost and self.size < MOST_KEPT
            (self.transport.resume_reading if may_read else self.transport.pause_reading)()

    def _deliver(self, transport: asyncio.Transport) -> None:
        """Write what has arrived, and come back for what has not."""
        loop = asyncio.get_running_loop()
        if self.alarm is not None:
            self.alarm.cancel()
        while self.kept and self.kept[0][0] <= loop.time():
            _, piece = self.kept.popleft()
            self.size -= len(piece)
            transport.write(piece)
        self.alarm = loop.call_at(self.kept[0][0], self.pass_on) if self.kept else None


class _Pair:
    """A connection from a dialler to a node, through this process."""

    def __init__(self, relay: Relay, node: str, kind: Kind) -> None:
        self.relay = relay
        self.node = node
        self.kind: Kind = kind
        self.dialling: asyncio.Task[None] | None = None
        self.near = _Half(STRANGER, self)
        self.far = _Half(node, self)

    def made(self, half: _Half) -> None:
        if half is self.near and half.transport is not None:
            self.relay.pairs.add(self)
            self.near.name = self.relay.names.get(half.transport.get_extra_info("peername")[0], STRANGER)
            self.apply()

    def link(self, half: _Half) -> Link | None:
        """The slow link that bytes from this half take; None where it is not slow."""
        to = self.node if half is self.near else self.near.name
        return self.relay.slow.get((half.name, to))

    def apply(self) -> None:
        """Read from, connect and close what may be, given what is cut and slow now."""
        self.near.open = not self.relay.cuts.block(self.near.name, self.node, self.kind)
        self.far.open = not self.relay.cuts.block(self.node, self.near.name, self.kind)
        if self.dialling is None:
            if self.near.open and self.far.open:
                self.dialling = asyncio.ensure_future(self._dial())
            return
        for half in (self.near, self.far):
            if half.kept and self.link(half) is None:
                half.hurry()
            half.pass_on()
        if self.near.lost and self.far.lost:
            self.relay.pairs.discard(self)

    async def _dial(self) -> None:
        near = self.near.transport
        assert near is not None
        address, _ = near.get_extra_info("peername")
        try:
            if not _gave_up(near):
                loop = asyncio.get_running_loop()
                await loop.create_connection(
                    lambda: self.far, *self.relay.real(self.node, self.kind), local_addr=(address, 0)
                )
        except OSError:
            pass  # nobody listens: the dialler is reset, as it would be by the node's own kernel
        if self.far.transport is None:
            self.relay.pairs.discard(self)
            near.abort()
            return
        self.near.other, self.far.other = self.far, self.near
        self.apply()


class Relay:
    """All listeners and connections. `plan` has `nodes` (name to listen and real address, ports) and `names`."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.nodes: dict[str, dict[str, Any]] = plan["nodes"]
        self.names: dict[str, str] = plan["names"]
        self.cuts = Cuts(self.nodes)
        self.slow: dict[tuple[str, str], Link] = {}
        self.pairs: set[_Pair] = set()

    def real(self, node: str, kind: Kind) -> tuple[str, int]:
        """Where a node really listens."""
        return self.nodes[node]["real"], self.nodes[node][kind]

    async def listen(self) -> None:
        """Listen for every node. Raises OSError when an address is taken."""
        loop = asyncio.get_running_loop()
        kinds: tuple[Kind, ...] = ("data", "bus")
        for name, node in self.nodes.items():
            for kind in kinds:
                factory = functools.partial(_accepted, self, name, kind)
                await loop.create_server(factory, node["listen"], node[kind], backlog=512)

    def change(self, cuts: Iterable[Iterable[str]], slow: Iterable[Slow]) -> None:
        """From now on exactly these are cut, and exactly those are slow."""
        self.cuts.set(cuts)
        self.slow = {}
        for source, destination, delay_ms, jitter_ms, kbit in slow:
            self.slow.setdefault((source, destination), Link()).slow(delay_ms, jitter_ms, kbit)
        for pair in tuple(self.pairs):
            pair.apply()


def _accepted(relay: Relay, node: str, kind: Kind) -> _Half:
    return _Pair(relay, node, kind).near


def _gave_up(transport: asyncio.Transport) -> bool:
    """Whether the other end has closed or reset its connection."""
    if transport.is_closing():
        return True
    poll = select.poll()
    sock: socket.socket = transport.get_extra_info("socket")
    poll.register(sock.fileno(), select.POLLRDHUP | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))


async def _main() -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    relay = Relay(json.loads(await lines.readline()))
    try:
        await relay.listen()
    except OSError as error:
        print(f"the proxy cannot listen: {error}", flush=True)
        return
    print("ok", flush=True)
    while line := await lines.readline():
        relay.change(**json.loads(line))
        print("ok", flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        asyncio.run(_main())

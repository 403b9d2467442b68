"""The proxy process: stands between each two nodes, and between clients and nodes, and holds back what is cut.

Run by its path, with nothing but the standard library. On standard input it gets one JSON line that says what to
listen for and then one a change with everything that is cut; it answers each with a line once it holds. It ends when
its input does.

What a cut means to a TCP connection is what a network would do: bytes wait, and so does the end of a connection; both
come through after the cut. A new connection is accepted by this machine's kernel before anybody can ask, and then
hangs; if its dialler gave up meanwhile, it and what it sent are forgotten, as its handshake would never have ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import select
import socket
import sys
from collections.abc import Iterable
from typing import Any, Literal

Kind = Literal["data", "bus"]
Cut = tuple[str, str, str]
"""Source, destination, and `all`, `data` or `bus`."""
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


class _Half(asyncio.Protocol):
    """One of the two sockets of a relayed connection: what is read here is written to `other`."""

    def __init__(self, name: str, pair: _Pair) -> None:
        self.name = name
        self.pair = pair
        self.other: _Half | None = None
        self.transport: asyncio.Transport | None = None
        self.kept = bytearray()
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
        self.kept += data
        self.pass_on()

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
        if self.open and self.kept:
            to.transport.write(bytes(self.kept))
            self.kept.clear()
        if self.lost:
            if self.open:
                to.transport.close()
        elif self.transport is not None and not self.transport.is_closing():
            may_read = self.open and not to.congested and not to.lost
            (self.transport.resume_reading if may_read else self.transport.pause_reading)()


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

    def apply(self) -> None:
        """Read from, connect and close what may be, given what is cut now."""
        self.near.open = not self.relay.cuts.block(self.near.name, self.node, self.kind)
        self.far.open = not self.relay.cuts.block(self.node, self.near.name, self.kind)
        if self.dialling is None:
            if self.near.open and self.far.open:
                self.dialling = asyncio.ensure_future(self._dial())
            return
        self.near.pass_on()
        self.far.pass_on()
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

    def change(self, cuts: Iterable[Iterable[str]]) -> None:
        """From now on exactly these are cut."""
        self.cuts.set(cuts)
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
        relay.change(json.loads(line))
        print("ok", flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        asyncio.run(_main())

"""The simulated network: TCP as far as servers and clients can tell, without its packets.

What is sent arrives complete and in order after the latency of the link. While the link is cut, what is sent is kept
and tried again as TCP does (RFC 6298): after 200 ms, then after twice as long each time; so a link that was healed is
silent for a while yet. A connect is tried again after 1 s, 3 s, 7 s and so on (RFC 6298, section 2.1), and refused
where nobody listens. A sender that is far ahead of its receiver has to wait.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Protocol

from chaos.deploy.virtual.links import LONGEST_RETRY_NS, RETRY_NS, Links
from chaos.deploy.virtual.world import World

Address = tuple[str, int]
DIAL_NS = 1_000_000_000
"""First repetition of a connect."""
MOST_DIALS = 7
WINDOW = 4 << 20
"""Bytes that a sender may be ahead of its receiver: buffers of both sides, as a kernel grows them."""
BUS_OFFSET = 10_000
"""The port of the cluster bus is that much above the one for clients, which is below it."""


class End(Protocol):
    """One end of a connection: told what arrives."""

    def connected(self) -> None:
        """The connection that this end asked for stands."""

    def refused(self, error: int) -> None:
        """It does not, for this reason (an errno)."""

    def take(self, data: bytes) -> None:
        """Bytes arrive. The end calls `Flow.taken` once they are out of the way."""

    def ended(self) -> None:
        """The other side will send no more."""

    def broken(self) -> None:
        """The other side is gone, and what was sent to it may be lost."""


class Listener(Protocol):
    """Somebody who accepts connections."""

    address: Address

    def accept(self, connection: Connection, source: Address) -> End | None:
        """The other end of a connection that comes in, or None when it cannot be had."""


class Flow:
    """One direction of a connection."""

    def __init__(self, network: Network, source: str, destination: str, port: str) -> None:
        self.destination = destination
        self.port = port
        self._network = network
        self._source = source
        self._held: list[bytes | None] = []
        """What waits for the link to open; None is the end of the stream."""
        self._retry_ns = RETRY_NS
        self._latest = 0
        """When the last message arrives: none overtakes another."""
        self._ahead = 0
        self.receiver: End | None = None
        self.has_room: Callable[[], None] = lambda: None
        """Called when a sender that had to wait may go on."""

    @property
    def full(self) -> bool:
        """Whether the sender has to wait."""
        return self._ahead > WINDOW

    @property
    def under_way(self) -> int:
        """Bytes that were sent and that the receiver has not taken yet."""
        return self._ahead

    def send(self, item: bytes | None, at: int) -> None:
        """Bytes, or with None the end of the stream, leave the sender at a time that may be yet to come."""
        self._ahead += len(item or b"")
        if self._held:
            self._held.append(item)
        elif self._network.links.open(self._source, self.destination, self.port):
            self._launch(item, at)
        else:
            self._held.append(item)
            self._retry_ns = RETRY_NS
            self._network.world.at(at + RETRY_NS, self._try_again)

    def send_first(self, action: Callable[[], None]) -> bool:
        """Let something arrive before all else, such as the answer to a connect; False when the link is cut."""
        world = self._network.world
        if not self._network.links.open(self._source, self.destination, self.port):
            return False
        self._latest = self._network.links.arrival(self._source, self.destination, world.now, 0, self._latest)
        world.at(self._latest, action)
        return True

    def taken(self, count: int) -> None:
        """The receiver has so many bytes out of the way."""
        was_full = self.full
        self._ahead -= count
        if was_full and not self.full:
            self.has_room()

    def _launch(self, item: bytes | None, at: int) -> None:
        size = len(item or b"")
        self._latest = self._network.links.arrival(self._source, self.destination, at, size, self._latest)
        self._network.world.at(self._latest, self._arrive, item)

    def _arrive(self, item: bytes | None) -> None:
        if self.receiver is None:
            return
        if item is None:
            self.receiver.ended()
        else:
            self.receiver.take(item)

    def _try_again(self) -> None:
        world = self._network.world
        if self._network.links.open(self._source, self.destination, self.port):
            held, self._held = self._held, []
            for item in held:
                self._launch(item, world.now)
            return
        self._retry_ns = min(2 * self._retry_ns, LONGEST_RETRY_NS)
        world.at(world.now + self._retry_ns, self._try_again)


class Connection:
    """A connection that side 0 asked for and side 1 may accept: `flows[s]` carries what side `s` sends."""

    def __init__(self, network: Network, source: str, destination: str, port: str, dialler: End) -> None:
        self._network = network
        self.flows = Flow(network, source, destination, port), Flow(network, destination, source, port)
        self.flows[1].receiver = dialler

    def close(self, side: int, at: int) -> None:
        """A side closes: the other hears of it, and what still arrives here is answered with a reset."""
        self.flows[1 - side].receiver = _Closed(self, side)
        self.flows[side].send(None, at)

    def reset(self, side: int) -> None:
        """Tell the other side of `side` that nobody is there. Lost where the link is cut."""
        flow = self.flows[side]
        receiver = flow.receiver
        if receiver is not None:
            flow.send_first(receiver.broken)


class _Closed:
    """An end that is gone. Bytes that arrive are answered with a reset, as a kernel does for a closed socket."""

    def __init__(self, connection: Connection, side: int) -> None:
        self._connection = connection
        self._side = side

    def connected(self) -> None:
        pass

    def refused(self, error: int) -> None:
        pass

    def ended(self) -> None:
        pass

    def broken(self) -> None:
        pass

    def take(self, data: bytes) -> None:
        self._connection.reset(self._side)


class Network:
    """Who listens where, and the connections between them."""

    def __init__(self, world: World, links: Links, hosts: dict[str, str]) -> None:
        """`hosts` gives the name of the node at an address."""
        self.world = world
        self.links = links
        self._hosts = hosts
        self._listeners: dict[Address, Listener] = {}

    def listen(self, listener: Listener) -> None:
        """Somebody accepts connections at its address from now on."""
        self._listeners[listener.address] = listener

    def stop_listening(self, listener: Listener) -> None:
        """It accepts no more."""
        if self._listeners.get(listener.address) is listener:
            del self._listeners[listener.address]

    def connect(self, source: str, own: Address, address: Address, dialler: End, at: int) -> Connection:
        """Begin to connect: `dialler` hears of the outcome.

        `source` is the name of the end that asks, `own` its address as the other side is told.
        """
        destination = self._hosts.get(address[0], address[0])
        port = "bus" if address[1] > BUS_OFFSET else "data"
        connection = Connection(self, source, destination, port, dialler)
        dial = _Dial(self, connection, own, address)
        self.world.at(at, dial.go)
        return connection

    def listener(self, address: Address) -> Listener | None:
        """Who listens there."""
        return self._listeners.get(address)


class _Dial:
    """A connect: repeated until there is an answer, or the side that asked has given up."""

    def __init__(self, network: Network, connection: Connection, own: Address, address: Address) -> None:
        self._network = network
        self._connection = connection
        self._dialler = connection.flows[1].receiver
        self._own = own
        self._address = address
        self._tries = 0
        self._answered = False

    @property
    def _over(self) -> bool:
        return self._answered or self._connection.flows[1].receiver is not self._dialler

    def go(self) -> None:
        if self._over:
            return
        world = self._network.world
        self._connection.flows[0].send_first(self._arrive)
        world.at(world.now + (DIAL_NS << self._tries), self._repeat)

    def _repeat(self) -> None:
        self._tries += 1
        if self._tries < MOST_DIALS:
            self.go()
        elif not self._over:
            self._answer(errno.ETIMEDOUT)

    def _arrive(self) -> None:
        to, back = self._connection.flows
        if self._over:
            return
        if to.receiver is None:
            listener = self._network.listener(self._address)
            end = listener.accept(self._connection, self._own) if listener is not None else None
            if end is None:
                back.send_first(lambda: self._answer(errno.ECONNREFUSED))
                return
            to.receiver = end
        back.send_first(lambda: self._answer(0))

    def _answer(self, error: int) -> None:
        if self._over or self._dialler is None:
            return
        self._answered = True
        if error:
            self._connection.flows[1].receiver = None
            self._dialler.refused(error)
        else:
            self._dialler.connected()

"""Our ends of a server's sockets: unix socket pairs, of which the server has the other ends."""

from __future__ import annotations

import socket
from collections import deque
from typing import TYPE_CHECKING
from zlib import crc32

from chaos.deploy.virtual import wire
from chaos.deploy.virtual.network import Address, Connection, Flow

if TYPE_CHECKING:
    from chaos.deploy.virtual.process import Process

CHUNK = 262_144


class ServerEnd:
    """A server's end of a connection; implements `chaos.deploy.virtual.network.End`."""

    connection: Connection

    def __init__(
        self, process: Process, number: int, ours: socket.socket, side: int, asked: tuple[int, int] | None
    ) -> None:
        """`asked` is file number and serial of a socket that the server connects with; `number` orders all ends."""
        self.number = number
        self.socket = ours
        self._process = process
        self._side = side
        self._asked = asked
        self._arrived: deque[bytes | None] = deque()
        """What the process has not taken yet; None is the end of the stream."""
        self._deaf = False
        """Whether the server's bytes stay where they are, because the receiver is behind."""

    def connected(self) -> None:
        """See `End.connected`."""
        self._answer(0)

    def refused(self, error: int) -> None:
        """See `End.refused`."""
        self._answer(error)
        self._drop()

    def _answer(self, error: int) -> None:
        assert self._asked is not None
        self._process.answer(*self._asked, error)

    def take(self, data: bytes) -> None:
        """See `End.take`."""
        self._arrived.append(data)
        self.push()
        self._process.wake_now()

    def ended(self) -> None:
        """See `End.ended`."""
        self._arrived.append(None)
        self.push()
        self._process.wake_now()

    def broken(self) -> None:
        """See `End.broken`."""
        self.connection.flows[1 - self._side].receiver = None
        self._drop()
        self._process.wake_now()

    @property
    def outgoing(self) -> Flow:
        """What carries the bytes that the server sends."""
        return self.connection.flows[self._side]

    def push(self) -> bool:
        """Hand over what has arrived, as far as there is room; says whether there was any."""
        arrived, moved = self._arrived, False
        while arrived:
            data = arrived[0]
            try:
                if data is None:
                    self.socket.shutdown(socket.SHUT_WR)
                    count = 0
                else:
                    count = self.socket.send(data)
                    self._process.given(data[:count])
            except BlockingIOError:
                self._process.full.add(self)
                return moved
            except OSError:  # the server has closed it, which draining will show
                arrived.clear()
                break
            moved = True
            self.connection.flows[1 - self._side].taken(count)
            if data is None or count == len(data):
                arrived.popleft()
            else:
                arrived[0] = data[count:]
        self._process.full.discard(self)
        return moved

    def drain(self, at: int, hashed: int, *, may_be_closed: bool) -> int:
        """Send on what the server has written, at the end `at` of its turn; returns the hash with that in it.

        `may_be_closed` says that the end of the stream may follow, which is looked for only then.
        """
        flow = self.outgoing
        while not flow.full:
            try:
                data = self.socket.recv(CHUNK)
            except BlockingIOError:
                return hashed
            except OSError:
                data = b""
            if not data:
                self.close(at)
                return hashed
            hashed = crc32(data, hashed)
            flow.send(data, at)
            if len(data) < CHUNK and not may_be_closed:
                return hashed  # that was all; asking once more would cost as much again
        if not self._deaf:
            self._deaf = True
            flow.has_room = self._listen_again
            self._process.ignore(self)
        return hashed

    def _listen_again(self) -> None:
        self._deaf = False
        self._process.heed(self)

    def close(self, at: int) -> None:
        """The server has closed it, or is dead."""
        self._drop()
        self.connection.close(self._side, at)

    def _drop(self) -> None:
        self._process.forget(self)
        self.socket.close()
        self._arrived.clear()


class Acceptor:
    """A socket on which a server accepts; implements `chaos.deploy.virtual.network.Listener`."""

    def __init__(self, process: Process, address: Address, ours: socket.socket) -> None:
        self.address = address
        self._process = process
        self._ours = ours

    def accept(self, connection: Connection, source: Address) -> ServerEnd | None:
        """See `Listener.accept`. As with a kernel's backlog, the process may be paused."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            try:
                socket.send_fds(self._ours, [wire.arrival(source)], [theirs.fileno()])
            except OSError:  # it has closed the socket, or accepts nothing for so long that there is no room
                ours.close()
                return None
        ours.setblocking(False)
        end = self._process.new_end(ours, 1, None)
        end.connection = connection
        self._process.wake_now()
        return end

    def close(self) -> None:
        """Accept no more."""
        self._ours.close()

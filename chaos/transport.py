"""How bytes reach nodes: the seam below the clients, and sockets as its first implementation.

Connections are named by the caller's own links; what happens to them comes back from `poll`.
"""

from __future__ import annotations

import errno
import functools
import itertools
import os
import select
import socket
import time
from collections.abc import Iterator
from enum import IntEnum
from typing import Generic, NamedTuple, Protocol, TypeVar

from chaos.errors import RunFailed

L = TypeVar("L")
Address = tuple[str, int]


class Kind(IntEnum):
    """What happened to a connection."""

    CONNECTED = 0
    DATA = 1
    LOST = 2


class Happening(NamedTuple, Generic[L]):
    """One thing that happened to one connection."""

    link: L
    kind: Kind
    data: bytes = b""
    error: Exception | None = None
    """Why the connection is lost; the transport has closed it."""


class Transport(Protocol[L]):
    """Opens connections and carries bytes. Nothing blocks but `poll`, and nothing fails but through `poll`."""

    def connect(self, link: L, address: Address, source: str | None) -> None:
        """Begin to connect, from `source` if given (see `local_address`); CONNECTED or LOST follows, or neither."""

    def send(self, link: L, data: bytes) -> None:
        """Send all of `data`, in order, as the other side takes it. Without effect on a link that is closed."""

    def close(self, link: L) -> None:
        """Close; nothing comes back for this link any more. Without effect on a link that is closed."""

    def poll(self, timeout_ns: int) -> list[Happening[L]]:
        """What has happened, after waiting at most that long for anything to happen."""


RETRY_NS = 50_000_000
"""Between attempts to connect through a link that the kernel says is cut."""
CHUNK = 262_144
CUT = {errno.EINVAL, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EPERM}
"""What connecting through a blackholed route, a reject rule or a dropped packet says at once."""
_ANY_PORT = (socket.IPPROTO_IP, 24)
"""IP_BIND_ADDRESS_NO_PORT: choose the local port when connecting, so that many connections can share one (ip(7))."""


def local_address(source: str) -> Address:
    """What to bind for a source: `ADDRESS` (any port: 0), or the next in turn of `ADDRESS:FIRST-LAST`."""
    host, colon, _ = source.partition(":")
    if not colon or source.count(":") > 1:  # the latter is an IPv6 address
        return source, 0
    return host, next(_ports(source))


@functools.cache
def _ports(source: str) -> Iterator[int]:
    first, last = source.partition(":")[2].split("-")
    return itertools.cycle(range(int(first), int(last) + 1))


class _Connection(Generic[L]):
    __slots__ = ("address", "connected", "link", "socket", "source", "unsent")

    def __init__(self, link: L, address: Address, source: str | None) -> None:
        self.link = link
        self.address = address
        self.source = source
        self.connected = False
        self.unsent = b""
        self.socket: socket.socket


class SocketTransport(Generic[L]):
    """TCP over epoll.

    A cut link behaves as TCP promises: a connect that the kernel refuses at once because there is no route stays
    pending, and is tried again every `RETRY_NS` until it gets through or the caller closes it.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._by_link: dict[L, _Connection[L]] = {}
        self._by_file: dict[int, _Connection[L]] = {}
        self._waiting: list[tuple[int, _Connection[L]]] = []
        """Connections to be tried again, with the time of that."""
        self._early: list[Happening[L]] = []
        """What became known outside of `poll`."""

    def connect(self, link: L, address: Address, source: str | None) -> None:
        """See `Transport`. Raises RunFailed when `source` is no address of this machine."""
        connection = self._by_link[link] = _Connection(link, address, source)
        self._dial(connection)

    def _dial(self, connection: _Connection[L]) -> None:
        family = socket.AF_INET6 if ":" in connection.address[0] else socket.AF_INET
        sock = connection.socket = socket.socket(
            family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if connection.source is not None:
            address = local_address(connection.source)
            level, option = (socket.SOL_SOCKET, socket.SO_REUSEADDR) if address[1] else _ANY_PORT
            sock.setsockopt(level, option, 1)
            try:
                sock.bind(address)
            except OSError as error:
                raise RunFailed(f"a client cannot use the address {connection.source}: {error.strerror}") from error
        try:
            code = sock.connect_ex(connection.address)
        except socket.gaierror as error:  # a host name that nobody knows (any more)
            self.close(connection.link)
            self._early.append(Happening(connection.link, Kind.LOST, error=error))
            return
        if code in (0, errno.EINPROGRESS):
            self._by_file[sock.fileno()] = connection
            self._epoll.register(sock.fileno(), select.EPOLLOUT)
        else:
            self._not_connected(connection, code)

    def _not_connected(self, connection: _Connection[L], code: int) -> None:
        self._hang_up(connection)
        if code in CUT:
            self._waiting.append((time.monotonic_ns() + RETRY_NS, connection))
            return
        del self._by_link[connection.link]
        host, port = connection.address
        self._early.append(_lost(connection.link, code, f"connecting to {host}:{port}"))

    def send(self, link: L, data: bytes) -> None:
        """See `Transport`."""
        connection = self._by_link.get(link)
        if connection is None:
            return
        if connection.unsent:
            connection.unsent += data
            return
        try:
            count = connection.socket.send(data)
        except BlockingIOError:
            count = 0
        except OSError as error:
            self.close(link)
            self._early.append(_lost(link, error.errno or 0, "while sending"))
            return
        if count < len(data):
            connection.unsent = data[count:]
            self._epoll.modify(connection.socket.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def close(self, link: L) -> None:
        """See `Transport`."""
        connection = self._by_link.pop(link, None)
        if connection is not None:
            self._hang_up(connection)

    def _hang_up(self, connection: _Connection[L]) -> None:
        self._by_file.pop(connection.socket.fileno(), None)
        connection.socket.close()  # which takes it out of the epoll set as well

    def poll(self, timeout_ns: int) -> list[Happening[L]]:
        """See `Transport`."""
        if self._early:
            timeout_ns = 0
        if self._waiting:
            timeout_ns = min(timeout_ns, max(0, self._waiting[0][0] - time.monotonic_ns()))
        ready = self._epoll.poll(timeout_ns / 1e9)
        happened, self._early = self._early, []
        for file, _ in ready:
            connection = self._by_file[file]
            if not connection.connected:
                self._finish_dialling(connection, happened)
                continue
            if connection.unsent:
                self._flush(connection)
            self._read(connection, happened)
        if self._waiting:
            self._dial_again()
        return happened

    def _finish_dialling(self, connection: _Connection[L], happened: list[Happening[L]]) -> None:
        code = connection.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._not_connected(connection, code)
            return
        connection.connected = True
        self._epoll.modify(connection.socket.fileno(), select.EPOLLIN)
        happened.append(Happening(connection.link, Kind.CONNECTED))

    def _flush(self, connection: _Connection[L]) -> None:
        data, connection.unsent = connection.unsent, b""
        self.send(connection.link, data)
        if not connection.unsent and connection.link in self._by_link:
            self._epoll.modify(connection.socket.fileno(), select.EPOLLIN)

    def _read(self, connection: _Connection[L], happened: list[Happening[L]]) -> None:
        try:
            data = connection.socket.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            self.close(connection.link)
            happened.append(_lost(connection.link, error.errno or 0, "while waiting for a reply"))
            return
        if data:
            happened.append(Happening(connection.link, Kind.DATA, data))
        else:
            self.close(connection.link)
            happened.append(Happening(connection.link, Kind.LOST, error=EOFError("closed by the server")))

    def _dial_again(self) -> None:
        now = time.monotonic_ns()
        due = [connection for at, connection in self._waiting if at <= now]
        self._waiting = [entry for entry in self._waiting if entry[0] > now]
        for connection in due:
            if self._by_link.get(connection.link) is connection:
                self._dial(connection)


def _lost(link: L, code: int, what: str) -> Happening[L]:
    return Happening(link, Kind.LOST, error=OSError(code, f"{os.strerror(code)} {what}"))

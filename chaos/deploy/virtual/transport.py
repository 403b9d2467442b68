"""The clients' transport on the simulated network: what `chaos.transport.SocketTransport` is on sockets."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from chaos.deploy.virtual.network import Connection, Network
from chaos.deploy.virtual.world import Fibre, World
from chaos.transport import Address, Happening, Kind

L = TypeVar("L")


class VirtualTransport(Generic[L]):
    """Implements `chaos.transport.Transport`. Used by one thread of the world, which `poll` lets wait."""

    def __init__(self, world: World, network: Network, name_of: Callable[[str | None], str]) -> None:
        """`name_of` gives the name of the end of links (`c3`) that a local address stands for."""
        self._world = world
        self._network = network
        self._name_of = name_of
        self._open: dict[L, _ClientEnd[L]] = {}
        self._happened: list[Happening[L]] = []
        self._waiting: Fibre | None = None
        self._made = 0

    def connect(self, link: L, address: Address, source: str | None) -> None:
        """See `Transport`."""
        self._made += 1
        own = source or "127.0.0.1", 32_768 + self._made % 28_000
        end = self._open[link] = _ClientEnd(link, address, self._tell)
        end.connection = self._network.connect(self._name_of(source), own, address, end, self._world.now)

    def send(self, link: L, data: bytes) -> None:
        """See `Transport`."""
        end = self._open.get(link)
        if end is not None:
            end.connection.flows[0].send(data, self._world.now)

    def close(self, link: L) -> None:
        """See `Transport`."""
        end = self._open.pop(link, None)
        if end is not None:
            end.connection.close(0, self._world.now)

    def poll(self, timeout_ns: int) -> list[Happening[L]]:
        """See `Transport`: waits in virtual time."""
        if not self._happened:
            self._waiting = self._world.current
            self._world.sleep_until(self._world.now + max(timeout_ns, 1), interruptible=False)
            self._waiting = None
        happened, self._happened = self._happened, []
        return happened

    def _tell(self, happening: Happening[L]) -> None:
        if happening.link not in self._open:
            return
        if happening.kind is Kind.LOST:
            self.close(happening.link)
        self._happened.append(happening)
        if self._waiting is not None:
            self._world.wake(self._waiting)


class _ClientEnd(Generic[L]):
    """A client's end of a connection; implements `chaos.deploy.virtual.network.End`."""

    connection: Connection

    def __init__(self, link: L, address: Address, tell: Callable[[Happening[L]], Any]) -> None:
        self._link = link
        self._address = address
        self._tell = tell

    def connected(self) -> None:
        """See `End.connected`."""
        self._tell(Happening(self._link, Kind.CONNECTED))

    def refused(self, error: int) -> None:
        """See `End.refused`."""
        host, port = self._address
        self._lose(OSError(error, f"{os.strerror(error)} connecting to {host}:{port}"))

    def take(self, data: bytes) -> None:
        """See `End.take`."""
        self.connection.flows[1].taken(len(data))
        self._tell(Happening(self._link, Kind.DATA, data))

    def ended(self) -> None:
        """See `End.ended`."""
        self._lose(EOFError("closed by the server"))

    def broken(self) -> None:
        """See `End.broken`."""
        self._lose(OSError(errno.ECONNRESET, f"{os.strerror(errno.ECONNRESET)} while waiting for a reply"))

    def _lose(self, error: Exception) -> None:
        self._tell(Happening(self._link, Kind.LOST, error=error))

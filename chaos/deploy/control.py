"""The controller's own way to the nodes: one plain connection a thread and node, from an address no fault cuts."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

import hiredis

from chaos.access import Access
from chaos.transport import local_address
from nemeses.system import ReplyError, Unreachable

Address = tuple[str, int]
_pack: Any = hiredis.pack_command  # its stub asks for a tuple of exactly one item


class Control:
    """Sends commands to nodes and returns their replies; every thread has connections of its own."""

    def __init__(
        self, address_of: Callable[[str], Address], source: str | None = None, access: Access | None = None
    ) -> None:
        """`address_of` tells where a node listens; `source` is what to bind before connecting.

        `access` says how to get in where not everybody may. Raises BadInput when it cannot be had.
        """
        self._address_of = address_of
        self._source = source
        self._context = None if access is None else access.context()
        self._credentials = None if access is None else access.credentials()
        self._mine = threading.local()
        self._opened: set[_Connection] = set()

    def call(self, node: str, *arguments: str | bytes | int, timeout_ms: int = 1_000) -> Any:
        """Send one command once. Raises Unreachable, after which it may or may not have run, and ReplyError."""
        connections: dict[str, _Connection] = self._mine.__dict__.setdefault("connections", {})
        connection = connections.pop(node, None)
        if connection is not None and connection.stale():
            self._drop(connection)
            connection = None
        deadline = time.monotonic() + timeout_ms / 1000
        try:
            if connection is None:
                connection = self._connect(node, timeout_ms / 1000, deadline)
            reply = connection.ask(arguments, deadline)
        except OSError as error:
            self._drop(connection)
            words = f"no answer within {timeout_ms} ms" if isinstance(error, TimeoutError) else str(error)
            raise Unreachable(f"{node}: {arguments[0]!s}: {words}") from error
        connections[node] = connection  # only a connection whose reply was read whole is used again
        if isinstance(reply, hiredis.ReplyError):
            raise ReplyError(str(reply))
        return reply

    def _connect(self, node: str, timeout_s: float, deadline: float) -> _Connection:
        address = self._address_of(node)
        connection = _Connection(address, self._source, timeout_s)
        self._opened.add(connection)
        try:
            if self._context is not None:
                connection.encrypt(self._context, address[0])
            if self._credentials is not None:
                reply = connection.ask(self._credentials.command, deadline)
                if isinstance(reply, hiredis.ReplyError):
                    raise ConnectionRefusedError(str(reply))
        except OSError:
            self._drop(connection)
            raise
        return connection

    def close(self) -> None:
        """Close the connections of all threads, also of those that have ended."""
        for connection in list(self._opened):
            self._drop(connection)

    def _drop(self, connection: _Connection | None) -> None:
        if connection is not None:
            self._opened.discard(connection)
            connection.close()


class _Connection:
    def __init__(self, address: Address, source: str | None, timeout_s: float) -> None:
        bound = None if source is None else local_address(source)
        self.socket: socket.socket = socket.create_connection(address, timeout_s, bound)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = hiredis.Reader()

    def encrypt(self, context: ssl.SSLContext, host: str) -> None:
        """Go on in TLS; the certificate must be that of `host`. Raises ssl.SSLError, which is an OSError."""
        self.socket = context.wrap_socket(self.socket, server_hostname=host)

    def ask(self, arguments: tuple[str | bytes | int, ...], deadline: float) -> Any:
        self._allow_until(deadline)
        self.socket.sendall(_pack(arguments))
        while (reply := self.reader.gets()) is False:  # RESP2 has no booleans: False means not complete
            self._allow_until(deadline)
            received = self.socket.recv(65536)
            if not received:
                raise ConnectionResetError("the node closed the connection")
            self.reader.feed(received)
        return reply

    def stale(self) -> bool:
        """Whether the node closed it (or sent what nobody asked for) while it lay idle."""
        readable, _, _ = select.select([self.socket], [], [], 0)
        return bool(readable)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.close()

    def _allow_until(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.socket.settimeout(left)

"""Python's own ends of connections: the controller's way to the nodes, and what clients' ends have in common."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import hiredis

from chaos.deploy.virtual.links import CONTROLLER
from chaos.deploy.virtual.network import Address, Network
from chaos.deploy.virtual.world import Fibre, World
from nemeses.system import ReplyError, Unreachable

_pack: Any = hiredis.pack_command  # its stub asks for a tuple of exactly one item


class Control:
    """Sends commands to nodes and returns their replies; every thread has connections of its own."""

    def __init__(self, world: World, network: Network, address_of: Callable[[str], Address], own: str) -> None:
        """`address_of` tells where a node listens; `own` is the address that nodes are told."""
        self._world = world
        self._network = network
        self._address_of = address_of
        self._own = own
        self._made = 0
        self._idle: dict[tuple[Fibre, str, str], _Talk] = {}

    def call(self, node: str, *arguments: str | bytes | int, timeout_ms: int = 1_000, source: str = CONTROLLER) -> Any:
        """See `System.call`. Raises Unreachable, after which the command may or may not have run, and ReplyError.

        With `source` it goes over the link of that end, as if that had sent it.
        """
        world = self._world
        key = world.current, source, node
        deadline = world.now + timeout_ms * 1_000_000
        talk = self._idle.pop(key, None)
        if talk is None or talk.error is not None:
            talk = self._open(source, node)
        try:
            reply = talk.ask(_pack(arguments), deadline)
        except OSError as error:
            talk.close()
            words = f"no answer within {timeout_ms} ms" if isinstance(error, TimeoutError) else str(error)
            raise Unreachable(f"{node}: {arguments[0]!s}: {words}") from error
        self._idle[key] = talk  # only a connection whose reply was read whole is used again
        if isinstance(reply, hiredis.ReplyError):
            raise ReplyError(str(reply))
        return reply

    def _open(self, source: str, node: str) -> _Talk:
        self._made += 1
        own = self._own, 32_768 + self._made % 28_000
        talk = _Talk(self._world)
        talk.connection = self._network.connect(source, own, self._address_of(node), talk, self._world.now)
        return talk


class _Talk:
    """One connection of the controller; implements `chaos.deploy.virtual.network.End`."""

    connection: Any

    def __init__(self, world: World) -> None:
        self.error: OSError | None = None
        """Why it is of no use any more."""
        self._world = world
        self._reader = hiredis.Reader()
        self._connected = False
        self._waiting: Fibre | None = None

    def ask(self, command: bytes, deadline: int) -> Any:
        """Send a command and wait for its reply. Raises OSError, TimeoutError among them."""
        self._wait_while(lambda: not self._connected, deadline)
        self.connection.flows[0].send(command, self._world.now)
        reply: Any = False  # RESP2 has no booleans: False means not complete

        def incomplete() -> bool:
            nonlocal reply
            reply = self._reader.gets()
            return reply is False

        self._wait_while(incomplete, deadline)
        return reply

    def close(self) -> None:
        """Hang up."""
        if self.error is None:
            self.error = ConnectionAbortedError("closed")
            self.connection.close(0, self._world.now)

    def _wait_while(self, condition: Callable[[], bool], deadline: int) -> None:
        while condition():
            if self.error is not None:
                raise self.error
            if self._world.now >= deadline:
                raise TimeoutError
            self._waiting = self._world.current
            self._world.sleep_until(deadline, interruptible=False)
            self._waiting = None

    def _notice(self, error: OSError | None = None) -> None:
        self.error = self.error or error
        if self._waiting is not None:
            self._world.wake(self._waiting)

    def connected(self) -> None:
        """See `End.connected`."""
        self._connected = True
        self._notice()

    def refused(self, error: int) -> None:
        """See `End.refused`."""
        self._notice(OSError(error, os.strerror(error)))

    def take(self, data: bytes) -> None:
        """See `End.take`."""
        self._reader.feed(data)
        self.connection.flows[1].taken(len(data))
        self._notice()

    def ended(self) -> None:
        """See `End.ended`."""
        self.connection.close(0, self._world.now)
        self._notice(ConnectionResetError("the node closed the connection"))

    def broken(self) -> None:
        """See `End.broken`."""
        self.connection.flows[1].receiver = None
        self._notice(ConnectionResetError("the node reset the connection"))

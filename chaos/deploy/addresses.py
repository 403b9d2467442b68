"""Which loopback address is whose. All of 127.0.0.0/8 belongs to this machine, so every node gets one of its own."""

from __future__ import annotations

import socket
from dataclasses import dataclass

DATA_PORT = 6379
BUS_PORT = 16379
_PER_BLOCK = 250
_BLOCKS = 10
_MOST_CLIENTS = _BLOCKS * _PER_BLOCK


@dataclass(frozen=True)
class Addresses:
    """The addresses of one run: `base` is their first half, `127.0` in a network namespace of the run's own."""

    base: str

    def node(self, number: int) -> str:
        """Where node `number` (from 1) listens, and what it binds before it dials."""
        return f"{self.base}.77.{number}"

    def announced(self, number: int) -> str:
        """Where the proxy listens for node `number`, when there is a proxy."""
        return f"{self.base}.78.{number}"

    def client(self, number: int) -> str:
        """What client `number` (from 0) binds before it connects."""
        if not 0 <= number < _MOST_CLIENTS:
            raise ValueError(f"client {number} has no address; there is room for {_MOST_CLIENTS} clients")
        return f"{self.base}.{88 + number // _PER_BLOCK}.{number % _PER_BLOCK + 1}"

    def is_client(self, address: str) -> bool:
        """Whether this is the address of a client."""
        start, _, rest = address.removeprefix(f"{self.base}.").partition(".")
        return address.startswith(f"{self.base}.") and rest.isdigit() and 88 <= int(start) < 88 + _BLOCKS

    @property
    def controller(self) -> str:
        """What the controller binds: no fault concerns it."""
        return f"{self.base}.99.1"


class Claim:
    """Loopback addresses for this run alone, where runs share the host's: a socket bound to one of them holds them.

    The kernel lets go of them when the process ends, however it ends.
    """

    def __init__(self) -> None:
        """Take the first block that is free. Raises OSError when all 254 are taken."""
        for second in range(1, 255):
            addresses = Addresses(f"127.{second}")
            lock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                lock.bind((addresses.controller, BUS_PORT))
            except OSError:
                lock.close()
            else:
                self._lock = lock
                self.addresses = addresses
                return
        raise OSError("all loopback addresses are taken by other runs: stop some of them")

    def release(self) -> None:
        """Give the addresses back."""
        self._lock.close()

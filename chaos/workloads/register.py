"""Registers: many keys, each overwritten with values that nobody else writes.

Unique values make loss, staleness and linearizability decidable in O(n log n) (Gibbons and Korach, "Testing shared
memories", 1997).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from chaos.operation import Operation
from chaos.workloads.base import unique_value
from chaos.workloads.replies import expect_ok, number
from chaos.workloads.waiting import wait_apart, wait_command
from nemeses.stream import Stream

_STRIDE = 7
"""How many keys lie between those with which two clients begin."""


class Register:
    """`write` v by SET and `read` by GET on keys `k0` ...; with `wait` each SET is followed by a WAIT.

    With `follow` a client writes and reads by turns, and reads the key that it has just written: as soon after the
    acknowledgement as it can (`writes` does not matter then).
    """

    name = "register"
    defaults: Mapping[str, Any] = {"keys": 50, "writes": 0.5, "wait": None, "follow": False}
    checkers: tuple[str, ...] = ("linearizability", "staleness", "durability")

    def __init__(self, options: Mapping[str, Any]) -> None:
        chosen = {**self.defaults, **options}
        self.keys = [f"k{number}" for number in range(chosen["keys"])]
        self.writes: float = chosen["writes"]
        self.wait = wait_command(chosen["wait"])
        self.apart = wait_apart(chosen["wait"])
        self.follow: bool = chosen["follow"]

    def operation(self, client: int, n: int, draw: Stream) -> Operation:
        """A write with probability `writes`, else a read, of any key; see `follow` in the class."""
        if self.follow:
            key = self.keys[(client * _STRIDE + n // 2) % len(self.keys)]
            return self.read(key) if n % 2 else self.write(key, client, n)
        return self.of_key(draw.choice(self.keys), client, n, draw)

    def of_key(self, key: str, client: int, n: int, draw: Stream) -> Operation:
        """A write with probability `writes`, else a read, of this key."""
        if draw.chance(self.writes):
            return self.write(key, client, n)
        return self.read(key)

    def write(self, key: str, client: int, n: int) -> Operation:
        """A write of this key."""
        value = unique_value(client, n)
        commands = (("SET", key, value), *self.wait)
        return Operation(
            self.name, "write", key, value, commands, key, True, partial(_written, value), apart=self.apart
        )

    def read(self, key: str) -> Operation:
        """A read of this key."""
        return Operation(self.name, "read", key, None, (("GET", key),), key, False, _read)

    def finals(self, executed: Mapping[int, int]) -> Iterable[Operation]:
        """A read of every register."""
        return map(self.read, self.keys)


def _written(value: int, replies: list[Any]) -> int:
    expect_ok(replies[0])
    return value


def _read(replies: list[Any]) -> int | str | None:
    return number(replies[0])

"""Entries with a time to live, as a cache has them: each write gives its value some milliseconds.

Reads tell whether a value is there for its time and no longer (`checkers.expiry`). Expiry goes by the clock of the node
that serves the key, and the deadline that a primary has set goes to its replicas as an absolute time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from chaos.operation import Operation
from chaos.workloads.base import unique_value
from chaos.workloads.replies import expect_ok, number
from nemeses.stream import Stream


class Ttl:
    """`write` [v, ms] by SET with PX and `read` by GET on keys `t0` ...

    Reads are many and writes few: an entry that is replaced before its time shows nothing.
    """

    name = "ttl"
    defaults: Mapping[str, Any] = {"keys": 200, "writes": 0.05, "shortest_ms": 500, "longest_ms": 3_000}
    checkers: tuple[str, ...] = ("expiry",)

    def __init__(self, options: Mapping[str, Any]) -> None:
        chosen = {**self.defaults, **options}
        self.keys = [f"t{number}" for number in range(chosen["keys"])]
        self.writes: float = chosen["writes"]
        self.shortest_ms: int = chosen["shortest_ms"]
        self.longest_ms: int = chosen["longest_ms"]
        if not 0 < self.shortest_ms <= self.longest_ms:
            raise ValueError(f"ttl: shortest ({self.shortest_ms} ms) must be above 0 and not above longest")

    def operation(self, client: int, n: int, draw: Stream) -> Operation:
        """A write with probability `writes`, for a time from `shortest` to `longest`, else a read, of any key."""
        key = draw.choice(self.keys)
        if not draw.chance(self.writes):
            return Operation("ttl", "read", key, None, (("GET", key),), key, False, _read)
        value = [unique_value(client, n), draw.between(self.shortest_ms, self.longest_ms)]
        command = ("SET", key, value[0], "PX", value[1])
        return Operation("ttl", "write", key, value, (command,), key, True, partial(_written, value))

    def finals(self, executed: Mapping[int, int]) -> Iterable[Operation]:
        """None: time goes on between the last reads, so an owner and its replica need not show the same."""
        return ()


def _written(value: list[int], replies: list[Any]) -> list[int]:
    expect_ok(replies[0])
    return value


def _read(replies: list[Any]) -> int | str | None:
    return number(replies[0])

"""Counters: increments that are applied twice push the sum above everything that was asked for.

A counter cannot tell an increment lost from one applied twice when they cancel out, so only a sum outside of what
the acknowledged and the indeterminate increments allow proves anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from chaos.operation import Operation
from chaos.workloads.replies import expect_integer, number
from chaos.workloads.waiting import wait_apart, wait_command
from nemeses.stream import Stream

MOST = 5
"""The largest increment; the smallest is 1."""


class Counter:
    """`add` n by INCRBY and `read` by GET on keys `c0` ...; an absent counter reads 0."""

    name = "counter"
    defaults: Mapping[str, Any] = {"keys": 10, "reads": 0.2, "wait": None}
    checkers: tuple[str, ...] = ("durability",)

    def __init__(self, options: Mapping[str, Any]) -> None:
        chosen = {**self.defaults, **options}
        self.keys = [f"c{number}" for number in range(chosen["keys"])]
        self.reads: float = chosen["reads"]
        self.wait = wait_command(chosen["wait"])
        self.apart = wait_apart(chosen["wait"])

    def operation(self, client: int, n: int, draw: Stream) -> Operation:
        """A read with probability `reads`, else an increment by 1 to `MOST`."""
        key = draw.choice(self.keys)
        if draw.chance(self.reads):
            return self._read(key)
        amount = draw.between(1, MOST)
        commands = (("INCRBY", key, amount), *self.wait)
        return Operation("counter", "add", key, amount, commands, key, True, partial(_added, amount), apart=self.apart)

    def finals(self, executed: Mapping[int, int]) -> Iterable[Operation]:
        """A read of every counter."""
        return map(self._read, self.keys)

    def _read(self, key: str) -> Operation:
        return Operation("counter", "read", key, None, (("GET", key),), key, False, _sum)


def _added(amount: int, replies: list[Any]) -> int:
    expect_integer(replies[0])
    return amount


def _sum(replies: list[Any]) -> int | str:
    value = number(replies[0])
    return 0 if value is None else value

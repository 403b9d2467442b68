"""Sets: unique elements are added, and the whole set is read at the end.

An acknowledged element that is missing then was lost, since nothing ever removes one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from chaos.operation import Operation
from chaos.workloads.base import unique_value
from chaos.workloads.replies import expect_integer, numbers
from chaos.workloads.waiting import wait_apart, wait_command
from nemeses.stream import Stream


class Sets:
    """`add` v by SADD and `read` by SMEMBERS on keys `s0` ...

    A read during the run returns everything added so far, which makes a long history of a long run; by default
    there are none, and the final reads decide.
    """

    name = "set"
    defaults: Mapping[str, Any] = {"keys": 10, "reads": 0.0, "wait": None}
    checkers: tuple[str, ...] = ("durability",)

    def __init__(self, options: Mapping[str, Any]) -> None:
        chosen = {**self.defaults, **options}
        self.keys = [f"s{number}" for number in range(chosen["keys"])]
        self.reads: float = chosen["reads"]
        self.wait = wait_command(chosen["wait"])
        self.apart = wait_apart(chosen["wait"])

    def operation(self, client: int, n: int, draw: Stream) -> Operation:
        """A read with probability `reads`, else the addition of a unique element."""
        key = draw.choice(self.keys)
        if draw.chance(self.reads):
            return self._read(key)
        value = unique_value(client, n)
        commands = (("SADD", key, value), *self.wait)
        return Operation("set", "add", key, value, commands, key, True, partial(_added, value), apart=self.apart)

    def finals(self, executed: Mapping[int, int]) -> Iterable[Operation]:
        """A read of every set."""
        return map(self._read, self.keys)

    def _read(self, key: str) -> Operation:
        return Operation("set", "read", key, None, (("SMEMBERS", key),), key, False, _members)


def _added(value: int, replies: list[Any]) -> int:
    expect_integer(replies[0])
    return value


def _members(replies: list[Any]) -> list[int | str | None]:
    return numbers(replies[0])

"""Lists of unique elements: the only workload that shows a write applied twice, and the order of writes for free.

Reading whole lists costs their length, so lists stay short: after `length` elements the clients go on to the next
generation of lists. Which list an operation takes must not depend on how many clients there are (else one client
more would change what the others do), so clients share lists in cohorts of `COHORT`, and each of them appends at
most its share of `length` to one list.
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

COHORT = 4
"""Clients that share lists."""
COHORTS = 10_000
"""Cohorts that have list numbers of their own."""


class Append:
    """`txn` [["append", k, v]] by RPUSH and `txn` [["r", k, [...]]] by LRANGE on lists `l0` ..."""

    name = "append"
    defaults: Mapping[str, Any] = {"keys": 10, "reads": 0.4, "length": 32, "wait": None}
    checkers: tuple[str, ...] = ("durability",)

    def __init__(self, options: Mapping[str, Any]) -> None:
        chosen = {**self.defaults, **options}
        self.keys: int = chosen["keys"]
        self.reads: float = chosen["reads"]
        self.turns: int = max(1, chosen["length"] // COHORT)
        """Operations of one client on one list."""
        self.wait = wait_command(chosen["wait"])
        self.apart = wait_apart(chosen["wait"])

    def operation(self, client: int, n: int, draw: Stream) -> Operation:
        """A read with probability `reads`, else an append, on the list whose turn it is."""
        key = self._list(client, n)
        if draw.chance(self.reads):
            return self._read(key)
        value = unique_value(client, n)
        commands = (("RPUSH", key, value), *self.wait)
        txn = [["append", key, value]]
        return Operation("append", "txn", key, txn, commands, key, True, partial(_appended, txn), apart=self.apart)

    def finals(self, executed: Mapping[int, int]) -> Iterable[Operation]:
        """A read of every list that an operation so far may have touched."""
        longest: dict[int, int] = {}
        for client, count in executed.items():
            longest[client // COHORT] = max(count, longest.get(client // COHORT, 0))
        for cohort, count in sorted(longest.items()):
            for n in range(0, count, self.turns * self.keys):
                first = self._number(cohort, n)
                yield from (self._read(f"l{first + key}") for key in range(self.keys))

    def _list(self, client: int, n: int) -> str:
        return f"l{self._number(client // COHORT, n) + (client + n) % self.keys}"

    def _number(self, cohort: int, n: int) -> int:
        """Number of the first list of the generation that operation `n` belongs to."""
        generation = n // (self.turns * self.keys)
        return (generation * COHORTS + cohort) * self.keys

    def _read(self, key: str) -> Operation:
        commands = (("LRANGE", key, 0, -1),)
        return Operation("append", "txn", key, [["r", key, None]], commands, key, False, partial(_elements, key))


def _appended(txn: list[Any], replies: list[Any]) -> list[Any]:
    expect_integer(replies[0])
    return txn


def _elements(key: str, replies: list[Any]) -> list[Any]:
    return [["r", key, numbers(replies[0])]]

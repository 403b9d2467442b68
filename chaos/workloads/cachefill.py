"""A cache in front of a database, filled by those who miss: cache-aside, as most applications use a cache.

A *read* asks the cache; on a miss it loads the item from the database, puts it into the cache for `ttl`, and returns
it. A *write* goes to the database and then takes the entry away (`on_write`). The database is the truth and the cache
a copy of it, so in the history these are the reads and writes of registers, with unique values. The steps of one
operation are those of `chaos.routes.aside`; what is planned here is what is wanted of which item.

Item number r is wanted in proportion to 1 / r^skew, as in `chaos.workloads.hotkey`. A share of the reads (`missing`)
asks for items that do not exist, `m0` ..., which no load can put into the cache, unless it also remembers what is not
there (`negative_ttl`).
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any, NamedTuple

from chaos import databases
from chaos.databases import Row
from chaos.operation import Command, Doubtful, Operation
from chaos.workloads.base import unique_value
from chaos.workloads.replies import expect_integer, expect_ok
from nemeses.stream import Stream

NAME = "cachefill"
NOTHING = "-"
"""What the cache holds for an item that the database has not."""
ON_WRITE = ("delete", "set", "nothing")


class Entry(NamedTuple):
    """What the cache holds for an item: the database's row, or that there is none."""

    row: Row | None

    def text(self, length: int) -> str:
        """As the cache has it, padded to at least `length` bytes."""
        if self.row is None:
            return NOTHING
        value = "" if self.row.value is None else self.row.value
        return f"{self.row.version}:{value}:".ljust(length, "x")


def entry_of(reply: Any) -> Entry | None:
    """The entry in a reply of GET; None for an absent key. Raises Doubtful for what no client puts there."""
    if reply is None:
        return None
    if reply == NOTHING.encode():
        return Entry(None)
    try:
        version, value, _ = reply.split(b":")
        return Entry(Row(int(value) if value else None, int(version)))
    except (AttributeError, ValueError) as error:
        raise Doubtful(f"expected an entry and got {reply!r}") from error


class CacheFill:
    """`read` and `write` of items `i0` (the most popular) ..., and reads of `m0` ..., which do not exist."""

    name = NAME
    defaults: Mapping[str, Any] = {
        "keys": 1000,
        "skew": 1.1,
        "writes": 0.05,
        "missing": 0.0,
        "ttl_ms": 2_000,
        "jitter": 0.0,
        "negative_ttl_ms": 0,
        "single_flight": False,
        "on_write": "delete",
        "fallback": True,
        "load_ms": 0,
        "size": 0,
        "database": databases.SQLITE,
    }
    checkers: tuple[str, ...] = ("cachefill", "staleness", "linearizability", "durability")

    def __init__(self, options: Mapping[str, Any]) -> None:
        chosen = {**self.defaults, **options}
        if chosen["keys"] < 1:
            raise ValueError("cachefill: keys must be above 0")
        if chosen["on_write"] not in ON_WRITE:
            raise ValueError(f"cachefill: on_write: {chosen['on_write']!r} is none of {', '.join(ON_WRITE)}")
        if (reason := databases.wrong(chosen["database"])) is not None:
            raise ValueError(f"cachefill: {reason}")
        self.items = [f"i{rank}" for rank in range(chosen["keys"])]
        self.database: str = chosen["database"]
        self.on_write: str = chosen["on_write"]
        self.single_flight: bool = chosen["single_flight"]
        self.fallback: bool = chosen["fallback"]
        self.load_ns: int = chosen["load_ms"] * 1_000_000
        self._writes: float = chosen["writes"]
        self._missing: float = chosen["missing"]
        self._ttl_ms: int = chosen["ttl_ms"]
        self._negative_ttl_ms: int = chosen["negative_ttl_ms"]
        self._jitter: float = chosen["jitter"]
        self._size: int = chosen["size"]
        weights = list(accumulate((rank + 1) ** -chosen["skew"] for rank in range(chosen["keys"])))
        self._bounds = [weight / weights[-1] for weight in weights]

    def operation(self, client: int, n: int, draw: Stream) -> Operation:
        """A write with probability `writes`, else a read; of the reads `missing` are of items that do not exist."""
        if draw.chance(self._writes):
            key = self.items[self._popular(draw)]
            command: Command = ("DEL", key)
            return Operation(NAME, "write", key, unique_value(client, n), (command,), key, True, _deleted)
        letter = "m" if self._missing and draw.chance(self._missing) else "i"
        key = f"{letter}{self._popular(draw)}"
        return Operation(NAME, "read", key, None, (("GET", key),), key, False, _entry)

    def filling(self, asked: Operation, entry: Entry, draw: Stream) -> tuple[Operation, int] | None:
        """What puts an entry for an operation's item into the cache, and for how long (ms; 0: until it is removed).

        None for one that is not to be kept.
        """
        longest = self._negative_ttl_ms if entry.row is None else self._ttl_ms
        if entry.row is None and not longest:
            return None
        ttl_ms = round(longest * (1 - self._jitter * draw.unit())) if self._jitter else longest
        stored = asked.commands[0][1]
        life: Command = ("PX", max(1, ttl_ms)) if ttl_ms else ()
        command = ("SET", stored, entry.text(self._size), *life)
        return Operation(NAME, "fill", asked.key, None, (command,), asked.routing, True, _filled), ttl_ms

    def finals(self, executed: Mapping[int, int]) -> Iterable[Operation]:
        """None: the database has the last word (`chaos.backing`)."""
        return ()

    def _popular(self, draw: Stream) -> int:
        return bisect(self._bounds, draw.unit())


def _entry(replies: list[Any]) -> Entry | None:
    return entry_of(replies[0])


def _deleted(replies: list[Any]) -> int:
    return expect_integer(replies[0])


def _filled(replies: list[Any]) -> None:
    expect_ok(replies[0])

"""Several keys of one hash tag, always written and read together: a read that sees half of a write is torn.

The same write is done in three ways that the server promises to be atomic: MSET, MULTI/EXEC and a Lua script; with
`plain: true` by MSET alone, which proxies know.

A share of the operations crosses slots on purpose, on keys of their own (`{x0}:a` and a neighbour), never on those
of a group: with via `cross-slot` all keys are declared and the server must refuse; with via `undeclared` a script
touches a key that it did not declare, which servers accept as long as the key's slot is their own. The two slots
are neighbours, so one node nearly always serves both, and nothing but the rule itself stands in the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import count, islice
from string import ascii_lowercase
from typing import Any

from chaos.operation import Command, Doubtful, Operation, Refused
from chaos.workloads.base import unique_value
from chaos.workloads.replies import expect_ok, numbers
from checkers.keyslot import key_slot
from nemeses.stream import Stream

WRITE_SCRIPT = "for i, key in ipairs(KEYS) do redis.call('SET', key, ARGV[1]) end return redis.status_reply('OK')"
READ_SCRIPT = "local seen = {} for i, key in ipairs(KEYS) do seen[i] = redis.call('GET', key) end return seen"
UNDECLARED_SCRIPT = (
    "redis.call('SET', ARGV[2], ARGV[1]) redis.call('SET', KEYS[1], ARGV[1]) return redis.status_reply('OK')"
)
PAIRS = 16
"""Pairs of neighbouring slots that cross-slot operations choose from."""


class Multikey:
    """`mset` {k: v, ...} and `mget` {k: v or null, ...} over all keys of a group, `{g0}:a`, `{g0}:b`, ..."""

    name = "multikey"
    defaults: Mapping[str, Any] = {"groups": 10, "size": 3, "reads": 0.5, "cross_slot": 0.05, "plain": False}
    checkers: tuple[str, ...] = ("multikey",)

    def __init__(self, options: Mapping[str, Any]) -> None:
        chosen = {**self.defaults, **options}
        if not 2 <= chosen["size"] <= len(ascii_lowercase):
            raise ValueError(f"multikey: size is a number from 2 to {len(ascii_lowercase)}, not {chosen['size']}")
        letters = ascii_lowercase[: chosen["size"]]
        self.groups = [(f"{{g{group}}}", _keys(f"{{g{group}}}", letters)) for group in range(chosen["groups"])]
        self.reads: float = chosen["reads"]
        self.cross_slot: float = chosen["cross_slot"]
        self.ways = (None,) if chosen["plain"] else (None, "multi", "script")
        self.pairs = [(first, (f"{first}:a", f"{second}:a")) for first, second in islice(_neighbours(), PAIRS)]

    def operation(self, client: int, n: int, draw: Stream) -> Operation:
        """Cross slots with probability `cross_slot`; else read with probability `reads` or write a group."""
        if draw.chance(self.cross_slot):
            first, pair = draw.choice(self.pairs)
            return _crossing(first, pair, unique_value(client, n), draw)
        tag, keys = draw.choice(self.groups)
        via = draw.choice(self.ways)
        if draw.chance(self.reads):
            return _read(tag, keys, via, via)
        return _write(tag, keys, unique_value(client, n), via, via)

    def finals(self, executed: Mapping[int, int]) -> Iterable[Operation]:
        """An MGET of every group."""
        return (_read(tag, keys, None, None) for tag, keys in self.groups)


def _keys(tag: str, letters: str) -> tuple[str, ...]:
    return tuple(f"{tag}:{letter}" for letter in letters)


def _neighbours() -> Iterator[tuple[str, str]]:
    """Pairs of hash tags whose slots follow each other, in order of appearance; each tag in one pair only."""
    waiting: dict[int, str] = {}
    for candidate in count():
        tag = f"{{x{candidate}}}"
        slot = key_slot(tag.encode())
        for other in (slot - 1, slot + 1):
            if other in waiting:
                yield waiting.pop(other), tag
                break
        else:
            waiting[slot] = tag


def _write(tag: str, keys: tuple[str, ...], value: int, how: str | None, via: str | None) -> Operation:
    if how == "multi":
        commands: tuple[Command, ...] = (("MULTI",), *(("SET", key, value) for key in keys), ("EXEC",))
    elif how == "script":
        commands = (("EVAL", WRITE_SCRIPT, len(keys), *keys, value),)
    else:
        commands = (("MSET", *(part for key in keys for part in (key, value))),)
    written = dict.fromkeys(keys, value)
    return Operation("multikey", "mset", tag, written, commands, keys[0], True, partial(_written, written), via)


def _read(tag: str, keys: tuple[str, ...], how: str | None, via: str | None) -> Operation:
    if how == "multi":
        commands: tuple[Command, ...] = (("MULTI",), *(("GET", key) for key in keys), ("EXEC",))
    elif how == "script":
        commands = (("EVAL_RO", READ_SCRIPT, len(keys), *keys),)
    else:
        commands = (("MGET", *keys),)
    asked: dict[str, None] = dict.fromkeys(keys)
    return Operation("multikey", "mget", tag, asked, commands, keys[0], False, partial(_found, keys), via)


def _crossing(tag: str, keys: tuple[str, str], value: int, draw: Stream) -> Operation:
    way = draw.below(5)
    if way == 0:
        return _read(tag, keys, None, "cross-slot")
    if way < 4:
        return _write(tag, keys, value, (None, "multi", "script")[way - 1], "cross-slot")
    commands = (("EVAL", UNDECLARED_SCRIPT, 1, keys[0], value, keys[1]),)
    written = dict.fromkeys(keys, value)
    result = partial(_written, written)
    return Operation("multikey", "mset", tag, written, commands, keys[0], True, result, "undeclared")


def _last(replies: list[Any]) -> Any:
    """The reply of the command that did the work: for a transaction, the array of EXEC, checked for errors."""
    last = replies[-1]
    if len(replies) == 1:
        return last
    if last is None:
        raise Refused("EXEC replied nil: the transaction was not executed")
    if not isinstance(last, list):
        raise Doubtful(f"expected an array from EXEC and got {last!r}")
    for reply in last:
        if isinstance(reply, Exception):
            raise Doubtful(f"a command inside EXEC failed: {reply}")
    return last


def _written(value: dict[str, int], replies: list[Any]) -> dict[str, int]:
    done = _last(replies)
    for reply in done if isinstance(done, list) else [done]:
        expect_ok(reply)
    return value


def _found(keys: tuple[str, ...], replies: list[Any]) -> dict[str, int | str | None]:
    values = numbers(_last(replies))
    if len(values) != len(keys):
        raise Doubtful(f"asked for {len(keys)} keys and got {len(values)} values")
    return dict(zip(keys, values, strict=True))

"""Slow checkers that try everything: what the fast ones must agree with on small histories of one register.

An operation here is `(f, value, start, end, type)` with `type` ok, fail or info; the initial value is None.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, permutations
from typing import NamedTuple

from checkers.history import Event, History, from_events


class Op(NamedTuple):
    f: str
    value: int | None
    start: int
    end: int
    type: str = "ok"


INFINITE = float("inf")


def as_history(ops: Sequence[Op], key: str = "k0", processes: Sequence[int] | None = None) -> History:
    """A history of these operations, each by a process of its own unless told; index = 2 * position."""
    events = []
    for number, op in enumerate(ops):
        process = number if processes is None else processes[number]
        sent = op.value if op.f == "write" else None
        events.append(Event("invoke", op.f, process, 2 * number, op.start, key, sent))
        value = op.value if op.type == "ok" else sent
        events.append(Event(op.type, op.f, process, 2 * number + 1, op.end, key, value))
    # Where a process goes on at the very moment at which it ended, the end comes first.
    events.sort(key=lambda e: (e.time, e.type == "invoke") if processes is not None else (e.time, False))
    return from_events(events)


def _relevant(ops: Sequence[Op]) -> Iterator[list[tuple[Op, float]]]:
    """Every choice of which indeterminate writes happened; each operation with its effective end."""
    sure = [(op, op.end) for op in ops if op.type == "ok"]
    maybe = [(op, INFINITE) for op in ops if op.type == "info" and op.f == "write"]
    for size in range(len(maybe) + 1):
        for chosen in combinations(maybe, size):
            yield sure + list(chosen)


def _orders(ops: list[tuple[Op, float]]) -> Iterator[list[Op]]:
    """Every order that respects "ended before began"."""
    if not ops:
        yield []
    for place, (op, _) in enumerate(ops):
        rest = ops[:place] + ops[place + 1 :]
        if all(not end < op.start for _, end in rest):
            for tail in _orders(rest):
                yield [op, *tail]


def k_atomic(ops: Sequence[Op], k: int = 1) -> bool:
    """Whether some order exists in which each read returns one of the last k values written."""
    return any(_legal(order, k) for chosen in _relevant(ops) for order in _orders(chosen))


def _legal(order: Sequence[Op], k: int) -> bool:
    values: list[int | None] = [None]
    for op in order:
        if op.f == "write":
            values.append(op.value)
        elif op.value not in values[-k:]:
            return False
    return True


def delta(ops: Sequence[Op], most: int) -> int | None:
    """The smallest whole delta up to `most` for which the history is delta-atomic."""
    for size in range(most + 1):
        moved = [op._replace(start=op.start - size) if op.f == "read" else op for op in ops]
        if k_atomic(moved):
            return size
    return None


def staleness(ops: Sequence[Op], read: Op) -> tuple[int, int]:
    """The least staleness, in time and in versions, that any placement of the writes leaves to `read`.

    Every write happens at a whole moment between its start and its end, no later than the end of any read of it.
    The versions are the least number of writes that happened after that of the read's value and ended (or were
    seen) before the read began.
    """
    writes = [(op, _seen(ops, op)) for op in ops if op.f == "write" and op.type != "fail"]
    writes = [(op, end) for op, end in writes if end < INFINITE]
    own = [(op, end) for op, end in writes if op.value == read.value]
    moments = range(own[0][0].start, int(own[0][1]) + 1) if own else [-1]
    times, versions = [], []
    for moment in moments:
        newer = [(op, end) for op, end in writes if op.value != read.value and op.start > moment]
        # A write that began by `moment` may have happened by then; the others happened after, at their latest end.
        times.append(max(0, read.start - int(min((end for _, end in newer), default=read.start))))
        versions.append(sum(end < read.start for _, end in newer))
    return min(times), min(versions)


def _seen(ops: Sequence[Op], write: Op) -> float:
    ends = [op.end for op in ops if op.f == "read" and op.type == "ok" and op.value == write.value]
    return min([*ends, write.end if write.type == "ok" else INFINITE])


__all__ = ["Op", "as_history", "delta", "k_atomic", "permutations", "staleness"]

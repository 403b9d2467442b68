"""Slow checkers that try everything: what the fast ones must agree with on small histories of one register.

The initial value is None, and times are small whole numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, product
from typing import NamedTuple

from checkers.events import Event
from checkers.history import History, from_events


class Op(NamedTuple):
    """One operation on one register. An `info` ends as far as the caller knows; its effect may come at any time."""

    f: str
    value: int | None
    start: int
    end: int
    type: str = "ok"
    process: int | None = None


def as_history(ops: Sequence[Op], key: str = "k0") -> History:
    """The history of these operations: number i has index 2 * i, and a process of its own unless it names one."""
    events = []
    for number, op in enumerate(ops):
        process = number if op.process is None else op.process
        sent = op.value if op.f == "write" else None
        events.append(Event("invoke", op.f, process, 2 * number, op.start, key, sent))
        answer = op.value if op.type == "ok" else sent
        events.append(Event(op.type, op.f, process, 2 * number + 1, op.end, key, answer))
    return from_events(events)


class On(NamedTuple):
    """An operation on one of several registers."""

    key: str
    op: Op


def as_history_of_keys(ons: Sequence[On]) -> History:
    """The history of these operations: number i has index 2 * i."""
    events = []
    for number, (key, op) in enumerate(ons):
        sent = op.value if op.f == "write" else None
        events.append(Event("invoke", op.f, op.process, 2 * number, op.start, key, sent))
        answer = op.value if op.type == "ok" else sent
        events.append(Event(op.type, op.f, op.process, 2 * number + 1, op.end, key, answer))
    return from_events(events)


def k_atomic(ops: Sequence[Op], k: int = 1) -> bool:
    """Whether some order, in which what ended comes before what then began, lets each read return one of the last
    k values. For k = 1: whether the history is linearizable."""
    return any(_legal(order, k) for chosen in _happened(ops) for order in _orders(chosen))


def _happened(ops: Sequence[Op]) -> Iterator[list[Op]]:
    """Every choice of which indeterminate writes took effect."""
    sure = [op for op in ops if op.type == "ok"]
    maybe = [op for op in ops if op.type == "info" and op.f == "write"]
    for size in range(len(maybe) + 1):
        for chosen in combinations(maybe, size):
            yield sure + list(chosen)


def _orders(ops: Sequence[Op]) -> Iterator[list[Op]]:
    if not ops:
        yield []
    for place, op in enumerate(ops):
        rest = [*ops[:place], *ops[place + 1 :]]
        if all(other.type == "info" or not other.end < op.start for other in rest):
            for tail in _orders(rest):
                yield [op, *tail]


def _legal(order: Sequence[Op], k: int) -> bool:
    values: list[int | None] = [None]
    for op in order:
        if op.f == "write":
            values.append(op.value)
        elif op.value not in values[-k:]:
            return False
    return True


def smallest_delta(ops: Sequence[Op], most: int) -> int | None:
    """The smallest whole number up to `most` by which moving all reads' starts back makes the history linearizable."""
    for size in range(most + 1):
        if k_atomic([op._replace(start=op.start - size) if op.f == "read" else op for op in ops]):
            return size
    return None


def staleness(ops: Sequence[Op], read: Op) -> tuple[int, int]:
    """The least staleness of a read, in time and in versions, over every placement of the writes in their intervals.

    A write takes effect at a whole moment from its start to its end, and no later than the end of any read of it;
    an indeterminate write that nobody read has none. The initial value is there from before everything. Of two
    writes at one moment either may come first.
    """
    spans = {op.value: range(op.start, _seen(ops, op) + 1) for op in ops if op.f == "write" and op.type != "fail"}
    spans = {value: span for value, span in spans.items() if span.stop <= _FOREVER}
    times, versions = [], []
    for moments in product(*spans.values()):
        effect: dict[int | None, int] = {None: -1, **dict(zip(spans, moments, strict=True))}
        newer = [moment for moment in moments if moment > effect[read.value]]
        times.append(max(0, read.start - min(newer, default=read.start)))
        versions.append(sum(moment < read.start for moment in newer))
    return min(times), min(versions)


_FOREVER = 10**6


def _seen(ops: Sequence[Op], write: Op) -> int:
    ends = [op.end for op in ops if op.f == "read" and op.type == "ok" and op.value == write.value]
    return min([*ends, write.end if write.type == "ok" else _FOREVER])


def sessions(ops: Sequence[Op]) -> dict[str, set[int]]:
    """By guarantee: positions of the reads that break it, from the definitions, pair by pair."""
    broken: dict[str, set[int]] = {
        name: set() for name in ("read-your-writes", "non-monotonic-read", "non-monotonic-write", "writes-follow-reads")
    }
    writer = {op.value: op for op in ops if op.f == "write" and op.type != "fail"}

    def older(one: int | None, two: int | None) -> bool:
        return two in writer and (one not in writer or _seen(ops, writer[one]) < writer[two].start)

    for place, read in enumerate(ops):
        if read.f != "read" or read.type != "ok":
            continue
        before = [op for op in ops if op.process == read.process and op.end <= read.start and op is not read]
        newer = [op for op in before if op.type == "ok" and older(read.value, op.value)]
        if any(op.f == "write" for op in newer):
            broken["read-your-writes"].add(place)
        if any(op.f == "read" for op in newer):
            broken["non-monotonic-read"].add(place)
            # Of several the checker looks at the newest: the one whose write began last.
            latest = max((writer[op.value] for op in newer if op.f == "read"), key=lambda op: op.start)
            if read.value in writer and writer[read.value].process == latest.process:
                broken["non-monotonic-write"].add(place)
            known = [op for op in ops if op.f == "read" and op.type == "ok" and op.process == latest.process]
            if any(op.value == read.value and op.end < latest.start for op in known):
                broken["writes-follow-reads"].add(place)
    return broken


def sessions_across_keys(ons: Sequence[On]) -> dict[str, set[int]]:
    """By guarantee: positions of the reads that break it because of another key, triple by triple."""
    broken: dict[str, set[int]] = {"non-monotonic-write-across-keys": set(), "writes-follow-reads-across-keys": set()}
    writer = {(on.key, on.op.value): on.op for on in ons if on.op.f == "write" and on.op.type != "fail"}

    def older(key: str, one: int | None, two: int | None) -> bool:
        ops = [on.op for on in ons if on.key == key]
        new, old = writer.get((key, two)), writer.get((key, one))
        return new is not None and (old is None or _seen(ops, old) < new.start)

    def before(on: On, time: int, f: str) -> bool:
        return on.op.f == f and on.op.type == "ok" and on.op.end <= time

    for place, (key, read) in enumerate(ons):
        if read.f != "read" or read.type != "ok":
            continue
        for told in (on for on in ons if on.op.process == read.process and before(on, read.start, "read")):
            written = writer.get((told.key, told.op.value))
            if told.key == key or written is None or written.process == read.process:
                continue
            for f, kind in (("write", "non-monotonic-write"), ("read", "writes-follow-reads")):
                seen = (on for on in ons if on.op.process == written.process and before(on, written.start, f))
                if any(on.key == key and older(key, read.value, on.op.value) for on in seen):
                    broken[f"{kind}-across-keys"].add(place)
    return broken

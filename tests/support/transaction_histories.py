"""Histories of transactions for tests: drawn ones, databases that promise something, and an exhaustive check."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import chain, combinations, permutations
from typing import Any

from checkers.events import Event
from checkers.history import History, from_events

Value = list[list[Any]]


@dataclass
class Txn:
    """One transaction: when it was, who did it, what it did and saw."""

    process: int
    start: int
    end: int
    value: Value
    type: str = "ok"


def history(txns: Sequence[Txn], **header: Any) -> History:
    """The history in which transaction number n has index n."""
    invoked = [[kind, key, None if kind == "r" else argument] for txn in txns for kind, key, argument in txn.value]
    events = []
    for number, txn in enumerate(txns):
        size = len(txn.value)
        value, invoked = invoked[:size], invoked[size:]
        events.append(Event("invoke", "txn", txn.process, number, txn.start, value=value))
        done = deepcopy(txn.value) if txn.type == "ok" else value
        events.append(Event(txn.type, "txn", txn.process, 1000 + number, txn.end, value=done))
    return from_events(events, header)


def together(*values: Value) -> list[Txn]:
    """Transactions of different clients, all at the same time."""
    return [Txn(process, 0, 100, value) for process, value in enumerate(values)]


def in_turn(*values: Value) -> list[Txn]:
    """Transactions of different clients, one after the other."""
    return [Txn(process, 10 * process, 10 * process + 5, value) for process, value in enumerate(values)]


@dataclass
class _Open:
    txn: Txn
    moments: list[int]
    plan: list[tuple[str, str]]
    snapshot: dict[str, Any] = field(default_factory=dict)
    mine: dict[str, Any] = field(default_factory=dict)
    base: dict[str, int] = field(default_factory=dict)


def simulate(
    rng: random.Random,
    *,
    level: str,
    registers: bool,
    count: int,
    keys: int = 3,
    clients: int = 4,
    unknown: float = 0.1,
) -> list[Txn]:
    """What clients of a database saw that keeps exactly `level`, which is real in time as well.

    `strict-serializable`: each transaction happens at one hidden moment. `snapshot-isolation`: it reads a snapshot
    from its begin, and fails if what it writes was written since. `read-committed`: each read sees what is committed
    at its moment; writers of a key exclude each other until they commit, who comes second fails. Some transactions
    end unknown, of which some took effect.
    """
    opened = list(_drawn(rng, registers, count, keys, clients, unknown))
    steps = sorted((moment, number, step) for number, o in enumerate(opened) for step, moment in enumerate(o.moments))
    store: dict[str, Any] = {}
    version: dict[str, int] = {}
    locks: dict[str, int] = {}
    value = iter(range(1, 10**9))
    for _, number, step in steps:
        opening = opened[number]
        if opening.txn.type == "fail":
            continue
        if step == 0:
            opening.snapshot, opening.base = deepcopy(store), dict(version)
        if level == "strict-serializable":
            todo = range(len(opening.plan)) if step == len(opening.plan) else range(0)
            opening.snapshot = store if todo else opening.snapshot
        else:
            todo = range(step, step + 1) if step < len(opening.plan) else range(0)
        for place in todo:
            _do(opening, place, store if level == "read-committed" else opening.snapshot, value)
            kind, key = opening.plan[place]
            if level == "read-committed" and kind != "r" and locks.setdefault(key, number) != number:
                opening.txn.type = "fail"
        if level == "snapshot-isolation" and any(version.get(key) != opening.base.get(key) for key in opening.mine):
            opening.txn.type = "fail"
        if step == len(opening.plan) and opening.txn.type != "fail":
            lost = opening.txn.type == "info" and rng.random() < 0.5
            for key, written in opening.mine.items() if not lost else ():
                store[key] = written
                version[key] = version.get(key, 0) + 1
        if step == len(opening.plan) or opening.txn.type == "fail":
            locks = {key: owner for key, owner in locks.items() if owner != number}
    return [opening.txn for opening in opened]


def _drawn(rng: random.Random, registers: bool, count: int, keys: int, clients: int, unknown: float) -> Iterator[_Open]:
    clock = [0] * clients
    lives = [0] * clients
    for number in range(count):
        client = number % clients
        plan = [
            ("r" if rng.random() < 0.5 else "w" if registers else "append", f"k{rng.randrange(keys)}")
            for _ in range(rng.randint(1, 4))
        ]
        start = clock[client] + rng.randint(1, 10)
        moments = sorted(start + rng.randint(1, 30) for _ in range(len(plan) + 1))
        end = moments[-1] + rng.randint(1, 5)
        clock[client] = end
        kind = "info" if rng.random() < unknown else "ok"
        value = [[what, key, None] for what, key in plan]
        yield _Open(Txn(client + clients * lives[client], start, end, value, kind), moments, plan)
        lives[client] += kind == "info"


def _do(opening: _Open, place: int, seen: dict[str, Any], value: Iterator[int]) -> None:
    kind, key = opening.plan[place]
    own = opening.mine.get(key)
    if kind == "append":
        written = next(value)
        opening.txn.value[place][2] = written
        opening.mine[key] = [*(own if own is not None else seen.get(key) or []), written]
    elif kind == "w":
        opening.txn.value[place][2] = opening.mine[key] = next(value)
    else:
        opening.txn.value[place][2] = deepcopy(own if own is not None else seen.get(key))


def serial_orders(txns: Sequence[Txn]) -> Iterator[list[Txn]]:
    """All orders of the transactions that took effect: those that returned, with any of unknown outcome."""
    sure = [txn for txn in txns if txn.type == "ok"]
    unknown = [txn for txn in txns if txn.type == "info"]
    for size in range(len(unknown) + 1):
        for some in combinations(unknown, size):
            for order in permutations([*sure, *some]):
                yield list(order)


def legal(order: Sequence[Txn]) -> bool:
    """Whether transactions done one after the other see what they saw."""
    store: dict[str, Any] = {}
    for txn in order:
        for kind, key, argument in txn.value:
            if kind == "append":
                store[key] = [*store.get(key, []), argument]
            elif kind == "w":
                store[key] = argument
            elif txn.type == "ok" and (store.get(key) or None) != (argument or None):
                return False
    return True


def in_order(order: Sequence[Txn], *, time: bool, process: bool) -> bool:
    """Whether an order puts no transaction before one that ended before it began, or that its client did before."""
    for late, early in chain.from_iterable(((order[i], e) for e in order[i + 1 :]) for i in range(len(order))):
        if early.type != "ok":
            continue
        if time and early.end < late.start:
            return False
        if process and early.process == late.process and early.start < late.start:
            return False
    return True

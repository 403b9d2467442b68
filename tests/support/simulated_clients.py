"""What the clients of a simulated cluster ask for: every kind of object that a run can have."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from simulated_node import Command

from checkers.keyslot import key_slot

CLIENTS = 6
GROUPS = {tag: tuple(f"{tag}:{letter}" for letter in "abc") for tag in ("{g1}", "{g2}")}
"""Keys that are written together, in one slot each."""
LISTS = ("{t2}:l0", "{t2}:l1")
"""Lists of transactions, in one slot."""
CROSSING = ("{x0}:a", "{y0}:a")
"""Keys of two slots."""
NUMBERED = {kind: [f"{kind}{number}" for number in range(4)] for kind in "ksclmq"}
"""Registers, sets, counters, lists, locks and queues."""
COLD, EARLY = "k6", 300
"""A register that only the first so many operations of the run write to."""
USED = {key_slot(key) for names in (GROUPS, LISTS, *NUMBERED.values(), CROSSING, [COLD]) for key in names}


@dataclass
class Client:
    """One client: what it believes of the slots, and the locks that it may hold."""

    number: int
    process: int
    table: dict[int, str] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)


def ask(draw: random.Random, client: Client, value: int) -> Command:
    """Draw the next operation of a client; `value` is unique in the run."""
    kind = draw.choices(list(ASK), [weight for weight, _ in ASK.values()])[0]
    return ASK[kind][1](draw, client, value)


def _register(draw: random.Random, client: Client, value: int) -> Command:
    key = draw.choice([*NUMBERED["k"], COLD])
    late = key == COLD and value % 10_000_000 > EARLY
    return _one("read", key) if late or draw.random() < 0.5 else _one("write", key, value)


def _set(draw: random.Random, client: Client, value: int) -> Command:
    key = draw.choice(NUMBERED["s"])
    return _one("read", key) if draw.random() < 0.2 else _one("add", key, value)


def _counter(draw: random.Random, client: Client, value: int) -> Command:
    key = draw.choice(NUMBERED["c"])
    return _one("read", key) if draw.random() < 0.4 else _one("add", key, draw.randint(1, 3))


def _list(draw: random.Random, client: Client, value: int) -> Command:
    key = draw.choice(NUMBERED["l"])
    return Command("txn", key, [["r", key, None]] if draw.random() < 0.3 else [["append", key, value]], (key,))


def _transaction(draw: random.Random, client: Client, value: int) -> Command:
    keys = draw.sample(LISTS, len(LISTS))
    micros = [["r", key, None] if draw.random() < 0.5 else ["append", key, value] for key in keys]
    return Command("txn", "{t2}", micros, LISTS)


def _group(draw: random.Random, client: Client, value: int) -> Command:
    tag = draw.choice(list(GROUPS))
    f, content = ("mget", None) if draw.random() < 0.5 else ("mset", value)
    return Command(f, tag, dict.fromkeys(GROUPS[tag], content), GROUPS[tag])


def _crossing(draw: random.Random, client: Client, value: int) -> Command:
    return Command("mset", "{x0}", dict.fromkeys(CROSSING, value), CROSSING, via="cross-slot")


def _lock(draw: random.Random, client: Client, value: int) -> Command:
    key = draw.choice(NUMBERED["m"])
    if key in client.tokens:
        return _one("release", key, client.tokens[key])
    client.tokens[key] = value
    return _one("acquire", key, value)


def _queue(draw: random.Random, client: Client, value: int) -> Command:
    key = draw.choice(NUMBERED["q"])
    return _one("dequeue", key) if draw.random() < 0.6 else _one("enqueue", key, value)


def _one(f: str, key: str, value: int | None = None) -> Command:
    return Command(f, key, value, (key,))


ASK: dict[str, tuple[int, Callable[[random.Random, Client, int], Command]]] = {
    "register": (5, _register),
    "set": (2, _set),
    "counter": (2, _counter),
    "list": (2, _list),
    "transaction": (3, _transaction),
    "group": (4, _group),
    "crossing": (1, _crossing),
    "lock": (2, _lock),
    "queue": (2, _queue),
}
"""By kind of object: how often it is asked for, and how."""

FINALS = [
    *(Command("read", key, None, (key,)) for kind in "ksc" for key in NUMBERED[kind]),
    Command("read", COLD, None, (COLD,)),
    *(Command("txn", key, [["r", key, None]], (key,)) for key in NUMBERED["l"]),
    *(Command("txn", key, [["r", key, None]], (key,)) for key in LISTS),
    *(Command("mget", tag, dict.fromkeys(keys), keys) for tag, keys in GROUPS.items()),
]
"""The reads that are taken after convergence."""

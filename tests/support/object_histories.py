"""Histories of objects whose every operation has a hidden moment at which it happened: linearizable by construction."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from checkers.events import Event
from checkers.history import History, from_events

LATEST = 10**9
"""How long after its start an operation that nobody saw return may still take effect, in ns."""


def register(state: Any, f: str, value: Any) -> tuple[Any, str, Any]:
    """State after one operation on a register that compares and sets, how it ends and with which value."""
    if f == "read":
        return state, "ok", state
    if f == "write":
        return value, "ok", value
    return (value[1], "ok", value) if state == value[0] else (state, "fail", value)


def kv(state: Any, f: str, value: Any) -> tuple[Any, str, Any]:
    """The same for a string."""
    text = state or ""
    if f == "get":
        return text, "ok", text
    return (value if f == "put" else text + value), "ok", value


def members(state: Any, f: str, value: Any) -> tuple[Any, str, Any]:
    """The same for a set."""
    elements = state or ()
    return (elements, "ok", sorted(elements)) if f == "read" else ((*elements, value), "ok", value)


def counter(state: Any, f: str, value: Any) -> tuple[Any, str, Any]:
    """The same for a counter."""
    total = state or 0
    return (total, "ok", total) if f == "read" else (total + value, "ok", value)


def lock(state: Any, f: str, value: Any) -> tuple[Any, str, Any]:
    """The same for a lock: who finds it taken, or does not hold it, fails."""
    if f == "acquire":
        return (value, "ok", value) if state is None else (state, "fail", value)
    return (None, "ok", value) if state == value else (state, "fail", value)


def queue(state: Any, f: str, value: Any) -> tuple[Any, str, Any]:
    """The same for a queue."""
    waiting = state or ()
    if f == "enqueue":
        return (*waiting, value), "ok", value
    return waiting[1:], "ok", waiting[0] if waiting else None


Ask = Callable[[random.Random, int, int], tuple[str, Any]]
"""Draws a function and its value, given the number of the client and that of the operation."""

OBJECTS: dict[str, tuple[Callable[[Any, str, Any], tuple[Any, str, Any]], Ask]] = {
    "register": (register, lambda rng, c, n: rng.choice([("read", None), ("write", rng.randrange(5))])),
    "cas-register": (
        register,
        lambda rng, c, n: rng.choice(
            [("read", None), ("write", rng.randrange(5)), ("cas", [rng.randrange(5), rng.randrange(5)])]
        ),
    ),
    "kv": (
        kv,
        lambda rng, c, n: rng.choices(
            [("get", None), ("append", f"x {c} {n} y"), ("put", f"x {c} {n} y")], weights=[45, 50, 5]
        )[0],
    ),
    "set": (members, lambda rng, c, n: rng.choice([("read", None), ("add", n)])),
    "counter": (counter, lambda rng, c, n: rng.choice([("read", None), ("add", rng.randrange(1, 6))])),
    "lock": (lock, lambda rng, c, n: rng.choice([("acquire", f"t{c}"), ("release", f"t{c}")])),
    "queue": (queue, lambda rng, c, n: rng.choice([("enqueue", n), ("dequeue", None)])),
}
"""By model: what it does, and what its clients ask for."""


def record(
    model: str, *, count: int, clients: int, keys: int = 1, lost: float = 0.0, most_lost: int = 10**9, seed: int = 0
) -> list[Event]:
    """The events of `count` operations of so many clients; of those that change something a share `lost` has no end."""
    rng = random.Random(seed)
    apply, ask = OBJECTS[model]
    clock, process = [rng.randrange(1000) for _ in range(clients)], list(range(clients))
    # start, moment, end, process, f, key, value, whether nobody saw it return
    asked: list[tuple[int, int, int, int, str, str | None, Any, bool]] = []
    for n in range(count):
        client = min(range(clients), key=clock.__getitem__)
        f, value = ask(rng, client, n)
        start = clock[client]
        end = start + rng.randrange(100, 1000)
        gone = most_lost > 0 and f not in ("read", "get") and rng.random() < lost
        most_lost -= gone
        moment = start + rng.randrange(rng.choice([1000, 20_000, LATEST])) if gone else rng.randrange(start, end)
        key = f"k{rng.randrange(keys)}" if keys > 1 else None
        asked.append((start, moment, end, process[client], f, key, value, gone))
        process[client] += clients * gone
        clock[client] = end + rng.randrange(1, 200)
    states: dict[str | None, Any] = {}
    events = []
    for start, _, end, who, f, key, value, gone in sorted(asked, key=lambda operation: operation[1]):
        states[key], kind, answer = apply(states.get(key), f, value)
        events.append(Event("invoke", f, who, time=start, key=key, value=value))
        if gone:
            events.append(Event("info", f, who, time=end, key=key, value=value, error="timed out"))
        else:
            events.append(Event(kind, f, who, time=end, key=key, value=answer))
    return sorted(events, key=lambda event: event.time or 0)


def history(model: str, **options: Any) -> History:
    """The history of `record`."""
    return from_events(record(model, **options))

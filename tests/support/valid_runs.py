"""Histories in which nothing is wrong, of every workload, in any number.

Each operation has a hidden moment between its start and its end at which it happens, on all that its object holds; one
without an answer happens then, much later, or never; one that is refused never. After all of that come final reads of
the owner and of a replica. A history is one object (or a few, for transactions) with clients of its own. Histories of
one kind that are put into one record stay valid, since all their moments lie on one line, and are checked faster.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from golden import EVERY
from object_histories import OBJECTS, counter, members, register
from simulated_cluster import SimulatedCluster
from transaction_histories import Txn, simulate
from transaction_histories import history as transactions

from checkers import Checker, Finding, History, Verdict
from checkers.choose import check_linearizability
from checkers.events import Event
from checkers.history import from_events

CLIENTS = 4
LIFE = 100_000
"""The longest time, in ns, in which a client of one history is busy; what has no answer may happen until then."""
SPAN = 10 * LIFE
REPLICA = 1_000_001

Apply = Callable[[Any, str, Any], tuple[Any, str, Any]]
"""State after an operation, how it ends, and with which value, given the state before."""
Ask = Callable[[random.Random, int, int], tuple[str, Any]]
"""Draws a function and its value for a client; the number is unique."""


class Kind(NamedTuple):
    """One workload and the checkers that are meant for it."""

    apply: Apply
    ask: Ask
    key: str
    final: tuple[str, Any] | None
    """The operation that reads the object in the end; None where nothing reads without changing."""
    checkers: dict[str, Checker]


def _some(*names: str) -> dict[str, Checker]:
    return {name: EVERY[name] for name in names}


def _model(name: str) -> dict[str, Checker]:
    return {f"linearizability ({name})": lambda history: check_linearizability(history, name)}


def group(state: Any, f: str, value: Any) -> tuple[Any, str, Any]:
    """Keys that are written and read together."""
    held = state or {}
    return (value, "ok", value) if f == "mset" else (held, "ok", {key: held.get(key) for key in value})


def lists(state: Any, f: str, value: Any) -> tuple[Any, str, Any]:
    """A list that is appended to and read."""
    held = state or ()
    verb, key, element = value[0]
    return (held, "ok", [["r", key, list(held)]]) if verb == "r" else ((*held, element), "ok", value)


def _halves(key: str, value: int | None) -> dict[str, int | None]:
    return dict.fromkeys((f"{key}:a", f"{key}:b", f"{key}:c"), value)


def _txn(key: str, value: int | None) -> list[list[Any]]:
    return [["r", key, None] if value is None else ["append", key, value]]


KINDS: dict[str, Kind] = {
    "register": Kind(
        register,
        lambda rng, c, n: rng.choice([("read", None), ("write", n)]),
        "k",
        ("read", None),
        _some("linearizability", "staleness", "sessions", "durability", "slots", "availability"),
    ),
    "group": Kind(
        group,
        lambda rng, c, n: rng.choice([("mget", _halves("{g}", None)), ("mset", _halves("{g}", n))]),
        "{g}",
        ("mget", _halves("{g}", None)),
        _some("multikey", "durability", "slots", "availability"),
    ),
    "set": Kind(
        members,
        lambda rng, c, n: rng.choice([("read", None), ("add", n)]),
        "s",
        ("read", None),
        {**_some("durability", "sets"), **_model("set")},
    ),
    "list": Kind(
        lists,
        lambda rng, c, n: ("txn", _txn("l", rng.choice([None, n]))),
        "l",
        ("txn", _txn("l", None)),
        _some("durability", "transactions"),
    ),
    "counter": Kind(
        counter,
        lambda rng, c, n: rng.choice([("read", None), ("add", rng.randrange(1, 6))]),
        "c",
        ("read", None),
        {**_some("durability"), **_model("counter")},
    ),
    "cas-register": Kind(*OBJECTS["cas-register"], "k", ("read", None), _model("cas-register")),
    "kv": Kind(*OBJECTS["kv"], "k", ("get", None), _model("kv")),
    "lock": Kind(*OBJECTS["lock"], "m", None, {**_some("locks"), **_model("lock")}),
    "queue": Kind(*OBJECTS["queue"], "q", None, {**_some("queue"), **_model("queue")}),
}
"""By name. Those of `OBJECTS` repeat their values and go to the general search."""

TRANSACTIONS = {"transactions over lists": False, "transactions over registers": True}
"""Several objects at once, strictly serializable; whether over registers."""
RUNS = {f"runs with {fault}": fault for fault in ("none", "failover", "failback", "migration")}
"""Whole runs of every workload on a simulated cluster that loses nothing."""
NAMES = [*KINDS, *TRANSACTIONS, *RUNS]


@dataclass
class Batch:
    """Histories of one kind in one record, and what is to check it."""

    histories: int
    history: History
    checkers: dict[str, Checker]

    def accusations(self) -> Iterator[tuple[str, Finding]]:
        """Findings that are not valid, by checker: each of them is a mistake."""
        for name, check in self.checkers.items():
            found = check(self.history)
            if found.verdict is not Verdict.VALID:
                yield name, found


def batch(kind: str, seed: int, histories: int, most: int = 30) -> Batch:
    """`histories` valid histories of a kind, of up to `most` operations each. Whole runs are one to a batch."""
    rng = random.Random(f"{kind}/{seed}")
    if kind in RUNS:
        return Batch(1, SimulatedCluster(seed, RUNS[kind]).run(), EVERY)
    if kind in TRANSACTIONS:
        return Batch(histories, _transactions(rng, TRANSACTIONS[kind], histories, most), _some("transactions"))
    events = _context(SPAN * 2)
    for number in range(histories):
        events += _record(rng, KINDS[kind], number, rng.randrange(2, most))
    return Batch(histories, from_events(events), KINDS[kind].checkers)


def _context(end: int) -> list[Event]:
    view = {"node": "n1", "state": "up", "role": "primary", "primary": None, "epoch": 1, "slots": [[0, 16383]]}
    phases = [("start", 0), ("stop", end), ("healed", end), ("converged", end + 1)]
    return [
        Event("info", "view", "observer", time=0, value=view),
        *(Event("info", "phase", "controller", time=time, value={"phase": name}) for name, time in phases),
    ]


class _Asked(NamedTuple):
    """An operation before anybody knows what it returns."""

    moment: int | None
    """When it happens; None if never."""
    start: int
    end: int
    outcome: str
    process: int
    f: str
    value: Any
    via: str | None = None


def _record(rng: random.Random, kind: Kind, number: int, count: int) -> list[Event]:
    """The events of one history: number `number`, so that its key and its clients are its own."""
    key = f"{kind.key}{number}" if kind.key[0] != "{" else f"{{g{number}}}"
    asked = list(_asked(rng, kind, number, count))
    if kind.final:
        f, value = kind.final
        for place, via in enumerate((None, "replica")):
            start = 2 * SPAN + 10 + 100 * number + 10 * place
            asked.append(_Asked(start, start, start + 1, "ok", REPLICA - 1 + place, f, value, via))
    state, answers = None, {}
    order = [(one.moment, place) for place, one in enumerate(asked) if one.moment is not None]
    for _, place in sorted(order):
        one = asked[place]
        state, outcome, value = kind.apply(state, one.f, one.value)
        answers[place] = (outcome if one.outcome == "ok" else one.outcome, value)
    events = []
    for place, one in enumerate(asked):
        outcome, answer = answers.get(place, (one.outcome, one.value))
        sent, value = (_renamed(part, kind.key, key) for part in (one.value, answer))
        final = one.process >= REPLICA - 1
        done = value if outcome == "ok" else sent
        events.append(
            Event("invoke", one.f, one.process, time=one.start, key=key, value=sent, final=final, via=one.via)
        )
        events.append(Event(outcome, one.f, one.process, time=one.end, key=key, value=done, final=final))
        if outcome == "ok":
            events[-1].node = "n2" if one.via else "n1"
    return events


def _asked(rng: random.Random, kind: Kind, number: int, count: int) -> Iterator[_Asked]:
    clocks = [rng.randrange(1000) for _ in range(CLIENTS)]
    lives = [0] * CLIENTS
    width = 1000 * CLIENTS
    for n in range(count):
        client = min(range(CLIENTS), key=clocks.__getitem__)
        f, value = kind.ask(rng, client, n + 1)
        start = clocks[client]
        end = start + rng.randrange(1, rng.choice((20, 2000)))
        process = number * width + client + CLIENTS * lives[client]
        outcome = rng.choices(("ok", "info", "fail"), (10, 1, 1))[0]
        reads = kind.final is not None and (f == kind.final[0] and (f != "txn" or value[0][0] == "r"))
        outcome = "fail" if reads and outcome == "info" else outcome
        moment = rng.randint(start, end) if outcome == "ok" else None
        if outcome == "info" and rng.random() < 0.6:
            moment = rng.randint(start, rng.choice((end, end + 5000, SPAN)))
        lives[client] += outcome == "info"
        clocks[client] = end + rng.randrange(1, 200)
        yield _Asked(moment, start, end, outcome, process, f, value)


def _renamed(value: Any, name: str, key: str) -> Any:
    """What an operation on the object `name` says, with the object called `key`."""
    if isinstance(value, dict):
        return {part.replace(name, key): held for part, held in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], list):
        return [[verb, key, element] for verb, _, element in value]
    return value


def _transactions(rng: random.Random, registers: bool, histories: int, most: int) -> History:
    txns: list[Txn] = []
    for number in range(histories):
        count = rng.randrange(1, most // 2)
        for txn in simulate(rng, level="strict-serializable", registers=registers, count=count):
            txn.process += number * 1000
            for micro in txn.value:
                micro[1] = f"{number}/{micro[1]}"
            txns.append(txn)
    return transactions(txns)

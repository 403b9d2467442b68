"""Cache-aside: one operation of workload `cachefill` is several steps, to the cache and to the database.

A client of another route (`bare`, `ring`, `proxy` ...) is told what to ask the cache, one command at a time, and this
machine does the rest: it loads, fills and invalidates, and writes down one operation. So it works over every route
whose clients are machines. The steps are a generator, which yields what it waits for: an operation for the cache, a
time, or the load that another client of the same process has under way.

What an operation means in the history:

* A write is `ok` when the database committed it, whatever became of its entry in the cache: `fill.entry` says that.
  It ends when the cache was asked, as the application that waits for both would see it.
* A read is `ok` when it returns something; `via` says where that came from (see `checkers.zones.FILLED`).
* A read that the cache fails is answered by the database alone (`fallback`), or fails.
* Each step has the timeout of an operation.

A load asks the database when it begins and has the answer `load` later: what others write in between it does not see,
and still puts into the cache. Flights are what `single_flight` shares: while one client loads an item, the others of
its process that miss it wait and take what it gets, also if they began after the database had answered.

Every use of the database is a step of its own: it begins when the operation is in the history, and a reading of the
clock follows it, so the recorded interval holds the moment at which it happened.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from chaos.databases import Database, Row
from chaos.operation import Doubtful, Operation, Refused
from chaos.outcomes import Outcome
from chaos.routes.machine import Effects, Machine, Task, Terms
from chaos.workloads.cachefill import NAME, CacheFill, Entry
from checkers.history import NEVER, Event
from nemeses.stream import Stream, derive, word

PAUSE_NS = 20_000
"""From the beginning of an operation to that of the next, at least: in virtual time some would take none at all."""


class Flight:
    """A load that is under way."""

    def __init__(self, begun: int) -> None:
        self.begun = begun
        self.landed: int | None = None
        """When the answer came."""
        self.row: Row | None = None
        self.error: str | None = None


class Shared(NamedTuple):
    """What the clients of one process have in common."""

    workload: CacheFill
    database: Database
    flights: dict[str, Flight]
    """Loads under way, by item; empty without `single_flight`."""


Step = Operation | Flight | int
Course = Generator[Step, Event, None]
"""The steps of one operation. An operation is answered with the event of its end, and what else it waits for with an
event that means nothing."""

_NOTHING = Event(type="ok", f="")


class Aside:
    """One client; implements `chaos.routes.machine.Machine`."""

    def __init__(
        self,
        client: int,
        seed: int,
        terms: Terms,
        effects: Effects,
        shared: Shared,
        make: Callable[[Terms, Effects], Machine],
    ) -> None:
        """`seed` is that of the client's own stream; `make` makes what takes commands to the cache."""
        self.client = client
        self.executed = 0
        self._seed = seed
        self._draws = derive(seed, "ttl")
        self._terms = terms
        self._effects = effects
        self._shared = shared
        self._task = Task()
        self._told = Effects()
        """Where the other client writes down what it does: those events are kept from the history."""
        self._told.opens, self._told.closes, self._told.sends = effects.opens, effects.closes, effects.sends
        self._other = make(replace(terms, mixture=self._task, interval_ns=0), self._told)
        self._process = client
        self._next = terms.interval_ns * client // terms.total
        self._stopped = False
        self._now = 0
        self._begun = 0
        self._course: Course | None = None
        self._awaited: Step = 0
        self._asked: list[str] = []
        """The nodes that got a command of the operation under way."""

    @property
    def wake(self) -> int:
        """See `Machine`. What others bring about (a reply, a landing) is seen here, so nobody has to tell us."""
        if self._course is None:
            return NEVER if self._stopped else self._next
        if isinstance(self._awaited, int):
            return self._awaited
        if isinstance(self._awaited, Flight):
            return NEVER if self._awaited.landed is None else 0
        return self._other.wake if self._answer is None else 0

    @property
    def finished(self) -> bool:
        """Stopped, and nothing is under way."""
        return self._stopped and self._course is None

    def stop(self) -> None:
        """Begin no further operation."""
        self._stopped = True

    def close(self) -> None:
        """Close all links, and the database."""
        self._other.close()
        self._shared.database.close()

    def adopt(self, nodes: Sequence[str]) -> None:
        """See `Machine`."""
        self._other.adopt(nodes)

    def step(self, now: int) -> None:
        """`wake` has come."""
        self._now = now
        if self._course is None:
            if not self._stopped:
                self._begin(now)
        elif not isinstance(self._awaited, Operation):
            self._go_on(_NOTHING)
        elif self._answer is None:
            self._other.step(now)
        else:
            self._go_on(self._answer)

    @property
    def _answer(self) -> Event | None:
        """How what the cache was asked ended; None as long as it is under way."""
        return self._told.events[1] if len(self._told.events) == 2 else None

    def _begin(self, now: int) -> None:
        op = self._terms.mixture.operation(self.client, self.executed, self._seed)
        self.executed += 1
        self._begun = now
        self._asked = []
        via = None if op.workload == NAME else op.via
        self._effects.events.append(
            Event(type="invoke", f=op.f, process=self._process, time=now, key=op.key, value=op.value, via=via)
        )
        steps = self._pass_on if op.workload != NAME else self._write if op.writes else self._read
        self._course = steps(op)
        self._wait_for(next(self._course))

    def _go_on(self, event: Event) -> None:
        assert self._course is not None
        try:
            step = self._course.send(event)
        except StopIteration:
            self._course = None
            # A client that went unserved again and again wants to pause, and so do we then.
            self._next = max(self._begun + max(PAUSE_NS, self._terms.interval_ns), self._other.wake)
        else:
            self._wait_for(step)

    def _wait_for(self, step: Step) -> None:
        self._awaited = step
        if isinstance(step, Operation):
            self._task.next = step
            self._told.events.clear()
            self._other.step(self._now)

    # The steps

    def _pass_on(self, op: Operation) -> Course:
        """An operation of another workload."""
        end = yield op
        end.process, end.via = self._process, self._told.events[0].via
        self._end(end)

    def _read(self, op: Operation) -> Course:
        got = yield from self._ask(op)
        found: Entry | None = got.value if got.type == "ok" else None
        if found is not None:
            via = "hit" if found.row is not None else "negative"
            return self._returned(op, found.row, via, {}, got)
        if got.type != "ok" and not self._shared.workload.fallback:
            return self._end(self._event(op, "fail", error=got.error, attempts=got.attempts))
        cost = {"error": got.error} if got.type != "ok" else {}
        flights = self._shared.flights
        if (flight := flights.get(op.routing)) is not None:
            via = "flight"
            if flight.landed is None:
                yield flight
        else:
            flight, via = Flight(self._now), "load" if got.type == "ok" else "database"
            if self._shared.workload.single_flight:
                flights[op.routing] = flight
            yield from self._load(op, flight)
            if got.type == "ok" and flight.error is None:
                yield from self._fill(op, Entry(flight.row), cost)
            flights.pop(op.routing, None)
        if flight.error is not None:
            return self._end(self._event(op, "fail", error=flight.error, fill=self._told_of(cost)))
        return self._returned(op, flight.row, via, {"load": [flight.begun, flight.landed], **cost}, None)

    def _load(self, op: Operation, flight: Flight) -> Course:
        try:
            flight.row = self._shared.database.load(str(op.key))
        except Refused as error:
            flight.error = str(error)
        yield flight.begun + self._shared.workload.load_ns
        flight.landed = self._now

    def _fill(self, op: Operation, entry: Entry, cost: dict[str, Any]) -> Course:
        draw = Stream(word(self._draws, self.executed))
        filling = self._shared.workload.filling(op, entry, draw)
        if filling is not None:
            set_, cost["ttl_ms"] = filling
            cost["entry"] = (yield from self._ask(set_)).type

    def _write(self, op: Operation) -> Course:
        yield self._now  # the operation is in the history before the database changes
        begun, workload = self._now, self._shared.workload
        try:
            version = self._shared.database.store(str(op.key), op.value)
        except (Refused, Doubtful) as error:
            yield self._now
            outcome: Outcome = "fail" if isinstance(error, Refused) else "info"
            return self._end(self._event(op, outcome, error=str(error)))
        yield self._now
        told: dict[str, Any] = {"version": version, "commit": [begun, self._now]}
        if workload.on_write == "delete":
            self._note(told, (yield from self._ask(op)))
        elif workload.on_write == "set":
            filling = workload.filling(op, Entry(Row(op.value, version)), Stream(word(self._draws, self.executed)))
            assert filling is not None
            set_, told["ttl_ms"] = filling
            self._note(told, (yield from self._ask(set_)))
        self._end(self._event(op, "ok", fill=self._told_of(told)))
        return None

    def _ask(self, op: Operation) -> Generator[Step, Event, Event]:
        end = yield op
        nodes = [end.node] if end.node is not None else [attempt["node"] for attempt in end.attempts or ()]
        self._asked += end.hops or nodes
        return end

    # What is written down

    @staticmethod
    def _note(told: dict[str, Any], end: Event) -> None:
        """What became of the entry after a write."""
        told["entry"] = end.type
        if end.error is not None:
            told["error"] = end.error

    def _told_of(self, more: dict[str, Any]) -> dict[str, Any]:
        return {"asked": self._asked, **more}

    def _returned(self, op: Operation, row: Row | None, via: str, cost: dict[str, Any], got: Event | None) -> None:
        version = {} if row is None else {"version": row.version}
        done = self._event(op, "ok", via=via, fill=self._told_of({**version, **cost}))
        done.value = None if row is None else row.value
        if got is not None:
            done.node, done.hops, done.asking = got.node, got.hops, got.asking
        self._end(done)

    def _event(self, op: Operation, outcome: Outcome, **more: Any) -> Event:
        return Event(type=outcome, f=op.f, process=self._process, time=self._now, key=op.key, value=op.value, **more)

    def _end(self, done: Event) -> None:
        self._effects.events.append(done)
        self._effects.counts[done.type] += 1
        if done.type == "info":
            self._process += self._terms.total

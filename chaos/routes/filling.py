"""Cache-aside, step by step: what one operation of workload `cachefill` asks of the cache and of the database.

The steps are a generator, whoever carries them out: a machine (`chaos.routes.aside`) or a thread with a client of
redis-py. It yields what it waits for (an operation for the cache, a time, or the load that another client of the same
process has under way), and returns the event of its end.

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

import threading
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, NamedTuple

from chaos.databases import Database, Row, connect
from chaos.operation import Doubtful, Operation, Refused
from chaos.outcomes import Outcome
from chaos.workloads.cachefill import NAME, CacheFill, Entry
from checkers.events import Event
from nemeses.stream import Stream, derive, word

if TYPE_CHECKING:
    from chaos.crew import Clock
    from chaos.job import Job


class Flight:
    """A load that is under way."""

    def __init__(self, begun: int) -> None:
        self.begun = begun
        self.landed: int | None = None
        """When the answer came."""
        self.over = threading.Event()
        """Set then, for threads that wait."""
        self.row: Row | None = None
        self.error: str | None = None

    def land(self, now: int) -> None:
        """The answer is here."""
        self.landed = now
        self.over.set()


class Shared(NamedTuple):
    """What a client has in common with the others of its process."""

    workload: CacheFill
    database: Database
    """Threads have one each."""
    flights: dict[str, Flight]
    """Loads under way, by item; empty without `single_flight`."""


Step = Operation | Flight | int
Course = Generator[Step, Event | None, Event]
"""The steps of one operation. An operation is answered with the event of its end, anything else with None. Of the event
at the end, process and time are for who carries the steps out."""


class Filler:
    """What one client does. `clock` tells the time of the step that is taken."""

    def __init__(self, seed: int, shared: Shared, clock: Clock) -> None:
        """`seed` is that of the client's own stream."""
        self._draws = derive(seed, "ttl")
        self._shared = shared
        self._clock = clock
        self._asked: list[str] = []
        """The nodes that got a command of the operation under way."""

    def course(self, op: Operation, number: int) -> Course:
        """The steps of an operation, which is the client's one of this number. Its invocation is recorded first."""
        self._asked = []
        draw = Stream(word(self._draws, number))
        return self._write(op, draw) if op.writes else self._read(op, draw)

    def close(self) -> None:
        """Close the database."""
        self._shared.database.close()

    def _read(self, op: Operation, draw: Stream) -> Course:
        got = yield from self._ask(op)
        found: Entry | None = got.value if got.type == "ok" else None
        if found is not None:
            done = self._returned(op, found.row, "hit" if found.row is not None else "negative", {})
            done.node, done.hops, done.asking = got.node, got.hops, got.asking
            return done
        if got.type != "ok" and not self._shared.workload.fallback:
            return _event(op, "fail", error=got.error, attempts=got.attempts)
        cost = {"error": got.error} if got.type != "ok" else {}
        flight, mine = self._flight(op)
        via = "flight" if not mine else "load" if got.type == "ok" else "database"
        if mine:
            yield from self._load(op, flight)
            if got.type == "ok" and flight.error is None:
                yield from self._fill(op, Entry(flight.row), cost, draw)
            self._shared.flights.pop(op.routing, None)
        elif flight.landed is None:
            yield flight
        if flight.error is not None:
            return _event(op, "fail", error=flight.error, fill=self._told(cost))
        return self._returned(op, flight.row, via, {"load": [flight.begun, flight.landed], **cost})

    def _flight(self, op: Operation) -> tuple[Flight, bool]:
        """The load of an item, and whether it is ours to do."""
        own = Flight(self._clock())
        if not self._shared.workload.single_flight:
            return own, True
        flight = self._shared.flights.setdefault(op.routing, own)  # one step, also between threads
        return flight, flight is own

    def _load(self, op: Operation, flight: Flight) -> Generator[Step, Event | None, None]:
        try:
            flight.row = self._shared.database.load(str(op.key))
        except Refused as error:
            flight.error = str(error)
        yield flight.begun + self._shared.workload.load_ns
        flight.land(self._clock())

    def _fill(
        self, op: Operation, entry: Entry, told: dict[str, Any], draw: Stream
    ) -> Generator[Step, Event | None, None]:
        """Put an entry into the cache, if it is to be kept, and note what became of it."""
        filling = self._shared.workload.filling(op, entry, draw)
        if filling is not None:
            set_, told["ttl_ms"] = filling
            _note(told, (yield from self._ask(set_)))

    def _write(self, op: Operation, draw: Stream) -> Course:
        yield self._clock()  # the operation is in the history before the database changes
        begun, on_write = self._clock(), self._shared.workload.on_write
        try:
            version = self._shared.database.store(str(op.key), op.value)
        except (Refused, Doubtful) as error:
            yield self._clock()
            return _event(op, "fail" if isinstance(error, Refused) else "info", error=str(error))
        yield self._clock()
        told: dict[str, Any] = {"version": version, "commit": [begun, self._clock()]}
        if on_write == "delete":
            _note(told, (yield from self._ask(op)))
        elif on_write == "set":
            yield from self._fill(op, Entry(Row(op.value, version)), told, draw)
        return _event(op, "ok", fill=self._told(told))

    def _ask(self, op: Operation) -> Generator[Step, Event | None, Event]:
        end = yield op
        assert end is not None
        nodes = [end.node] if end.node is not None else [attempt["node"] for attempt in end.attempts or ()]
        self._asked += end.hops or nodes
        return end

    def _told(self, more: dict[str, Any]) -> dict[str, Any]:
        return {"asked": self._asked, **more}

    def _returned(self, op: Operation, row: Row | None, via: str, cost: dict[str, Any]) -> Event:
        version = {} if row is None else {"version": row.version}
        done = _event(op, "ok", via=via, fill=self._told({**version, **cost}))
        done.value = None if row is None else row.value
        return done


def fillers(job: Job, clock: Clock) -> dict[int, Filler]:
    """One for each client of a job that runs in a thread of its own; none where no database is behind the cache."""
    if job.database is None:
        return {}
    workload, flights = CacheFill(job.workloads[NAME].options), dict[str, Flight]()
    return {
        client: Filler(seed, Shared(workload, connect(job.database), flights), clock)
        for client, seed in job.streams.items()
    }


def _note(told: dict[str, Any], end: Event) -> None:
    """What became of an entry."""
    told["entry"] = end.type
    if end.error is not None:
        told["error"] = end.error


def _event(op: Operation, outcome: Outcome, **more: Any) -> Event:
    return Event(type=outcome, f=op.f, key=op.key, value=op.value, **more)

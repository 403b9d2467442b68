"""Cache-aside by machines: a client of another route is told, one command at a time, what to ask the cache.

So it works over every route whose clients are machines and ask nodes alone (`bare`, `ring`, `proxy` ...). What is
asked, and what it means, is in `chaos.routes.filling`; operations of other workloads go to the other client as they
are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from chaos.operation import Operation
from chaos.routes.filling import Course, Filler, Flight, Shared, Step
from chaos.routes.machine import Effects, Machine, Task, Terms
from chaos.workloads.cachefill import NAME
from checkers.events import NEVER, Event

PAUSE_NS = 20_000
"""From the beginning of an operation to that of the next, at least: in virtual time some would take none at all."""


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
        self._terms = terms
        self._effects = effects
        self._filler = Filler(seed, shared, lambda: self._now)
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
        self._filler.close()

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
            self._go_on(None)
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
        self._effects.events.append(
            Event(type="invoke", f=op.f, process=self._process, time=now, key=op.key, value=op.value, via=op.via)
        )
        self._course = self._filler.course(op, self.executed) if op.workload == NAME else self._pass_on(op)
        self._wait_for(next(self._course))

    def _pass_on(self, op: Operation) -> Course:
        """An operation of another workload. How it was served, its client says when it sets out."""
        end = yield op
        assert end is not None
        end.via = self._told.events[0].via
        return end

    def _go_on(self, event: Event | None) -> None:
        assert self._course is not None
        try:
            step = self._course.send(event)
        except StopIteration as over:
            self._end(over.value)
        else:
            self._wait_for(step)

    def _wait_for(self, step: Step) -> None:
        self._awaited = step
        if isinstance(step, Operation):
            self._task.next = step
            self._told.events.clear()
            self._other.step(self._now)

    def _end(self, done: Event) -> None:
        done.process, done.time = self._process, self._now
        self._effects.events.append(done)
        self._effects.counts[done.type] += 1
        if done.type == "info":
            self._process += self._terms.total
        self._course = None
        # A client that went unserved again and again wants to pause, and so do we then.
        self._next = max(self._begun + max(PAUSE_NS, self._terms.interval_ns), self._other.wake)

"""Route `split`: each register is kept in several copies, written together and read one at a time.

The copies of `h0` are `h0` itself, `h0~1`, `h0~5` ...: the numbers are chosen so that the copies lie on as many nodes
as there are, by what the clients believe when the run begins. A read takes one copy, drawn from the client's stream;
a write goes to all of them at once, each on connections of its own, and is

* `ok` when every copy took it;
* `fail` when no copy did;
* `info` when some did, or may have: then a read returns the new value or the old one, as the copy has it.

Nothing orders two writes that overlap: they may end in different orders on different copies, which then differ until
somebody writes again. That is the price of this mitigation, and so are the writes, N times as many.

Only registers (GET and SET of one key) are split; every other operation goes where it would go without this route.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from chaos.operation import Command, Operation
from chaos.outcomes import Outcome
from chaos.routes.bare import Bare
from chaos.routes.links import Link
from chaos.routes.machine import Effects, Task, Terms
from chaos.routes.placement import Placement
from checkers.events import NEVER, Event
from nemeses.stream import Stream, derive, word

CANDIDATES = 32
"""Numbers that are tried for each copy: among so many one lies where it is wanted, unless there are many nodes."""
COPY = "copy"
"""How a read of any copy but the first is marked in the history (`via`)."""


class Copies:
    """The names of the copies of each key: the key itself and others of other nodes. The same for all clients."""

    def __init__(self, count: int, placement: Placement) -> None:
        """`placement` is what clients believe when the run begins; it is asked for the node of each name."""
        self.count = count
        self._placement = placement
        self._names: dict[str, list[str]] = {}

    def of(self, key: str) -> list[str]:
        """The names of a key's copies, the key first."""
        names = self._names.get(key)
        if names is None:
            names = self._names[key] = self._chosen(key)
        return names

    def _chosen(self, key: str) -> list[str]:
        names = [key]
        used = Counter([self._placement.place(key)])
        number = 0
        while len(names) < self.count:
            number, node = self._next(key, number, used)
            names.append(f"{key}~{number}")
            used[node] += 1
        return names

    def _next(self, key: str, number: int, used: Counter[str | None]) -> tuple[int, str | None]:
        """The next number whose name lies on a node without a copy, or on one with as few as any, and that node."""
        found = []
        for candidate in range(number + 1, number + 1 + CANDIDATES):
            node = self._placement.place(f"{key}~{candidate}")
            if not used[node]:
                return candidate, node
            found.append((candidate, node))
        return min(found, key=lambda pair: used[pair[1]])


class Lane(Bare):
    """What takes operations to one of the copies: a bare client that is told what to do, and whose events we keep."""

    def __init__(
        self, client: int, terms: Terms, placement: Placement, effects: Effects, heard: Callable[[], None]
    ) -> None:
        """`heard` is called whenever something came to the lane by one of its links."""
        self._task = Task()
        self._told = Effects()
        self._told.opens, self._told.closes, self._told.sends = effects.opens, effects.closes, effects.sends
        self._heard = heard
        super().__init__(client, 0, replace(terms, mixture=self._task, interval_ns=0), placement, self._told)

    def begin(self, operation: Operation, now: int) -> None:
        """Set out; perhaps the map has to be asked for first."""
        self._task.next = operation
        self._told.events.clear()
        self.step(now)

    @property
    def end(self) -> Event | None:
        """How the operation ended; None as long as it is under way."""
        return self._told.events[1] if len(self._told.events) == 2 else None

    def received(self, link: Link, data: bytes, now: int) -> None:
        """See `Linked`."""
        super().received(link, data, now)
        self._heard()

    def lost(self, link: Link, error: Exception, now: int) -> None:
        """See `Linked`."""
        super().lost(link, error, now)
        self._heard()


class Split:
    """One client; implements `chaos.routes.machine.Machine`."""

    def __init__(
        self, client: int, seed: int, terms: Terms, placements: Sequence[Placement], copies: Copies, effects: Effects
    ) -> None:
        """`seed` is that of the client's own stream; there is one of `placements` for each copy."""
        self.client = client
        self.executed = 0
        self.wake = terms.interval_ns * client // terms.total
        self._seed = seed
        self._draws = derive(seed, COPY)
        self._terms = terms
        self._copies = copies
        self._effects = effects
        self._lanes = [Lane(client, terms, placement, effects, self._look) for placement in placements]
        self._process = client
        self._stopped = False
        self._op: Operation
        self._begun = 0
        self._busy: list[Lane] = []
        """The lanes that the operation under way uses, by number of the copy."""

    @property
    def finished(self) -> bool:
        """Stopped, and nothing is under way."""
        return self._stopped and not self._busy

    def stop(self) -> None:
        """Begin no further operation."""
        self._stopped = True

    def close(self) -> None:
        """Close all links."""
        for lane in self._lanes:
            lane.close()

    def adopt(self, nodes: Sequence[str]) -> None:
        """See `Machine`. The copies keep their names."""
        for lane in self._lanes:
            lane.adopt(nodes)

    def step(self, now: int) -> None:
        """`wake` has come."""
        for lane in self._busy:
            if lane.end is None and lane.wake <= now:
                lane.step(now)
        ends = [lane.end for lane in self._busy]
        if ends and all(ends):
            self._finish([end for end in ends if end is not None], now)
        if not self._busy and self.wake <= now:
            self._rested(now)
        self._look()

    def _look(self) -> None:
        """When to act next: at once when every lane that is under way has come back."""
        if self._busy:
            self.wake = min((lane.wake for lane in self._busy if lane.end is None), default=0)

    def _rested(self, now: int) -> None:
        if self._stopped:
            self.wake = NEVER
            return
        op = self._op = self._terms.mixture.operation(self.client, self.executed, self._seed)
        errand, via = self._plan(op)
        self.executed += 1
        self._begun = now
        about: dict[str, Any] = {"f": op.f, "process": self._process, "key": op.key, "value": op.value}
        self._effects.events.append(Event(type="invoke", time=now, via=via, **about))
        self._busy = [lane for lane, _ in errand]
        for lane, operation in errand:
            lane.begin(operation, now)

    def _plan(self, op: Operation) -> tuple[list[tuple[Lane, Operation]], str | None]:
        """Which lane is to do what, and how the invocation is marked."""
        if op.commands[0][0] not in ("GET", "SET"):
            return [(self._lanes[0], op)], op.via
        names = self._copies.of(op.routing)
        if op.writes:
            return [(lane, _of_copy(op, name)) for lane, name in zip(self._lanes, names, strict=True)], op.via
        number = Stream(word(self._draws, self.executed)).below(len(names))
        return [(self._lanes[number], _of_copy(op, names[number]))], op.via if number == 0 else COPY

    def _finish(self, ends: list[Event], now: int) -> None:
        """Every lane has come back: what is written down is what became of all copies together."""
        op, first = self._op, ends[0]
        outcome = _outcome({end.type for end in ends})
        asked = [node for end in ends for node in end.hops or _node(end)]
        done = Event(
            type=outcome,
            f=op.f,
            process=self._process,
            time=now,
            key=op.key,
            value=first.value if outcome == "ok" else op.value,
            node=first.node,
            hops=asked if len(asked) > 1 else None,
            asking=first.asking,
            error=_error(ends),
            attempts=[attempt for end in ends for attempt in end.attempts or ()] or None,
        )
        if outcome == "ok" and first.acked is not None:
            done.acked = min(end.acked or 0 for end in ends)
        self._effects.events.append(done)
        self._effects.counts[outcome] += 1
        if outcome == "info":
            self._process += self._terms.total
        # A lane that went unserved again and again wants to pause, and so do we then.
        self.wake = max(self._begun + self._terms.interval_ns, *(lane.wake for lane in self._busy))
        self._busy = []


def _outcome(outcomes: set[str]) -> Outcome:
    if outcomes == {"ok"}:
        return "ok"
    return "fail" if outcomes == {"fail"} else "info"


def _node(end: Event) -> list[str]:
    """Who was asked, whether it answered or not."""
    return [end.node] if end.node is not None else [attempt["node"] for attempt in end.attempts or ()]


def _of_copy(op: Operation, name: str) -> Operation:
    return op._replace(routing=name, commands=tuple(_renamed(command, op.routing, name) for command in op.commands))


def _renamed(command: Command, key: str, name: str) -> Command:
    return (command[0], name, *command[2:]) if command[1] == key else command


def _error(ends: list[Event]) -> str | None:
    """What went wrong, and with which copies."""
    bad = [(number, end) for number, end in enumerate(ends) if end.type != "ok"]
    if not bad or len(ends) == 1:
        return ends[0].error
    number, end = bad[0]
    return f"{len(ends) - len(bad)} of {len(ends)} copies took it; copy {number}: {end.error}"

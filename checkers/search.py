"""General linearizability: looks for an order of the operations that a sequential model allows.

After Wing and Gong ("Testing and verifying concurrent objects", 1993) as improved by Lowe ("Testing for
linearizability", 2017): the search remembers *configurations* (the state of the object, and which of the operations
still open have been placed) and carries all of them from completion to completion. At each completion those
operations are placed, *just in time*, that must happen before the completing one can. The question is NP-complete;
what keeps it small in practice:

* States are numbered, and each step of the model is taken once. Sets of open operations are bits of an integer.
* An operation that never returned need never be placed. So of two configurations that agree in the state and in the
  placed operations that will return, the one that has used fewer of those that will not is enough.
* Nor is one placed whose effect is overwritten before anything could see it.
* A read changes nothing, so it is placed as soon as it fits, and a configuration that has placed more reads is as good.
* Open operations that are equal are interchangeable: the one that returns first is placed first, and of those that
  never return the oldest.
* A model may tell that the next result to be explained cannot come about any more (`Model.leads_to`).
* Once every result is explained, what is left is possible in any order.

What limits it: many operations open at once whose order leaves different states behind that nothing reads for a while.
"""

from __future__ import annotations

import sys
import time
from bisect import insort
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from checkers.events import NEVER
from checkers.finding import Verdict
from checkers.models import INCONSISTENT, UNSEEN, Call, Model, Step

_WIDTHS = (1, 2, 4, 8, 16, 32, sys.maxsize)
"""Configurations to carry from one completion to the next. An order that is found proves the history legal however
few were carried; only when none is found are more needed, and in the end all."""
_LOOK_EVERY = 256
"""Configurations between two looks at the clock."""
_CONFIGURATION_BYTES = 300
"""Roughly what one configuration with its trace costs, found by measuring."""
_STEP_BYTES = 150
_FORGET_AT = 20_000
"""States that are kept before those that no configuration is in any more are forgotten."""
_MOST_PAIRS = 1_000_000
"""Up to so many pairs of a result and a change are looked at to find a result that nothing can have led to."""
_SECOND_LOOK_S = 0.25
"""Most that is spent on saying more exactly where an illegal history goes wrong."""


@dataclass
class Budget:
    """What a search may spend; several searches can share one."""

    deadline: float
    """On `time.monotonic`."""
    most_bytes: int = 2**30
    """An estimate is held against it, since Python does not say what a search costs."""
    seconds: float = 0.0
    """What was granted, for the words."""

    @classmethod
    def of(cls, seconds: float, most_bytes: int = 2**30) -> Budget:
        """So many seconds from now."""
        return cls(time.monotonic() + seconds, most_bytes, seconds)

    def exhausted(self, used_bytes: int) -> str | None:
        """Why a search has to give up now, or None."""
        if time.monotonic() > self.deadline:
            return f"out of budget: {self.seconds:g} s were not enough"
        if used_bytes > self.most_bytes:
            return f"out of budget: more than {self.most_bytes / 2**20:.0f} MiB of configurations"
        return None


@dataclass
class Outcome:
    """What a search found out about one object."""

    verdict: Verdict
    reason: str | None = None
    """Why the verdict is unknown."""
    order: list[int] = field(default_factory=list)
    """Of an illegal history the longest legal prefix: names of the operations in an order that the model allows."""
    stuck: list[int] = field(default_factory=list)
    """Of an illegal history the names of the operations that returned and find no place after that prefix."""
    states: list[Any] = field(default_factory=list)
    """States that the object can have been in when the search ended, in no special order; none when the first of
    `stuck` is not possible after any operations at all."""
    configurations: int = 0
    """How many were looked at: the measure of the work."""
    exact: bool = True
    """Whether `stuck` begins with the first operation to return that has no place left; else with a later one, which
    no order that was followed could reach any more."""


def search(model: Model, calls: Iterable[Call], initial: Hashable, budget: Budget) -> Outcome:
    """Decide whether these calls of one object are linearizable, from a state.

    Calls that did not happen, and reads without a result, must be left out. Equal times are concurrent. The verdict
    is unknown only when the budget ran out.
    """
    ordered = sorted(calls, key=lambda call: call.start)
    model = model.specialised(ordered)
    foresees = type(model).leads_to is not Model.leads_to
    work = 0
    for width in _WIDTHS:
        attempt = _Search(model, ordered, initial, budget, foresees, width)
        outcome = attempt.run()
        work += outcome.configurations
        if outcome.verdict is not Verdict.INVALID or not attempt.narrowed:
            break
        if width == _WIDTHS[0] and (impossible := attempt.impossible()) is not None:
            outcome.stuck, outcome.states, outcome.exact = [ordered[impossible].name], [], False
            break
    if outcome.verdict is Verdict.INVALID and not outcome.exact:
        brief = Budget(min(budget.deadline, time.monotonic() + _SECOND_LOOK_S), budget.most_bytes)
        plain = _Search(model, ordered, initial, brief, foresees=False, width=_WIDTHS[-1]).run()
        work += plain.configurations
        if plain.verdict is Verdict.INVALID:
            outcome = plain
    outcome.configurations = work
    return outcome


class _GaveUp(Exception):
    """The budget ran out; the message is the reason."""


_Trace = tuple[Any, tuple[int, ...]] | None
"""What was placed, newest first: (what was placed before, numbers of the calls placed then)."""
_Store = dict[tuple[int, int], dict[int, _Trace]]
"""Configurations by (state, placed calls that will return), and by debt.

The *debt* of a configuration is an integer: the bits of open reads that are not placed yet and of calls that will
never return and are placed all the same. Of two with the same key, one whose debt is a subset of the other's is enough.
"""


_Move = tuple[int, int, bool, list[tuple[int, int, int]]]
"""State after a call, bits of the reads that it answers, whether the call overwrites, and the calls of the class."""


class _Search:
    def __init__(
        self, model: Model, calls: Sequence[Call], initial: Hashable, budget: Budget, foresees: bool, width: int
    ) -> None:
        self.model, self.calls, self.budget, self.foresees = model, calls, budget, foresees
        self.width, self.initial = width, initial
        self.narrowed = False  # whether configurations were left out because there were enough
        self.classes: dict[Step, int] = {}
        self.class_of = [self._class(call) for call in calls]
        self.steps_of = list(self.classes)
        self.reading = [call.f in model.reads for call in calls]
        self.bits = [0] * len(calls)
        self.free: list[int] = []
        self.highest = 0
        self.states: list[Hashable] = [initial]
        self.numbers: dict[Hashable, int] = {initial: 0}
        self.next: list[dict[int, int]] = [{}]
        self.bytes = 0
        self.work = 0
        self.configurations: _Store = {(0, 0): {0: None}}
        self.open: dict[int, list[tuple[int, int, int]]] = {}  # class: (end, number, bit) of calls that are no reads
        self.open_reads: dict[int, tuple[int, int]] = {}  # number: (bit, class)
        self.never = 0  # bits of calls that will not return
        self.targets = sorted(
            (n for n, call in enumerate(calls) if call.end != NEVER and call.f not in model.blind),
            key=lambda n: calls[n].end,
        )
        self.explained = 0  # how many targets have returned
        self.invoked = 0
        self.hopeless: int | None = None  # the target that configurations were last left out for
        self.foreseen: dict[int, tuple[list[Step], dict[int, bool]]] = {}

    def run(self) -> Outcome:
        """Carry the configurations from completion to completion."""
        events = [(call.start, 0, n) for n, call in enumerate(self.calls)]
        events += [(call.end, 1, n) for n, call in enumerate(self.calls) if call.end != NEVER]
        events.sort()
        fresh: list[int] = []
        try:
            for _, returns, n in events:
                if self.explained == len(self.targets):
                    break
                if not returns:
                    self._invoke(n)
                    if self.reading[n]:
                        fresh.append(n)
                    continue
                self._enter(fresh)
                fresh.clear()
                before = self.configurations
                reached = self._settle(n)
                if not self.configurations:
                    return self._illegal(n, before, reached)
                self._retire(n)
                if len(self.states) > _FORGET_AT:
                    self._forget()
        except _GaveUp as gave_up:
            return Outcome(Verdict.UNKNOWN, str(gave_up), configurations=self.work)
        return Outcome(Verdict.VALID, configurations=self.work)

    def impossible(self) -> int | None:
        """The first call that returned what nothing before its end can have led to, in any order; None without one."""
        changes = [n for n in range(len(self.calls)) if not self.reading[n]]
        if not self.foresees or len(changes) * len(self.targets) > _MOST_PAIRS:
            return None
        for target in self.targets:
            limit = self.calls[target].end
            others = [self.steps_of[self.class_of[n]] for n in changes if n != target and self.calls[n].start <= limit]
            if not self.model.leads_to(self.initial, self.steps_of[self.class_of[target]], others):
                return target
        return None

    # -- operations that open and close --

    def _class(self, call: Call) -> int:
        """Calls of one class are interchangeable. Whether a blind one returned makes no difference to the object."""
        blind = call.f in self.model.blind
        step = (call.f, call.value_in, UNSEEN if blind else call.value_out)
        return self.classes.setdefault(step, len(self.classes))

    def _invoke(self, n: int) -> None:
        self.invoked = n + 1
        bit = self.free.pop() if self.free else 1 << self.highest
        self.highest = max(self.highest, bit.bit_length())
        self.bits[n] = bit
        if self.reading[n]:
            self.open_reads[n] = (bit, self.class_of[n])
            return
        if self.calls[n].end == NEVER:
            self.never |= bit
        insort(self.open.setdefault(self.class_of[n], []), (self.calls[n].end, n, bit))

    def _enter(self, reads: list[int]) -> None:
        """Let newly invoked reads into all configurations: placed where they fit, owed where they do not."""
        if not reads:
            return
        news = [(n, self.bits[n], self.class_of[n]) for n in reads]
        entered: _Store = {}
        for (state, mask), found in self.configurations.items():
            owed = sum(bit for _, bit, kind in news if self._step(state, kind) != state)
            placed = tuple(n for n, bit, _ in news if not bit & owed)
            entered[state, mask] = {d | owed: (trace, placed) if placed else trace for d, trace in found.items()}
        self.configurations = entered

    def _retire(self, n: int) -> None:
        self.free.append(self.bits[n])
        if self.reading[n]:
            del self.open_reads[n]
        else:
            kind = self.class_of[n]
            left = [entry for entry in self.open[kind] if entry[1] != n]
            if left:
                self.open[kind] = left
            else:
                del self.open[kind]
        if self.targets[self.explained] == n:  # targets and events are in the same order
            self.foreseen.pop(n, None)
            self.explained += 1

    # -- the search --

    def _settle(self, n: int) -> set[int]:
        """Place call `n`, which returns now, in every configuration, and whatever has to come before it.

        Leaves the configurations in which it is placed (and no longer open) in `self.configurations`. Returns the
        states that were passed through.
        """
        bit, reading, never = self.bits[n], self.reading[n], self.never
        settled: _Store = {}
        seen: _Store = {}
        levels: dict[int, list[tuple[int, int, int, _Trace, bool]]] = {}  # by number of calls used that never return
        moves_from: dict[int, list[_Move]] = {}
        reached: set[int] = set()
        for (state, mask), found in self.configurations.items():
            for debt, trace in found.items():
                if reading and not debt & bit:
                    _add(settled, (state, mask), debt, trace)
                elif mask & bit:
                    _add(settled, (state, mask ^ bit), debt, trace)
                elif _add(seen, (state, mask), debt, trace):
                    levels.setdefault((debt & never).bit_count(), []).append((state, mask, debt, trace, False))
        while levels:
            if len(settled) >= self.width:
                self.narrowed = True
                break
            level = min(levels)
            state, mask, debt, trace, unobserved = levels[level].pop()
            if not levels[level]:
                del levels[level]
            if debt not in seen[state, mask]:
                continue  # one that is as good has been found meanwhile
            self.work += 1
            if self.work % _LOOK_EVERY == 0:
                self._look(len(seen) + len(settled))
            moves = moves_from.get(state)
            if moves is None:
                moves = moves_from[state] = self._moves(state)
            used = mask | debt
            for after, fit, overwrites, members in moves:
                if unobserved and overwrites:
                    continue
                for entry in members:
                    if not used & entry[2]:
                        break
                else:
                    continue
                _, number, other = entry
                owed, masked = debt & ~fit, mask
                lost = other & never
                if lost:
                    if after == state:
                        continue
                    owed |= other
                elif other != bit:
                    masked |= other
                done = other == bit or (reading and not owed & bit)
                store = settled if done else seen
                if _is_no_better(store, (after, masked), owed):
                    continue
                if self.foresees and not self._leads_on(after, masked, owed, n, done):
                    reached.add(after)
                    continue
                names: tuple[int, ...] = (number,)
                if debt & fit:
                    names += tuple(read for read, (place, _) in self.open_reads.items() if place & debt & fit)
                placed = (trace, names)
                _put(store, (after, masked), owed, placed)
                if not done:
                    new_level = levels.setdefault((owed & never).bit_count(), [])
                    new_level.append((after, masked, owed, placed, bool(lost and not debt & fit)))
        self.configurations = settled
        return reached.union(moves_from)

    def _moves(self, state: int) -> list[_Move]:
        """What can be placed next in a state: for each class of open calls the state after it and which reads fit."""
        moves = []
        for kind, members in self.open.items():
            after = self._step(state, kind)
            if after >= 0:
                fit = self._fit(after) if after != state else 0
                moves.append((after, fit, self.steps_of[kind][0] in self.model.overwrites, members))
        return moves

    def _step(self, state: int, kind: int) -> int:
        """Number of the state after a call of this class, -1 when it is not possible."""
        known = self.next[state].get(kind)
        if known is not None:
            return known
        after = self.model.step(self.states[state], *self.steps_of[kind])
        if after is INCONSISTENT:
            number = -1
        else:
            number = self.numbers.setdefault(after, len(self.states))
            if number == len(self.states):
                self.states.append(after)
                self.next.append({})
                self.bytes += sys.getsizeof(after) + _STEP_BYTES
        self.next[state][kind] = number
        self.bytes += _STEP_BYTES
        return number

    def _fit(self, state: int) -> int:
        """Bits of the open reads that a state answers."""
        return sum(bit for bit, kind in self.open_reads.values() if self._step(state, kind) == state)

    def _leads_on(self, state: int, mask: int, debt: int, n: int, done: bool) -> bool:
        """Whether the next result that is not explained yet can still come about."""
        for place in range(self.explained, len(self.targets)):
            target = self.targets[place]
            bit = self.bits[target]
            if done if target == n else bit and (mask & bit or (target in self.open_reads and not debt & bit)):
                continue
            others, known = self.foreseen.get(target) or self._foresee(target)
            answer = known.get(state)
            if answer is None:
                step = self.steps_of[self.class_of[target]]
                answer = known[state] = self.model.leads_to(self.states[state], step, others)
            if not answer:
                self.hopeless = target
            return answer
        return True

    def _foresee(self, target: int) -> tuple[list[Step], dict[int, bool]]:
        """The calls that may happen before `target` does: those that are open, and those that begin before it ends."""
        limit = self.calls[target].end
        numbers = {number for members in self.open.values() for _, number, _ in members}
        for later in range(self.invoked, len(self.calls)):
            if self.calls[later].start > limit:
                break
            if not self.reading[later]:
                numbers.add(later)
        numbers.discard(target)
        others = [self.steps_of[self.class_of[number]] for number in numbers]
        self.foreseen[target] = others, {}
        return self.foreseen[target]

    # -- what it costs --

    def _look(self, configurations: int) -> None:
        reason = self.budget.exhausted(self.bytes + configurations * _CONFIGURATION_BYTES)
        if reason:
            raise _GaveUp(reason)

    def _forget(self) -> None:
        """Number anew only the states that some configuration is in."""
        old = self.states
        live = {state: place for place, state in enumerate(dict.fromkeys(state for state, _ in self.configurations))}
        self.configurations = {(live[state], mask): found for (state, mask), found in self.configurations.items()}
        self.states = [old[state] for state in live]
        self.numbers = {state: number for number, state in enumerate(self.states)}
        self.next = [{} for _ in live]
        self.foreseen.clear()
        self.bytes = sum(map(sys.getsizeof, self.states))

    # -- what is said of an illegal history --

    def _illegal(self, n: int, before: _Store, reached: set[int]) -> Outcome:
        orders = [_order(trace) for found in before.values() for trace in found.values()]
        longest = max(orders, key=len)
        first = n if self.hopeless is None else self.hopeless
        stuck = [first, *(number for number in self._still_open() if number not in {first, *longest})]
        return Outcome(
            Verdict.INVALID,
            order=[self.calls[number].name for number in longest],
            stuck=[self.calls[number].name for number in stuck],
            states=[self.states[state] for state in sorted(reached)],
            configurations=self.work,
            exact=self.hopeless is None,
        )

    def _still_open(self) -> list[int]:
        """Calls that will return and have not yet, by end."""
        numbers = [number for members in self.open.values() for end, number, _ in members if end != NEVER]
        return sorted([*numbers, *self.open_reads], key=lambda number: self.calls[number].end)


def _is_no_better(store: _Store, key: tuple[int, int], debt: int) -> bool:
    """Whether a configuration that is as good is there."""
    found = store.get(key)
    if found is not None:
        for other in found:
            if other & debt == other:
                return True
    return False


def _put(store: _Store, key: tuple[int, int], debt: int, trace: _Trace) -> None:
    """Add a configuration, and drop those that it is better than."""
    found = store.setdefault(key, {})
    for worse in [other for other in found if other & debt == debt]:
        del found[worse]
    found[debt] = trace


def _add(store: _Store, key: tuple[int, int], debt: int, trace: _Trace) -> bool:
    """Add a configuration unless one that is as good is there."""
    if _is_no_better(store, key, debt):
        return False
    _put(store, key, debt, trace)
    return True


def _order(trace: _Trace) -> list[int]:
    """The numbers of the calls in the order in which a trace placed them."""
    groups = []
    while trace is not None:
        trace, numbers = trace
        groups.append(numbers)
    return [number for numbers in reversed(groups) for number in numbers]

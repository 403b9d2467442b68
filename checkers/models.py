"""Sequential models: what an object does when one operation happens at a time.

A model of one's own takes a few lines, and `checkers.search` decides histories against it:

>>> class Highest(Model):
...     name, functions = "highest", frozenset({"raise", "read"})
...     reads, blind, initial = frozenset({"read"}), frozenset({"raise"}), 0
...     def step(self, state, f, value_in, value_out):
...         if f == "raise":
...             return max(state, value_in)
...         return state if value_out in (state, UNSEEN) else INCONSISTENT
>>> Highest().step(3, "raise", 2, 2), Highest().step(3, "read", None, 2)
(3, INCONSISTENT)

States and values are hashable: lists of a history arrive as tuples, tables as sorted tuples of pairs (see `freeze`).
"""

from __future__ import annotations

import abc
import enum
from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from checkers.events import OK
from checkers.history import History


class _Mark(enum.Enum):
    INCONSISTENT = "inconsistent"
    UNSEEN = "unseen"

    def __repr__(self) -> str:
        return self.name


INCONSISTENT: Final = _Mark.INCONSISTENT
"""What `step` returns when the operation cannot have happened in that state with that result."""
UNSEEN: Final = _Mark.UNSEEN
"""The result (`value_out`) of an operation whose answer nobody saw."""

Step = tuple[str, Any, Any]
"""An operation as a model sees it: function, what it was asked with, what it returned (or `UNSEEN`)."""


class Call(NamedTuple):
    """An operation of one object in time. `end` is `NEVER` when nobody knows whether it happened."""

    name: int
    """What the caller knows it by."""
    start: int
    end: int
    f: str
    value_in: Any
    value_out: Any


class Model(abc.ABC):
    """An object that one operation at a time works on.

    A history keeps one value per operation, the completion's where it is known to have happened; so `value_in` and
    `value_out` are the same for an operation that returned, and `value_out` is `UNSEEN` for one that may not have.
    """

    name: str
    functions: frozenset[str]
    """The functions that it has; an operation with another one is none of this object."""
    reads: frozenset[str] = frozenset()
    """Functions that never change the state. Naming them makes the search faster."""
    blind: frozenset[str] = frozenset()
    """Functions that are possible in every state and return nothing. Naming them makes the search faster."""
    overwrites: frozenset[str] = frozenset()
    """Functions that are possible in every state and leave the same one behind. Naming them, too."""
    initial: Hashable = None
    """The state before the first operation, unless the history's own is given."""

    @abc.abstractmethod
    def step(self, state: Any, f: str, value_in: Any, value_out: Any) -> Hashable:
        """The state after one operation, or `INCONSISTENT`. Must depend on nothing but its arguments."""

    def state(self, value: Any) -> Hashable:
        """The state that a value (of `--initial`, as JSON has it) stands for."""
        return freeze(value)

    def specialised(self, calls: Sequence[Call]) -> Model:
        """A model that gives the same verdicts on a history of just these operations.

        This one, by default. One that maps the states that no result of the history tells apart to a single state
        spares the search what does not matter.
        """
        return self

    def leads_to(self, state: Any, target: Step, others: Sequence[Step]) -> bool:
        """Whether `target` may become possible after `state` when only some of `others` happen in between.

        `target` returned something, and is of no blind function. True when in doubt, as here: a model that can tell
        spares the search the orders that lead nowhere.
        """
        return True

    def show(self, state: Any) -> str:
        """A state in words, for explanations."""
        return shown(state)


class Register(Model):
    """A value that is read and overwritten."""

    name = "register"
    functions = frozenset({"read", "write"})
    reads = frozenset({"read"})
    blind = frozenset({"write"})
    overwrites = frozenset({"write"})

    def step(self, state: Any, f: str, value_in: Any, value_out: Any) -> Hashable:
        """`write` v; `read` v."""
        if f == "write":
            return freeze(value_in)
        held: Hashable = state
        return held if value_out in (held, UNSEEN) else INCONSISTENT

    def leads_to(self, state: Any, target: Step, others: Sequence[Step]) -> bool:
        """Whether the value wanted is there or can still be written."""
        f, value_in, value_out = target
        wanted = value_in[0] if f == "cas" else value_out
        return wanted == state or any(wanted == (to[1] if g == "cas" else to) for g, to, _ in others)


class CasRegister(Register):
    """A register that can also be compared and set; a comparison that failed is an operation that failed."""

    name = "cas-register"
    functions = frozenset({"read", "write", "cas"})

    def step(self, state: Any, f: str, value_in: Any, value_out: Any) -> Hashable:
        """`cas` [old, new], and what a register does."""
        if f != "cas":
            return super().step(state, f, value_in, value_out)
        old, new = value_in
        return freeze(new) if old == state else INCONSISTENT


class Kv(Model):
    """A string that is read, overwritten and appended to. Absent and empty are one: recorders write either."""

    name = "kv"
    functions = frozenset({"get", "put", "append"})
    reads = frozenset({"get"})
    blind = frozenset({"put", "append"})
    overwrites = frozenset({"put"})
    initial = ""

    def __init__(self, seen: Iterable[str] | None = None) -> None:
        """`seen` are all strings that a history's operations returned, where they are known."""
        self.seen = None if seen is None else sorted(seen)

    def step(self, state: Any, f: str, value_in: Any, value_out: Any) -> Hashable:
        """`get` s; `put` s; `append` s."""
        if f == "put":
            return self._known(_text(value_in))
        if f == "append":
            return state if state is UNSEEN else self._known(state + _text(value_in))
        held: Hashable = state
        return held if value_out is UNSEEN or _text(value_out) == held else INCONSISTENT

    def specialised(self, calls: Sequence[Call]) -> Model:
        """All strings that no result of the history begins with are one state, `UNSEEN`: only a `put` ends it."""
        return Kv({_text(call.value_out) for call in calls if call.f == "get"})

    def _known(self, text: str) -> Hashable:
        if self.seen is None:
            return text
        place = bisect_left(self.seen, text)  # strings that begin with `text` follow each other from here
        return text if place < len(self.seen) and self.seen[place].startswith(text) else UNSEEN

    def state(self, value: Any) -> Hashable:
        """The string itself."""
        return _text(value)

    def leads_to(self, state: Any, target: Step, others: Sequence[Step]) -> bool:
        """Whether what is there, or what can still be put there, is a beginning of the string wanted."""
        wanted = _text(target[2])
        if state is not UNSEEN and wanted.startswith(state):
            return True
        return any(f == "put" and wanted.startswith(_text(put)) for f, put, _ in others)

    def show(self, state: Any) -> str:
        """The string."""
        return "something that nobody got" if state is UNSEEN else shown(state)


class Set(Model):
    """A set that elements are added to and that is read as a whole."""

    name = "set"
    functions = frozenset({"add", "read"})
    reads = frozenset({"read"})
    blind = frozenset({"add"})
    initial: Hashable = frozenset()

    def step(self, state: Any, f: str, value_in: Any, value_out: Any) -> Hashable:
        """`add` v; `read` [v, ...] in any order."""
        elements: frozenset[Any] = state
        if f == "add":
            return elements if value_in in elements else elements | {value_in}
        return elements if value_out is UNSEEN or elements == frozenset(value_out or ()) else INCONSISTENT

    def state(self, value: Any) -> Hashable:
        """The elements of a list."""
        return frozenset(map(freeze, value or ()))

    def leads_to(self, state: Any, target: Step, others: Sequence[Step]) -> bool:
        """Whether nothing is there that is not wanted, and what is wanted can still be added."""
        wanted = frozenset(target[2] or ())
        elements: frozenset[Any] = state
        return elements <= wanted <= elements.union(element for _, element, _ in others)

    def show(self, state: Any) -> str:
        """The elements in order."""
        return "{" + ", ".join(sorted(map(shown, state))) + "}"


class Counter(Model):
    """A number that amounts are added to. Absent and 0 are one."""

    name = "counter"
    functions = frozenset({"add", "read"})
    reads = frozenset({"read"})
    blind = frozenset({"add"})
    initial = 0

    def step(self, state: Any, f: str, value_in: Any, value_out: Any) -> Hashable:
        """`add` n; `read` n."""
        total: int = state
        if f == "add":
            return total + int(value_in)
        return total if value_out is UNSEEN or (value_out or 0) == total else INCONSISTENT

    def state(self, value: Any) -> Hashable:
        """The number itself, 0 for null."""
        return 0 if value is None else int(value)

    def leads_to(self, state: Any, target: Step, others: Sequence[Step]) -> bool:
        """Whether the amounts that can still be added reach from here to the number wanted."""
        missing = (target[2] or 0) - state
        fewest = sum(min(amount, 0) for _, amount, _ in others)
        return bool(fewest <= missing <= sum(max(amount, 0) for _, amount, _ in others))


class Lock(Model):
    """A lock that one holder has, by token; it does not expire (see `checkers.locks` for those that do)."""

    name = "lock"
    functions = frozenset({"acquire", "release"})

    def step(self, state: Any, f: str, value_in: Any, value_out: Any) -> Hashable:
        """`acquire` token; `release` token (null where the history has no tokens). The state is (token,) or None."""
        if f == "acquire":
            return (freeze(value_in),) if state is None else INCONSISTENT
        return None if state == (value_in,) else INCONSISTENT

    def state(self, value: Any) -> Hashable:
        """Held by this token; null is free."""
        return None if value is None else (freeze(value),)

    def show(self, state: Any) -> str:
        """Who holds it."""
        return "free" if state is None else "held" if state == (None,) else f"held by {shown(state[0])}"


class Queue(Model):
    """First in, first out. A `dequeue` of null found it empty."""

    name = "queue"
    functions = frozenset({"enqueue", "dequeue"})
    blind = frozenset({"enqueue"})
    initial = ()

    def __init__(self, taken: Mapping[Hashable, tuple[int, int]] | None = None) -> None:
        """`taken` says when each element was dequeued, where that is known: the start and the end."""
        self.taken = taken or {}

    def step(self, state: Any, f: str, value_in: Any, value_out: Any) -> Hashable:
        """`enqueue` v; `dequeue` v, or null when it is empty."""
        waiting: tuple[Any, ...] = state
        if f == "enqueue":
            return (*waiting, value_in)
        if value_out is UNSEEN:
            return waiting[1:]
        if value_out is None:
            return INCONSISTENT if waiting else waiting
        return waiting[1:] if waiting[:1] == (value_out,) else INCONSISTENT

    def state(self, value: Any) -> Hashable:
        """The elements of a list, first in first."""
        return tuple(map(freeze, value or ()))

    def specialised(self, calls: Sequence[Call]) -> Model:
        """Knows when each element was taken, so that those that left in an order must have come in that order."""
        entered = Counts(call.value_in for call in calls if call.f == "enqueue")
        gone = [call for call in calls if call.f == "dequeue" and entered[call.value_out] == 1]
        left = Counts(call.value_out for call in gone)
        return Queue({call.value_out: (call.start, call.end) for call in gone if left[call.value_out] == 1})

    def leads_to(self, state: Any, target: Step, others: Sequence[Step]) -> bool:
        """Whether what waits in front of the element wanted can still be taken away."""
        if state and state[-1] in self.taken:
            taken_by = self.taken[state[-1]][1]
            if any(element in self.taken and taken_by < self.taken[element][0] for element in state[:-1]):
                return False
        wanted = target[2]
        front = state[: state.index(wanted)] if wanted in state else state
        if wanted is not None and wanted not in state and ("enqueue", wanted) not in {(f, v) for f, v, _ in others}:
            return False
        taken = [out for f, _, out in others if f == "dequeue"]
        return taken.count(UNSEEN) >= sum(element not in taken for element in front)


MODELS: dict[str, Callable[[], Model]] = {
    model.name: model for model in (Register, CasRegister, Kv, Set, Counter, Lock, Queue)
}
"""The models by the names that `--model` takes."""


def guess_model(history: History) -> str | None:
    """The name of the model that a history is of, when its functions and values leave no doubt; else None.

    `add` and `read` are a set when the reads returned lists and a counter when they returned numbers.
    """
    operations = history.operations
    used = {operations.functions[code] for code in set(operations.f.tolist())}
    fitting = [name for name, model in MODELS.items() if used and used <= model().functions]
    if not fitting or used == {"read"}:
        return None
    if "add" not in used:
        return fitting[0]
    answered = operations.rows("read")[operations.type[operations.rows("read")] == OK].tolist()
    kinds = {type(operations.value[row]) for row in answered} - {type(None)}
    return "set" if kinds == {list} else "counter" if kinds == {int} else None


def freeze(value: Any) -> Hashable:
    """A value of a history as something hashable: lists as tuples, tables as sorted tuples of pairs."""
    if isinstance(value, (list, tuple)):
        return tuple(map(freeze, value))
    if isinstance(value, dict):
        return tuple(sorted(((key, freeze(item)) for key, item in value.items()), key=repr))
    if isinstance(value, (set, frozenset)):
        return frozenset(map(freeze, value))
    assert isinstance(value, Hashable)
    return value


def shown(value: Any) -> str:
    """A value as JSON has it, shortened when it is long."""
    text = msgspec.json.encode(value, enc_hook=repr).decode()
    return text if len(text) <= 80 else f"{text[:40]} ... {text[-30:]}"


def _text(value: Any) -> str:
    return "" if value is None else str(value)

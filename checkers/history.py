"""The record of a run: JSON lines on disk, one row per operation in memory.

A history file holds a header line and then one event a line (`cachequake schema history`). Here the
invocation and the completion of an operation are joined into one row of NumPy columns, because a million
operations are then a handful of arrays and not a million objects.

Conventions that every checker relies on:

* `start` is taken before the bytes leave and `end` after the reply came, in nanoseconds since the run began. An
  operation that nobody knows the outcome of (`info`, or never completed) has `end == NEVER`.
* Equal times are concurrent: `a` precedes `b` only when `a.end < b.start`.
* Rows are sorted by `start` (ties: by the order of the lines).
"""

from __future__ import annotations

import gc
import gzip
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import compress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from checkers.events import FORMAT, INFO, NEVER, OK, TYPES, VERSION, Event
from checkers.flat import Flat


class HistoryError(Exception):
    """A history file cannot be read; the message names the file and the line, and what to do."""


@dataclass(frozen=True)
class Operations:
    """`n` operations as columns, sorted by `start`. Codes index into the tables of names beside them."""

    index: NDArray[np.int64]
    """`index` of the invocation's event: the name by which an anomaly refers to an operation."""
    process: NDArray[np.int64]
    start: NDArray[np.int64]
    """Nanoseconds since the run began."""
    end: NDArray[np.int64]
    """Nanoseconds since the run began, or `NEVER`."""
    type: NDArray[np.uint8]
    """`OK`, `FAIL` or `INFO`."""
    f: NDArray[np.int16]
    """Code into `functions`."""
    key: NDArray[np.int32]
    """Code into `keys`; -1 when the operation names no key (the whole history is then one object)."""
    node: NDArray[np.int32]
    """Code into `nodes` of the node that answered; -1 when nobody did or the history does not say."""
    final: NDArray[np.bool_]
    """A read taken after the run converged."""
    value: list[Any]
    """What the completion carried if it is `ok`, else what the invocation carried."""
    functions: list[str]
    keys: list[str]
    nodes: list[str]
    details: dict[int, dict[str, Any]] = field(default_factory=dict)
    """What only few rows have, by row number: `hops`, `asking`, `error`, `via`, `attempts`, `acked` (replicas that had
    the write when its WAIT returned), and `fill` (what a cache and its database did; see `checkers.cachefill`)."""

    def __len__(self) -> int:
        """Number of operations."""
        return len(self.start)

    def code(self, f: str) -> int:
        """Code of the function named `f`, or -1 (which no row has) when the history has none."""
        return self.functions.index(f) if f in self.functions else -1

    def rows(self, *functions: str) -> NDArray[np.int64]:
        """Row numbers of all operations whose function is one of `functions`."""
        codes = [self.code(f) for f in functions]
        return np.flatnonzero(np.isin(self.f, codes))

    def key_name(self, row: int) -> str | None:
        """Name of the key of a row, or None."""
        code = int(self.key[row])
        return None if code < 0 else self.keys[code]

    def node_name(self, row: int) -> str | None:
        """Name of the node that answered a row, or None."""
        code = int(self.node[row])
        return None if code < 0 else self.nodes[code]

    def select(self, rows: NDArray[Any]) -> Operations:
        """The operations of `rows` (row numbers or a boolean mask) as a table of their own."""
        numbers = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        kept = {new: self.details[old] for new, old in enumerate(numbers.tolist()) if old in self.details}
        return Operations(
            index=self.index[numbers],
            process=self.process[numbers],
            start=self.start[numbers],
            end=self.end[numbers],
            type=self.type[numbers],
            f=self.f[numbers],
            key=self.key[numbers],
            node=self.node[numbers],
            final=self.final[numbers],
            value=[self.value[row] for row in numbers.tolist()],
            functions=self.functions,
            keys=self.keys,
            nodes=self.nodes,
            details=kept,
        )


@dataclass(frozen=True)
class History:
    """A whole run: what the clients did (`operations`) and what happened around them (`context`)."""

    header: dict[str, Any]
    operations: Operations
    context: list[Event]
    """Events of the nemesis and of the observer, in time order; they are context, not operations."""
    warnings: list[str] = field(default_factory=list)
    flat: Flat = field(default_factory=Flat)
    """Values of transactions that returned, as columns, as far as that was possible while reading."""

    @cached_property
    def groups(self) -> dict[str, NDArray[np.int64]]:
        """Rows of the operations that belong to a keyed object, by key name ("" for no key), in time order."""
        if not len(self.operations):
            return {}
        order = np.argsort(self.operations.key, kind="stable")
        codes, first = np.unique(self.operations.key[order], return_index=True)
        parts = np.split(order, first[1:])
        names = ["" if code < 0 else self.operations.keys[code] for code in codes.tolist()]
        return dict(zip(names, parts, strict=True))


def load(*paths: str | Path) -> History:
    """Read one run from a history file, or from the several files that its client processes wrote.

    Raises HistoryError for a line that is not an event; a truncated last line is dropped with a warning, and the
    operation that it would have completed counts as indeterminate.
    """
    header: dict[str, Any] = {}
    warnings: list[str] = []
    table = _Table()
    with _uncollected():
        for path in paths:
            for events in _read(Path(path), header, warnings):
                table.add(events)
        return table.history(header, warnings)


def from_events(events: Iterable[Event], header: dict[str, Any] | None = None, warnings: Sequence[str] = ()) -> History:
    """Join invocations with their completions. Events without `time` happen in the order given.

    Raises HistoryError when a process does two things at once or completes what it never invoked.
    """
    table = _Table()
    table.add(list(events))
    return table.history(header or {}, list(warnings))


@contextmanager
def _uncollected() -> Iterator[None]:
    """Spare the garbage collector from walking over a million values again and again: none of them is garbage.

    Afterwards they count as old, which freezing and thawing does at once; else the collector would walk over all of
    them the next time it looks for young garbage.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # what the caller has frozen stays so
            gc.freeze()
            gc.unfreeze()
        if enabled:
            gc.enable()


_CHUNK = 1 << 17
"""Bytes decoded at a time: enough lines to work on columns, few enough for their events to stay in the cache."""
_NEWLINE = ord("\n")


def _read(path: Path, header: dict[str, Any], warnings: list[str]) -> Iterator[list[Event]]:
    """The events of a file in chunks; its header is added to `header`."""
    opener = gzip.open if path.suffix == ".gz" else open
    decode = msgspec.json.Decoder(Event).decode_lines
    before = 0
    try:
        with opener(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                chunk += file.readline()
                lines = int(np.count_nonzero(np.frombuffer(chunk, np.uint8) == _NEWLINE)) + (chunk[-1] != _NEWLINE)
                try:
                    events = decode(chunk)
                except msgspec.MsgspecError:
                    events = []
                # One event a line: the decoder would also take two of them, or none.
                yield events if len(events) == lines else list(_one_by_one(path, chunk, before, header, warnings))
                before += lines
    except (OSError, EOFError) as error:
        raise HistoryError(f"{path}: cannot be read: {error}") from error


def _one_by_one(path: Path, chunk: bytes, before: int, header: dict[str, Any], warnings: list[str]) -> Iterator[Event]:
    """The events of lines of which at least one is none: a header, an empty line, a truncated one, or a mistake."""
    decode = msgspec.json.Decoder(Event).decode
    for number, line in enumerate(io.BytesIO(chunk), before + 1):
        try:
            yield decode(line)
        except msgspec.MsgspecError as error:
            if number == 1 and line.lstrip().startswith(b'{"format"'):
                header.update({**_header(path, line), **header})
            elif line.strip() and not line.endswith(b"\n"):
                warnings.append(f"{path}:{number}: the last line is truncated and was dropped")
            elif line.strip():
                raise HistoryError(f"{path}:{number}: not an event: {error}: {line[:120]!r}") from error


def _header(path: Path, line: bytes) -> dict[str, Any]:
    try:
        header = msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise HistoryError(f"{path}:1: not a header: {error}: {line[:120]!r}") from error
    if header["format"] != FORMAT or header.get("version") != VERSION:
        raise HistoryError(f"{path}:1: not a {FORMAT} of version {VERSION}: {header['format']!r}")
    return header


def _objects(values: list[Any]) -> NDArray[np.object_]:
    """Values as an array of one dimension, whatever they are."""
    return np.fromiter(values, np.object_, len(values))


class _Names(dict[str | None, int]):
    """Gives each distinct name a small code, in order of appearance; None is -1."""

    def __init__(self, *names: str) -> None:
        known: dict[str | None, int] = {None: -1}
        super().__init__(known | {name: code for code, name in enumerate(names)})

    def __missing__(self, name: str) -> int:
        code = self[name] = len(self) - 1
        return code

    def listed(self) -> list[str]:
        return [name for name in self if name is not None]

    def codes(self, names: list[Any]) -> NDArray[np.int32]:
        if names and names.count(names[0]) == len(names):  # as keys and nodes of a history that has none
            return np.full(len(names), self[names[0]], np.int32)
        return np.fromiter(map(self.__getitem__, names), np.int32, len(names))


_INVOKE = len(TYPES)
"""Code of the type of an invocation, next to those of completions."""

_DETAILS = ("hops", "error", "via", "attempts", "acked", "asking", "fill")
"""Fields that only few completions have."""


class _Table:
    """The events of clients as columns, filled chunk by chunk, invocations apart from completions.

    Reading a long history spends its time here. So attributes are fetched one kind at a time, in the comprehensions
    that the interpreter is quickest at, and only from those events that decide them; NumPy joins the columns.
    """

    def __init__(self) -> None:
        self.columns: dict[str, list[NDArray[Any]]] = {}
        self.functions, self.keys, self.nodes, self.types = _Names(), _Names(), _Names(), _Names(*TYPES, "invoke")
        self.invoked: list[Any] = []
        """Values of the invocations, in the order of the lines; `completed` has those of the completions."""
        self.completed: list[Any] = []
        self.ways: dict[int, str] = {}
        """`via` by number of the invocation."""
        self.details: dict[int, dict[str, Any]] = {}
        """By number of the completion."""
        self.flat = Flat()
        self.context: list[Event] = []
        self.seen = 0

    def add(self, events: list[Event]) -> None:
        """Append events in the order of their lines."""
        time = self._numbers([event.time for event in events])
        index = self._numbers([event.index for event in events])
        self.seen += len(events)
        process = [event.process for event in events]
        if set(map(type, process)) != {int}:
            clients = np.array([isinstance(name, int) for name in process], np.bool_)
            for place in np.flatnonzero(~clients).tolist():
                events[place].time, events[place].index = int(time[place]), int(index[place])
                self.context.append(events[place])
            process = list(compress(process, clients.tolist()))
            events = list(compress(events, clients.tolist()))
            time, index = time[clients], index[clients]
        self._extend("time", time)
        self._extend("index", index)
        self._extend("process", np.array(process, np.int64))
        kind = self.types.codes([event.type for event in events])
        opens = kind == _INVOKE
        self._extend("opens", opens)
        self._extend("type", kind[~opens])
        self._add_invocations(list(compress(events, opens.tolist())))
        self._add_completions(list(compress(events, (~opens).tolist())), kind[~opens])

    def _numbers(self, numbers: list[int | None]) -> NDArray[np.int64]:
        """Times or indices; where a line gives none, its place among the lines is both."""
        try:
            return np.array(numbers, np.int64)
        except TypeError:  # NumPy's word for a None among the numbers; asking for it each time costs more
            places = range(self.seen, self.seen + len(numbers))
            if numbers.count(None) == len(numbers):
                return np.array(places, np.int64)
            filled = [place if number is None else number for place, number in zip(places, numbers, strict=True)]
            return np.array(filled, np.int64)

    def _extend(self, name: str, column: NDArray[Any]) -> None:
        self.columns.setdefault(name, []).append(column)

    def _add_invocations(self, events: list[Event]) -> None:
        self._extend("f", self.functions.codes([event.f for event in events]))
        self._extend("key", self.keys.codes([event.key for event in events]))
        self._extend("invoked_final", np.array([event.final for event in events], np.bool_))
        self.ways |= {
            place: event.via for place, event in enumerate(events, len(self.invoked)) if event.via is not None
        }
        self.invoked += [event.value for event in events]

    def _add_completions(self, events: list[Event], kind: NDArray[np.int32]) -> None:
        self._extend("node", self.nodes.codes([event.node for event in events]))
        self._extend("completed_final", np.array([event.final for event in events], np.bool_))
        for place, event in enumerate(events, len(self.completed)):
            if (
                event.error is not None
                or event.hops is not None
                or event.via is not None
                or event.asking
                or event.attempts is not None
                or event.acked is not None
                or event.fill is not None
            ):
                found = ((name, getattr(event, name)) for name in _DETAILS)
                self.details[place] = {name: value for name, value in found if value is not None and value is not False}
        self.completed += [event.value for event in events]
        self._flatten(events, kind)

    def _flatten(self, events: list[Event], kind: NDArray[np.int32]) -> None:
        """Take transactions apart while they are at hand; the place of each completion among them, -1 for others."""
        place = np.full(len(events), -1, np.int64)
        if "txn" in self.functions:  # else no event can be one
            returned = (kind == OK) & np.array([event.f == "txn" for event in events], np.bool_)
            done, before = list(compress(events, returned.tolist())), len(self.flat.values)
            with suppress(TypeError, KeyError):  # that a value is no transaction is for who checks them to say
                self.flat.add([event.value for event in done])
            place[np.flatnonzero(returned)[: len(self.flat.values) - before]] = np.arange(before, len(self.flat.values))
        self._extend("flat", place)

    def history(self, header: dict[str, Any], warnings: list[str]) -> History:
        """Join each invocation with its completion."""
        column = {name: np.concatenate(parts) for name, parts in self.columns.items()}
        invoked, done = self._pairs(column)
        # Places of events to numbers of invocations and of completions.
        opens = column["opens"]
        number = np.where(opens, np.cumsum(opens), np.cumsum(~opens)) - 1
        answered = done >= 0
        first, last = number[invoked], np.where(answered, number[done], 0)
        if not len(self.completed):
            column |= {name: np.zeros(1, np.int32) for name in ("type", "node", "completed_final")}
            column["flat"] = np.full(1, -1, np.int64)
        kind = np.where(answered, column["type"][last], INFO)
        value = _objects(self.invoked)[first]
        value[kind == OK] = _objects(self.completed)[last[kind == OK]]
        operations = Operations(
            index=column["index"][invoked],
            process=column["process"][invoked],
            start=column["time"][invoked],
            end=np.where(kind == INFO, NEVER, column["time"][done]),
            type=kind.astype(np.uint8),
            f=column["f"][first].astype(np.int16),
            key=column["key"][first],
            node=np.where(answered, column["node"][last], -1).astype(np.int32),
            final=column["invoked_final"][first] | (answered & (column["completed_final"][last] > 0)),
            value=value.tolist(),
            functions=self.functions.listed(),
            keys=self.keys.listed(),
            nodes=self.nodes.listed(),
            details=self._details(first, np.where(answered, last, -1)),
        )
        context = sorted(self.context, key=lambda event: event.time or 0)
        self.flat.of_row = np.where(kind == OK, column["flat"][last], -1)
        return History(header, operations, context, warnings, self.flat)

    def _pairs(self, column: dict[str, NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Places of the invocations in order of time, and of their completions (-1 where there is none)."""
        in_time = np.argsort(column["time"], kind="stable")  # equal times keep the order of the lines
        order = in_time[np.argsort(column["process"][in_time], kind="stable")]
        process, opens = column["process"][order], column["opens"][order]
        closes = np.zeros(len(order), np.bool_)
        closes[1:] = opens[:-1] & (process[1:] == process[:-1])
        wrong = np.flatnonzero(opens == closes)
        if len(wrong):
            self._complain(column["index"][order], process, int(wrong[0]), bool(opens[wrong[0]]))
        unheard = [name for name, code in self.types.items() if code > _INVOKE]
        if unheard:
            raise HistoryError(f"event type {unheard[0]!r} is none of invoke, ok, fail and info")
        completion = np.full(len(order), -1, np.int64)
        answered = np.flatnonzero(closes)
        completion[order[answered - 1]] = order[answered]
        invoked = in_time[column["opens"][in_time]]
        return invoked, completion[invoked]

    @staticmethod
    def _complain(index: NDArray[Any], process: NDArray[Any], place: int, opens: bool) -> None:
        """Raise what the event at this place, the first that does not fit its process, deserves."""
        if opens:
            raise HistoryError(
                f"event {index[place]}: process {process[place]} invoked an operation while its operation "
                f"{index[place - 1]} was still open; a process does one thing at a time"
            )
        raise HistoryError(f"event {index[place]}: process {process[place]} completes what it never invoked")

    def _details(self, first: NDArray[Any], last: NDArray[Any]) -> dict[int, dict[str, Any]]:
        """By row: the details of the completion, and how the invocation was to be served (`via`)."""
        details: dict[int, dict[str, Any]] = {}
        for places, numbers in ((list(self.details), last), (list(self.ways), first)):
            row_of = np.zeros(max(len(self.completed), len(self.invoked)), np.int64)
            row_of[numbers[numbers >= 0]] = np.flatnonzero(numbers >= 0)
            for place, row in zip(places, row_of[places].tolist() if places else (), strict=True):
                if numbers is last:
                    details[row] = self.details[place]
                else:
                    details.setdefault(row, {})["via"] = self.ways[place]
        return details

"""The record of a run: JSON lines on disk, one row per operation in memory.

A history file holds a header line and then one event a line (see `docs/` and the words in the README). Here the
invocation and the completion of an operation are joined into one row of NumPy columns, because a million
operations are then a handful of arrays and not a million objects.

Conventions that every checker relies on:

* `start` is taken before the bytes leave and `end` after the reply came, in nanoseconds since the run began. An
  operation that nobody knows the outcome of (`info`, or never completed) has `end == NEVER`.
* Equal times are concurrent: `a` precedes `b` only when `a.end < b.start`.
* Rows are sorted by `start` (ties: by the order of the lines).
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

FORMAT = "cachequake-history"
VERSION = 1
NEVER = np.iinfo(np.int64).max
"""The end of an operation that never returned."""

FAIL, OK, INFO = 0, 1, 2
TYPES = ("fail", "ok", "info")


class HistoryError(Exception):
    """A history file cannot be read; the message names the file and the line, and what to do."""


class Event(msgspec.Struct, omit_defaults=True):
    """One line of a history file; see `Operations` for what the columns mean."""

    type: str
    f: str
    process: int | str | None = None
    index: int | None = None
    time: int | None = None
    key: str | None = None
    value: Any = None
    node: str | None = None
    hops: list[str] | None = None
    asking: bool = False
    final: bool = False
    error: str | None = None
    via: str | None = None
    attempts: list[dict[str, Any]] | None = None
    acked: int | None = None


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
    """What only few rows have, by row number: `hops`, `asking`, `error`, `via`, `attempts`, and
    `acked` (replicas that had the write when its WAIT returned)."""

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

    @cached_property
    def groups(self) -> dict[str, NDArray[np.int64]]:
        """Rows of the operations that belong to a keyed object, by key name ("" for no key), in time order."""
        order = np.argsort(self.operations.key, kind="stable")
        codes, first = np.unique(self.operations.key[order], return_index=True)
        parts = np.split(order, first[1:])
        names = ["" if code < 0 else self.operations.keys[code] for code in codes.tolist()]
        return dict(zip(names, parts, strict=True))


class _Names:
    """Gives each distinct name a small code, in order of appearance."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}

    def code(self, name: str | None) -> int:
        if name is None:
            return -1
        return self.codes.setdefault(name, len(self.codes))


def load(*paths: str | Path) -> History:
    """Read one run from a history file, or from the several files that its client processes wrote.

    Raises HistoryError for a line that is not an event; a truncated last line is dropped with a warning, and the
    operation that it would have completed counts as indeterminate.
    """
    header: dict[str, Any] = {}
    warnings: list[str] = []
    events: list[Event] = []
    for path in paths:
        found, part = _read(Path(path), warnings)
        header = {**found, **header}
        events.extend(part)
    return from_events(events, header, warnings)


def _read(path: Path, warnings: list[str]) -> tuple[dict[str, Any], list[Event]]:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            lines = file.read().split(b"\n")
    except OSError as error:
        raise HistoryError(f"{path}: cannot be read: {error}") from error
    truncated = lines.pop()  # what follows the last newline: nothing, or half an event
    header: dict[str, Any] = {}
    if lines and lines[0].lstrip().startswith(b'{"format"'):
        header = msgspec.json.decode(lines[0])
        if header.get("format") != FORMAT or header.get("version") != VERSION:
            raise HistoryError(f"{path}:1: not a {FORMAT} of version {VERSION}: {header.get('format')!r}")
        lines[0] = b""
    decoder = msgspec.json.Decoder(Event)
    events = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            events.append(decoder.decode(line))
        except msgspec.MsgspecError as error:
            raise HistoryError(f"{path}:{number}: not an event: {error}: {line[:120]!r}") from error
    if truncated.strip():
        try:
            events.append(decoder.decode(truncated))
        except msgspec.MsgspecError:
            warnings.append(f"{path}:{len(lines) + 1}: the last line is truncated and was dropped")
    return header, events


def from_events(events: Iterable[Event], header: dict[str, Any] | None = None, warnings: Sequence[str] = ()) -> History:
    """Join invocations with their completions. Events without `time` happen in the order given."""
    ordered = list(events)
    for position, event in enumerate(ordered):
        if event.time is None:
            event.time = position
    ordered.sort(key=lambda event: event.time or 0)  # stable: equal times keep the order of the lines
    for position, event in enumerate(ordered):
        if event.index is None:
            event.index = position
    context = [event for event in ordered if not isinstance(event.process, int)]
    pairs = list(_pair(event for event in ordered if isinstance(event.process, int)))
    pairs.sort(key=lambda pair: pair[0].time or 0)
    return History(header or {}, _columns(pairs), context, list(warnings))


def _pair(events: Iterable[Event]) -> Iterator[tuple[Event, Event | None]]:
    open_: dict[int, Event] = {}
    for event in events:
        process = event.process
        assert isinstance(process, int)
        if event.type == "invoke":
            if process in open_:
                raise HistoryError(
                    f"event {event.index}: process {process} invoked an operation while its operation "
                    f"{open_[process].index} was still open; a process does one thing at a time"
                )
            open_[process] = event
        elif event.type not in TYPES:
            raise HistoryError(f"event {event.index}: type {event.type!r} is none of invoke, ok, fail and info")
        elif process not in open_:
            raise HistoryError(f"event {event.index}: process {process} completes what it never invoked")
        else:
            yield open_.pop(process), event
    for event in open_.values():
        yield event, None


_DETAILS = ("hops", "error", "via", "attempts", "acked")


def _columns(pairs: list[tuple[Event, Event | None]]) -> Operations:
    functions, keys, nodes = _Names(), _Names(), _Names()
    details: dict[int, dict[str, Any]] = {}
    count = len(pairs)
    ends = np.full(count, NEVER, np.int64)
    types = np.full(count, INFO, np.uint8)
    node = np.full(count, -1, np.int32)
    final = np.zeros(count, np.bool_)
    values: list[Any] = []
    for row, (invoke, done) in enumerate(pairs):
        last = done or invoke
        values.append(last.value if last.type == "ok" else invoke.value)
        if done is not None:
            types[row] = TYPES.index(done.type)
            if done.type != "info":
                ends[row] = done.time or 0
            node[row] = nodes.code(done.node)
        final[row] = last.final or invoke.final
        found = {name: value for name in _DETAILS if (value := getattr(last, name)) is not None}
        if invoke.via is not None:
            found["via"] = invoke.via
        if last.asking:
            found["asking"] = True
        if found:
            details[row] = found
    return Operations(
        index=np.fromiter((i.index or 0 for i, _ in pairs), np.int64, count),
        process=np.fromiter((i.process for i, _ in pairs if isinstance(i.process, int)), np.int64, count),
        start=np.fromiter((i.time or 0 for i, _ in pairs), np.int64, count),
        end=ends,
        type=types,
        f=np.fromiter((functions.code(i.f) for i, _ in pairs), np.int16, count),
        key=np.fromiter((keys.code(i.key) for i, _ in pairs), np.int32, count),
        node=node,
        final=final,
        value=values,
        functions=list(functions.codes),
        keys=list(keys.codes),
        nodes=list(nodes.codes),
        details=details,
    )

"""Histories that other programs recorded: bare JSON lines and Jepsen's EDN, packed or not.

What they leave open is decided so that nothing is accused without proof:

* Without times in every line, the order of the lines is the order of events; times that never change say nothing.
* A process that is no number is a client when it invokes or completes something, else (as the nemesis) context.
* An `ok` completion that does not repeat what was asked did what was asked; of a transaction the results are unknown.
* A file with completions only has no order of time: all its operations count as concurrent.
* Values are `[key value]` pairs when a tag says so, or when all are pairs and one can be nothing else.
"""

from __future__ import annotations

import gzip
import io
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np

from checkers import edn
from checkers.events import FORMAT, NEVER, OK, TYPES, Event
from checkers.history import History, HistoryError, from_events, load
from checkers.models import shown

READS = ("read", "get")
"""Functions whose `null` may mean that the value was not seen, as some recorders write it."""
_ANSWERED = (*READS, "dequeue", "mget")
"""Functions that return something which was not asked with."""
_TRANSACTION = "txn"


class _Loose(msgspec.Struct):
    """One line of a bare history."""

    type: Any
    f: Any = _TRANSACTION
    process: Any = None
    index: Any = None
    time: Any = None
    key: Any = None
    value: Any = None
    node: Any = None
    final: bool = False
    error: Any = None
    via: str | None = None


def read(path: str | Path, *, null_reads: str = "value", keyed: bool | None = None) -> History:
    """A history in this project's format, in bare JSON lines or in Jepsen's EDN; `.gz` is unpacked.

    With `null_reads="unknown"`, reads that returned null are left out (transaction checkers have an option of their
    own). `keyed` says whether values are `[key value]` pairs; None finds out. Raises HistoryError, with file and line.
    """
    if null_reads not in ("value", "unknown"):
        raise ValueError(f"null reads are a value or unknown, not {null_reads!r}")
    path = Path(path)
    history = _read(path, keyed)
    return history if null_reads == "value" else _without_null_reads(history)


def _read(path: Path, keyed: bool | None) -> History:
    head = _head(path)
    if head.startswith('{"format"') or f'"{FORMAT}"' in head:
        return load(path)
    is_edn = path.name.removesuffix(".gz").endswith(".edn") or not head.lstrip("[ \t\r\n").startswith('{"')
    timed = {'"time"' in line for line in head.splitlines()[:-1]}
    if not is_edn and not keyed and len(timed) < 2 and (history := _as_our_own(path)):
        return history
    warnings: list[str] = []
    found = _from_edn(path) if is_edn else _from_json(path, warnings)
    return _history(path, found, keyed, warnings)


def _as_our_own(path: Path) -> History | None:
    """The history of a file whose lines leave nothing open, read the fast way; None if anything is to be decided."""
    try:
        history = load(path)
    except HistoryError:
        return None
    operations = history.operations
    if not len(operations):
        return None
    repeats = np.isin(operations.f, [operations.code(f) for f in operations.functions if f not in _ANSWERED])
    silent = None in itertools.compress(operations.value, repeats & (operations.type == OK))
    instant = len(operations) > 1 and operations.start[0] == operations.start[-1]
    plain = operations.f != operations.code(_TRANSACTION)
    pairs = not operations.keys and plain.any() and all(map(_is_pair, itertools.compress(operations.value, plain)))
    strangers = any(event.type != "info" and event.process != "nemesis" for event in history.context)
    return None if silent or instant or pairs or strangers else history


def _open(path: Path) -> gzip.GzipFile | io.BufferedReader:
    return gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb")


def _head(path: Path) -> str:
    try:
        with _open(path) as file:
            return file.read(4096).decode(errors="replace").lstrip("\ufeff \t\r\n,")
    except (OSError, EOFError) as error:
        raise HistoryError(f"{path}: cannot be read: {error}") from error


# -- lines and forms to loose events --


def _from_json(path: Path, warnings: list[str]) -> list[_Loose]:
    with _open(path) as file:
        text = file.read()
    if text.lstrip().startswith(b"["):
        try:
            return msgspec.json.decode(text, type=list[_Loose])
        except msgspec.MsgspecError as error:
            raise HistoryError(f"{path}: not a list of events: {error}") from error
    decoder, found = msgspec.json.Decoder(_Loose), []
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        try:
            if line.strip():
                found.append(decoder.decode(line))
        except msgspec.MsgspecError as error:
            if line.endswith(b"\n"):
                raise HistoryError(f"{path}:{number}: not an event: {error}: {line[:120]!r}") from error
            warnings.append(f"{path}:{number}: the last line is truncated and was dropped")
    return found


def _from_edn(path: Path) -> list[_Loose]:
    found: list[_Loose] = []
    with _open(path) as file:
        try:
            for number, form in edn.read(text.decode() for text in file):
                operations = form if isinstance(form, list) else [form]
                found.extend(_loose(path, number, operation) for operation in operations)
        except edn.EdnError as error:
            raise HistoryError(f"{path}:{error.line}: not EDN: {error}") from error
        except UnicodeDecodeError as error:
            raise HistoryError(f"{path}: neither JSON lines nor EDN in UTF-8: {error}") from error
    return found


_FIELDS = _Loose.__struct_fields__


def _loose(path: Path, line: int, form: Any) -> _Loose:
    if not isinstance(form, dict) or "type" not in form:
        raise HistoryError(
            f"{path}:{line}: not an operation: {shown(form)}; one is a map with :type, :f, :process and :value"
        )
    return _Loose(**{name: form[name] for name in _FIELDS if name in form})


# -- loose events to a history --


def _history(path: Path, found: list[_Loose], keyed: bool | None, warnings: list[str]) -> History:
    clients = dict.fromkeys(event.process for event in found if _by_client(event))  # in the order of their coming
    client_events = [event for event in found if event.process in clients]
    for event in client_events:
        if event.type not in ("invoke", *TYPES):
            raise HistoryError(f"{path}: event type {event.type!r} is none of invoke, {', '.join(TYPES)}")
    if _are_pairs(client_events) if keyed is None else keyed:
        for event in client_events:
            _split(event)
    header: dict[str, Any] = {"source": path.name}
    numbers = _numbered(clients)
    if client_events and all(event.type != "invoke" for event in client_events):
        header["completions_only"] = True
        return from_events(_concurrent(client_events), header, warnings)
    times = _times(found, client_events)
    _repeat_what_was_asked(client_events)
    events = []
    for position, event in enumerate(found):
        process = numbers.get(event.process, str(event.process))
        index = event.index if isinstance(event.index, int) else position
        events.append(_event(event, process, index, None if times is None else times[position]))
    try:
        return from_events(events, header, warnings)
    except HistoryError as error:
        raise HistoryError(f"{path}: {error}") from error


def _by_client(event: _Loose) -> bool:
    return event.process != "nemesis" and (not isinstance(event.process, str) or event.type != "info")


def _numbered(clients: Iterable[Any]) -> dict[Any, int]:
    """A number for each process: its own when it has one."""
    own = {process: process for process in clients if type(process) is int}
    fresh = itertools.count(max(own.values(), default=-1) + 1)
    return own | {process: next(fresh) for process in clients if process not in own}


def _are_pairs(events: list[_Loose]) -> bool:
    """Whether values are [key value]: a tag says so, or all are pairs and one of them can be nothing else.

    Pairs alone prove nothing: the [old new] of a compare-and-set looks the same, and so does a token with its time.
    """
    plain = [event for event in events if event.f != _TRANSACTION]
    if any(isinstance(event.value, edn.Pair) for event in plain):
        return True
    return all(event.key is None and _is_pair(event.value) for event in plain) and any(map(_shows_a_key, plain))


def _shows_a_key(event: _Loose) -> bool:
    """Whether what follows the first item of a pair can only be a value: of a read to come, say, it is null."""
    value = event.value[1]
    if event.f in _ANSWERED:
        return event.type == "invoke" and value is None
    if event.f == "cas":
        return _is_pair(value)
    return event.f in ("acquire", "release") and not isinstance(value, (int, float))


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and not isinstance(value[0], (list, dict, type(None)))


def _split(event: _Loose) -> None:
    if _is_pair(event.value):
        event.key, event.value = event.value


def _times(found: list[_Loose], client_events: list[_Loose]) -> list[int] | None:
    """Nanoseconds of every event, or None when the order of the lines is all there is."""
    times = [event.time for event in found]
    if not all(isinstance(time, (int, float)) for time in times):
        return None
    if len({event.time for event in client_events}) < 2:
        return None
    if any(isinstance(time, float) for time in times):
        return [round(time * 1e9) for time in times]
    return times


def _repeat_what_was_asked(events: list[_Loose]) -> None:
    asked: dict[Any, Any] = {}
    for event in events:
        if event.type == "invoke":
            asked[event.process] = event.value
        elif event.type == "ok" and event.value is None and event.f not in _ANSWERED:
            if event.f == _TRANSACTION:
                event.type, event.error = "info", "the history does not say what the transaction returned"
            else:
                event.value = asked.get(event.process)


def _concurrent(events: list[_Loose]) -> Iterator[Event]:
    """Each operation from the first moment to the last, by a process of its own, so that none precedes another."""
    for moment in (0, 1):
        for position, event in enumerate(events):
            index = event.index if isinstance(event.index, int) else position
            made = _event(event, position, index, moment)
            if moment == 0:
                made.type = "invoke"
            yield made


def _event(event: _Loose, process: int | str, index: int, time: int | None) -> Event:
    return Event(
        type=event.type,
        f=str(event.f),
        process=process,
        index=index,
        time=time,
        key=_name(event.key),
        value=event.value,
        node=_name(event.node),
        final=event.final,
        error=_name(event.error),
        via=event.via,
    )


def _name(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else shown(value)


def _without_null_reads(history: History) -> History:
    operations = history.operations
    reads = np.isin(operations.f, [operations.code(f) for f in READS]) & (operations.type == OK)
    null = np.fromiter((value is None for value in operations.value), np.bool_, len(operations))
    return History(history.header, operations.select(~(reads & null)), history.context, history.warnings)


# -- and back --


def write_edn(history: History, file: IO[str]) -> None:
    """Write what Jepsen's tools read: an operation map a line, values of keyed objects as `[key value]`.

    An operation without a known end is written as `:info` after everything else. Of the context the nemesis's events
    are kept.
    """
    lines = sorted(itertools.chain(_client_lines(history), _nemesis_lines(history)), key=lambda line: line[:2])
    for index, (_, _, text) in enumerate(lines):
        file.write(f"{{:index {index}, {text}}}\n")


def _client_lines(history: History) -> Iterator[tuple[int, int, str]]:
    operations = history.operations
    ended = operations.end[operations.end != NEVER]
    last = max(int(operations.start.max(initial=0)), int(ended.max(initial=0))) + 1
    for row in range(len(operations)):
        f, key = operations.functions[operations.f[row]], operations.key_name(row)
        start, end = int(operations.start[row]), int(operations.end[row])
        kind, error = TYPES[operations.type[row]], operations.details.get(row, {}).get("error")
        value = operations.value[row]
        asked = _asked(f, value) if kind == "ok" else value
        who = f":process {operations.process[row]}, :f {edn.keyword(f)}, :value "
        note = f", :error {edn.dumps(error)}" if error else ""
        moment = last if end == NEVER else end
        yield start, 0, f":time {start}, :type :invoke, {who}{_keyed(f, key, asked)}"
        yield moment, 1, f":time {moment}, :type :{kind}, {who}{_keyed(f, key, value)}{note}"


def _nemesis_lines(history: History) -> Iterator[tuple[int, int, str]]:
    for event in history.context:
        if event.process == "nemesis":
            time = event.time or 0
            what = f":f {edn.keyword(event.f)}, :value {edn.dumps(event.value)}"
            yield time, 1, f":time {time}, :type :info, :process :nemesis, {what}"


def _asked(f: str, value: Any) -> Any:
    """What an operation was invoked with, given what it returned."""
    if f == _TRANSACTION:
        return [[kind, key, None if kind == "r" else item] for kind, key, item in value]
    if f == "mget" and isinstance(value, dict):
        return dict.fromkeys(value)
    return None if f in _ANSWERED else value


def _keyed(f: str, key: str | None, value: Any) -> str:
    text = _micro(value) if f == _TRANSACTION else edn.dumps(value)
    return text if key is None or f == _TRANSACTION else f"[{edn.dumps(key)} {text}]"


def _micro(value: Any) -> str:
    return "[" + " ".join(f"[:{kind} {edn.dumps(key)} {edn.dumps(item)}]" for kind, key, item in value) + "]"

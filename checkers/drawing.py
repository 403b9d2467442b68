"""Operations as intervals on a line of text, for reports, terminals and golden tests.

    process 0  | write 1 |
    process 1              | read null |
    ms         0         10            20
                           12

A `|` is a start or an end, `>` an end that nobody saw. Only the order of the times is to scale: every start and end
gets a column of its own, because the interesting times of a long run lie milliseconds apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from checkers.events import FAIL, NEVER
from checkers.history import History, Operations

_GAP = 2
"""Columns between an instant and the next."""


def rows_of(operations: Operations, indexes: Iterable[int]) -> list[int]:
    """The row numbers of the operations that an anomaly names. Raises KeyError for one that is not there."""
    wanted = list(indexes)
    places = np.flatnonzero(np.isin(operations.index, wanted)).tolist()
    rows = {int(operations.index[place]): place for place in places}
    return [rows[index] for index in wanted]


def draw(history: History, rows: Sequence[int]) -> str:
    """The operations of these rows as intervals, a line each in order of their starts, times in ms below.

    Equal times share a column; everything else is drawn in order, not to scale.
    """
    operations = history.operations
    ordered = sorted(rows, key=lambda row: (int(operations.start[row]), row))
    if not ordered:
        return ""
    labels = [_label(operations, row) for row in ordered]
    columns = _columns(operations, ordered, labels)
    width = max(columns.values()) + 1
    heads = [f"process {operations.process[row]}" for row in ordered]
    indent = max(map(len, heads)) + 2
    lines = [
        head.ljust(indent) + _interval(operations, row, label, columns, width)
        for head, row, label in zip(heads, ordered, labels, strict=True)
    ]
    return "\n".join([*lines, *_ruler(columns, indent)])


def _label(operations: Operations, row: int) -> str:
    name = operations.functions[operations.f[row]]
    failed = " failed" if operations.type[row] == FAIL else ""
    return f"{name} {_words(name, operations.value[row])}{failed}"


def _words(f: str, value: Any) -> str:
    if f == "txn" and isinstance(value, list):
        return ", ".join(" ".join(map(_word, micro)) for micro in value)
    if isinstance(value, dict):
        return " ".join(f"{key}={_word(part)}" for key, part in value.items())
    return _word(value)


def _word(value: Any) -> str:
    return "null" if value is None else str(value)


def _columns(operations: Operations, rows: Sequence[int], labels: Sequence[str]) -> dict[int, int]:
    """A column for each instant, so far apart that every label fits between the start and the end of its interval."""
    times = sorted({int(t) for row in rows for t in (operations.start[row], operations.end[row]) if t != NEVER})
    spans = [
        (int(operations.start[row]), int(operations.end[row]), len(label) + 3)
        for row, label in zip(rows, labels, strict=True)
    ]
    columns: dict[int, int] = {}
    at = 0
    for time in times:
        fits = [columns[start] + room for start, end, room in spans if end == time and start < time]
        at = max([at, *fits])
        columns[time] = at
        at += _GAP
    if any(end == NEVER for _, end, _ in spans):
        columns[NEVER] = max([at, *(columns[start] + room for start, end, room in spans if end == NEVER)])
    return columns


def _interval(operations: Operations, row: int, label: str, columns: dict[int, int], width: int) -> str:
    start, end = columns[int(operations.start[row])], columns[int(operations.end[row])]
    if start == end:
        return (" " * start + "| " + label).ljust(width).rstrip()
    close = ">" if operations.end[row] == NEVER else "|"
    return " " * start + "|" + f" {label} ".center(end - start - 1, "-") + close


def _ruler(columns: dict[int, int], indent: int) -> list[str]:
    """The times in ms under their columns, on as many lines as it takes for them not to collide."""
    lines: list[str] = []
    for time, column in columns.items():
        if time == NEVER:
            continue
        text = f"{time / 1e6:.6g}"
        place = indent + column
        for number, line in enumerate(lines):
            if len(line) < place:
                lines[number] = line.ljust(place) + text
                break
        else:
            lines.append(" " * place + text)
    return [f"{'ms'.ljust(indent)}{lines[0][indent:]}", *lines[1:]]

"""Whether the registers are linearizable: each operation happened at one moment between its start and its end.

Registers whose values are unique are decided exactly, in O(n log n), by zones (see `checkers.zones`). Keys that
repeat values or compare and set are not decided here. Reads from replicas and caches take no part: nobody promised
that those are linearizable.

An acknowledged write that was lost makes its key non-linearizable too, as does a read of a value nobody wrote.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from checkers.context import Timeline
from checkers.events import FAIL, NEVER
from checkers.finding import Anomaly, Collector, Finding
from checkers.history import History, Operations
from checkers.zones import Ints, Registers, clashes, prepare

CHECKER = "linearizability"
KIND = "non-linearizable"


def check_registers(history: History, *, initial: Any = None) -> Finding:
    """Find the keys that are not linearizable; one anomaly a key, naming a smallest set that cannot be ordered.

    `initial` is the value before the first write. The finding is unknown when nothing was proved wrong but some key
    could not be decided; `metrics["undecided"]` says which and why.
    """
    registers = prepare(history, second_hand=False, initial=initial)
    timeline = Timeline.of(history)
    found = Collector(CHECKER)
    clashing, partner = clashes(registers.first_end, registers.last_start)
    for number, (rule, subject) in sorted(_worst(registers, clashing, partner).items()):
        if not found.wants(KIND):
            found.count(KIND)
            continue
        words, rows = rule(registers, *subject)
        found.add(_anomaly(registers.operations, timeline, registers.keys[number], words, rows))
    metrics = {
        "checked": registers.checked,
        "keys": len(registers.keys),
        "clashes": len(clashing) + len(registers.phantoms) + len(registers.early),
        "second_hand_reads_left_out": registers.second_hand,
        "undecided": registers.undecided,
    }
    return found.finding(metrics, unknown(registers))


def unknown(registers: Registers) -> str | None:
    """Why not every key is decided by unique values, or None if all are."""
    if not registers.undecided:
        return None
    key, reason = next(iter(registers.undecided.items()))
    others = len(registers.undecided) - 1
    return f"{name_key(key)} cannot be decided by unique values: {reason}" + (
        f" (and {others} more such keys)" if others else ""
    )


def at(time_ns: int | np.int64) -> str:
    """A time in words, in seconds to the microsecond: what contradicts each other often lies that close."""
    return f"{int(time_ns) / 1e9:.6f} s"


def name_key(key: str | None) -> str:
    """The object of an operation in words."""
    return f"key {key}" if key else "the object"


def name_operation(operations: Operations, row: int) -> str:
    """An operation in words: `write 17 (operation 204)` or `read of null (operation 9)`."""
    name = operations.functions[operations.f[row]]
    value = operations.value[row]
    shown = "null" if value is None else str(value)
    return f"{name} {'of ' if name == 'read' else ''}{shown} (operation {operations.index[row]})"


Rule = Callable[..., tuple[str, list[int]]]
"""Puts one contradiction, given as rows or clusters, into words, and names the rows that prove it."""


def _worst(registers: Registers, clashing: Ints, partner: Ints) -> dict[int, tuple[Rule, tuple[int, ...]]]:
    """By number of the key: the rule that it breaks and on what, the plainest contradiction first."""
    worst: dict[int, tuple[Rule, tuple[int, ...]]] = {}
    names = {name: number for number, name in enumerate(registers.keys)}
    for rows, rule in ((registers.phantoms, _phantom), (registers.early, _early)):
        for row in rows.tolist():
            worst.setdefault(names[registers.operations.key_name(row) or ""], (rule, (row,)))
    settled = np.maximum(registers.first_end[clashing], registers.first_end[partner])
    order = np.argsort(settled, kind="stable")
    numbers, first = np.unique(registers.key[clashing[order]], return_index=True)
    for number, place in zip(numbers.tolist(), order[first].tolist(), strict=True):
        worst.setdefault(number, (_clash, (int(partner[place]), int(clashing[place]))))
    return worst


def _phantom(registers: Registers, row: int) -> tuple[str, list[int]]:
    operations = registers.operations
    failed = _writers(operations, row, failed=True)
    words = f"{name_operation(operations, row)} returned a value "
    if not failed:
        return f"{words}that nobody wrote", [row]
    return f"{words}whose only writer, operation {operations.index[failed[0]]}, failed", [row, *failed]


def _early(registers: Registers, row: int) -> tuple[str, list[int]]:
    operations = registers.operations
    writer = _writers(operations, row, failed=False)[0]
    words = (
        f"{name_operation(operations, row)} ended at {at(operations.end[row])}, before "
        f"{name_operation(operations, writer)} began at {at(operations.start[writer])}"
    )
    return words, [row, writer]


def _writers(operations: Operations, row: int, *, failed: bool) -> list[int]:
    """Rows of the writes, failed or not, of the value that a row read."""
    same = (operations.key == operations.key[row]) & (operations.f == operations.code("write"))
    rows = np.flatnonzero(same & ((operations.type == FAIL) == failed)).tolist()
    return [other for other in rows if operations.value[other] == operations.value[row]]


def _clash(registers: Registers, one: int, two: int) -> tuple[str, list[int]]:
    """Why cluster `one` comes before `two` and `two` before `one`."""
    forth, back = _precedence(registers, one, two), _precedence(registers, two, one)
    words = (
        f"{_first(registers, one, two, forth)}, and yet {_first(registers, two, one, back)}: "
        "no order of the two satisfies both"
    )
    writers = [int(registers.writer[cluster]) for cluster in (one, two)]
    proof = [*reversed(back), *reversed(forth), *writers]
    return words, [row for row in dict.fromkeys(proof) if row is not None and row >= 0]


def _precedence(registers: Registers, one: int, two: int) -> tuple[int | None, int | None]:
    """An operation of `one` that ended before one of `two` began; None stands for the value before everything."""
    ender = registers.first_ender(one)
    if ender is None:
        return None, None
    return ender, registers.first_after(two, int(registers.operations.end[ender]))


def _first(registers: Registers, one: int, two: int, proof: tuple[int | None, int | None]) -> str:
    operations = registers.operations
    before, after = proof
    values = [_value(registers, cluster) for cluster in (one, two)]
    if before is None or after is None:
        return f"{values[0]} was there before every write"
    return (
        f"{values[0]} came before {values[1]}, because {name_operation(operations, before)} ended at "
        f"{at(operations.end[before])}, before {name_operation(operations, after)} began at "
        f"{at(operations.start[after])}"
    )


def _value(registers: Registers, cluster: int) -> str:
    rows = registers.members(cluster)
    value = registers.operations.value[rows[0]]
    return "the initial value" if registers.writer[cluster] < 0 else f"value {value}"


def _anomaly(operations: Operations, timeline: Timeline, key: str, words: str, rows: list[int]) -> Anomaly:
    start = min(int(operations.start[row]) for row in rows)
    ends = [int(operations.end[row]) for row in rows if operations.end[row] != NEVER]
    end = max([start, *ends])
    context = timeline.describe(start, end)
    return Anomaly(
        kind=KIND,
        explanation=f"{name_key(key)} is not linearizable: {words}{f'; {context}' if context else ''}",
        operations=[int(operations.index[row]) for row in rows],
        key=key or None,
        fault=timeline.fault_at(start, end),
    )

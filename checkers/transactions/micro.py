"""Transactions as columns: one row per micro-operation, in the order transaction, key, position.

What an indeterminate or failed transaction read is not known, so its reads are left out here. So is everything that
touches a key on which nothing can be inferred (see `Transactions.undecided`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers.events import FAIL, OK
from checkers.flat import APPEND, KINDS, NULL, PLAIN, READ, WRITE, Ints, Values
from checkers.history import History, HistoryError, Operations

__all__ = ["APPEND", "NULL", "PLAIN", "READ", "WRITE", "Flags", "Ints", "Transactions", "Writes", "flatten"]

Flags = NDArray[np.bool_]

_ELSEWHERE = ("replica", "cache")
"""Ways (`via`) to read that do not ask the owner of a key; nobody promised anything about those reads."""
_LARGEST = 2**62


@dataclass(frozen=True)
class Transactions:
    """The transactions of a history, numbered 0 to n - 1 by their start, and their micro-operations.

    Columns of micro-operations (`txn` to `place`) have one entry each. Those of one transaction on one key are
    neighbours, in the order in which the transaction did them: a *group*.
    """

    operations: Operations
    row: Ints
    """Row in `operations`, by transaction."""
    ok: Flags
    failed: Flags
    keys: list[Any]
    """Names of keys as the history has them, by number."""
    undecided: dict[str, str]
    """Keys about which nothing can be inferred, and why."""
    txn: Ints
    key: Ints
    kind: NDArray[np.uint8]
    """`APPEND`, `WRITE` or `READ`."""
    length: Ints
    """How long the list is that it read, or `NULL` or `PLAIN`; `PLAIN` for whatever is appended."""
    code: Ints
    """The code of what it wrote (see `Values`), or of what it read if that is neither a list nor null."""
    place: Ints
    """Where it stands in its transaction."""
    shown: Ints
    """By read of a list: where its elements begin in `elements`."""
    elements: Ints
    """Codes of the elements of all lists that were read."""

    def __len__(self) -> int:
        """Number of transactions."""
        return len(self.row)

    @cached_property
    def head(self) -> Flags:
        """Whether a micro-operation is the first of its group."""
        return np.asarray((np.diff(self.txn, prepend=-1) != 0) | (np.diff(self.key, prepend=-1) != 0), np.bool_)

    @cached_property
    def group(self) -> Ints:
        """Number of the group of each micro-operation."""
        return np.cumsum(self.head) - 1

    @cached_property
    def updates(self) -> Flags:
        """Whether a micro-operation is the first of its group, a read, and a write follows it in the group."""
        writes = np.zeros(int(self.group[-1]) + 1 if len(self.group) else 0, np.bool_)
        writes[self.group[self.kind != READ]] = True
        return np.asarray(self.head & (self.kind == READ) & writes[self.group], np.bool_)

    @cached_property
    def start(self) -> Ints:
        """Nanoseconds since the run began, by transaction."""
        return self.operations.start[self.row]

    @cached_property
    def end(self) -> Ints:
        """Nanoseconds since the run began, or `NEVER`, by transaction."""
        return self.operations.end[self.row]

    @cached_property
    def process(self) -> Ints:
        """Process by transaction."""
        return self.operations.process[self.row]

    def argument(self, micro: int) -> Any:
        """What a micro-operation wrote or read."""
        return self.operations.value[self.row[self.txn[micro]]][self.place[micro]][2]

    def values(self, micros: Ints) -> list[Any]:
        """What micro-operations wrote or read."""
        return [self.argument(micro) for micro in micros.tolist()]

    def of(self, txn: int) -> range:
        """The micro-operations of one transaction."""
        first, last = np.searchsorted(self.txn, (txn, txn + 1)).tolist()
        return range(first, last)

    def without(self, keys: dict[int, str]) -> Transactions:
        """The same without the micro-operations on some keys, given by number with the reason why not."""
        if not keys:
            return self
        kept = ~np.isin(self.key, list(keys))
        reasons = {str(self.keys[number]): reason for number, reason in keys.items()}
        return replace(
            self,
            undecided={**self.undecided, **reasons},
            txn=self.txn[kept],
            key=self.key[kept],
            kind=self.kind[kept],
            length=self.length[kept],
            code=self.code[kept],
            place=self.place[kept],
            shown=self.shown[kept],
        )


def flatten(history: History, *, null_reads_unknown: bool = False) -> tuple[Transactions, Writes]:
    """The transactions of a history as columns, and what they wrote.

    `null_reads_unknown` says that a read of null in a transaction that returned means "not seen" and not "nothing
    there yet". Raises HistoryError, naming the operation, where a value is not a list of micro-operations.
    """
    operations = history.operations
    row = _taking_part(operations)
    values = operations.value if len(row) == len(operations) else [operations.value[n] for n in row.tolist()]
    place = history.flat.places(values, row)
    late = np.flatnonzero(place < 0)
    try:
        micros, size = history.flat.with_more([values[txn] for txn in late.tolist()])
    except (TypeError, KeyError) as error:
        raise _malformed(operations, row) from error
    place[late] = size + np.arange(len(late))
    sizes = micros.sizes[place]
    txn = np.repeat(np.arange(len(row)), sizes)
    position = np.arange(len(txn)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    number = np.repeat((np.cumsum(micros.sizes) - micros.sizes)[place], sizes) + position
    kind, length = micros.kind[number], micros.length[number]
    key, keys = _numbered(micros.key[number], list(history.flat.numbers))
    sized = np.where((micros.kind == READ) & (micros.length >= 0), micros.length, 0)
    shown = (np.cumsum(sized) - sized)[number]
    known = (kind != READ) | (operations.type[row] == OK)[txn]
    if null_reads_unknown:
        known &= (kind != READ) | (length != NULL)
    kept = np.flatnonzero(known)
    kept = kept[np.argsort(txn[kept] * max(1, len(keys)) + key[kept], kind="stable")]
    transactions = Transactions(
        operations=operations,
        row=row,
        ok=operations.type[row] == OK,
        failed=operations.type[row] == FAIL,
        keys=keys,
        undecided={},
        txn=txn[kept],
        key=key[kept],
        kind=kind[kept],
        length=length[kept],
        code=micros.code[number[kept]],
        place=position[kept],
        shown=shown[kept],
        elements=micros.elements,
    )
    transactions = transactions.without(_unfit(transactions))
    writes = Writes(transactions, history.flat.codes)
    repeated = writes.repeated()
    if repeated:
        transactions = transactions.without(repeated)
        writes = Writes(transactions, history.flat.codes)
    return transactions, writes


def _numbered(key: Ints, names: list[Any]) -> tuple[Ints, list[Any]]:
    """Number the keys anew, in the order in which transactions name them first."""
    first = np.full(len(names), len(key))
    first[key[::-1]] = np.arange(len(key))[::-1]  # of several the first: it is assigned last
    order = np.argsort(first, kind="stable")[: np.count_nonzero(first < len(key))]
    number = never(len(names))
    number[order] = np.arange(len(order))
    return number[key], [names[known] for known in order.tolist()]


def _taking_part(operations: Operations) -> Ints:
    """Rows of the transactions that asked the owner of their keys."""
    rows = operations.rows("txn")
    strangers = [
        row
        for row, found in operations.details.items()
        if (via := found.get("via")) in _ELSEWHERE or str(via).startswith("from:")
    ]
    return rows[~np.isin(rows, strangers)] if strangers else rows


def _malformed(operations: Operations, rows: Ints) -> HistoryError:
    for row in rows.tolist():
        value = operations.value[row]
        try:
            fits = all(len(micro) == 3 and micro[0] in KINDS and hash(micro[1]) is not None for micro in value)
        except TypeError:
            fits = False
        if not fits:
            return HistoryError(
                f"operation {operations.index[row]}: a transaction is a list of micro-operations "
                f'["append", key, value], ["w", key, value] or ["r", key, value], not {str(value)[:120]}'
            )
    return HistoryError("a transaction of this history is no list of micro-operations")


def _unfit(transactions: Transactions) -> dict[int, str]:
    """Numbers of the keys that are neither lists nor registers, and why."""
    key, kind, size = transactions.key, transactions.kind, len(transactions.keys)
    bad: dict[int, str] = {}
    lists = np.bincount(key[kind == APPEND], minlength=size) > 0
    registers = np.bincount(key[kind == WRITE], minlength=size) > 0
    for number in np.flatnonzero(lists & registers).tolist():
        bad[number] = "it was both appended to and written, so what it should hold is not defined"
    unlike = {
        "it was appended to, but a read of it returned no list": (kind == READ)
        & (transactions.length == PLAIN)
        & lists[key],
        "it was written as a register, but a read of it returned a list": (kind == READ)
        & (transactions.length >= 0)
        & registers[key],
        "null was written to it, which looks like its initial value": (kind == WRITE) & (transactions.length == NULL),
    }
    for reason, micros in unlike.items():
        for number in np.unique(key[micros]).tolist():
            bad.setdefault(number, reason)
    return bad


class Writes:
    """All appends and writes of the transactions, failed ones too, to be found by key and value."""

    def __init__(self, transactions: Transactions, values: Values) -> None:
        self.values = values
        self._transactions = transactions
        self.micro = np.flatnonzero(transactions.kind != READ)
        self.txn = transactions.txn[self.micro]
        self.key = transactions.key[self.micro]
        self.value = transactions.code[self.micro]
        self.last = np.diff(transactions.group[self.micro], append=-1) != 0
        """Whether it is the last write of its transaction to its key."""
        self.failed = transactions.failed[self.txn]
        self._low, self._span = int(self.value.min(initial=_LARGEST)), 1
        if len(self.value):
            self._span = int(self.value.max()) - self._low + 1
        self._ranks = np.unique(self.value) if (len(transactions.keys) + 1) * self._span >= _LARGEST else None
        pair = self._pair(self.key, self.value)
        # A failed write of a value that another transaction wrote as well is behind it: certainly not the one seen.
        self._order = np.lexsort((self.failed, pair)) if self.failed.any() else np.argsort(pair)
        self._sorted = pair[self._order]

    def _pair(self, key: Ints, value: Ints) -> Ints:
        """One number for key and value; a value that was never written may get that of another."""
        if self._ranks is None:
            return key * self._span + np.clip(value - self._low, 0, self._span - 1)
        return key * (len(self._ranks) + 1) + np.searchsorted(self._ranks, value)

    def find(self, key: Ints, value: Ints) -> Ints:
        """Which write put each value to each key, -1 where none did."""
        if not len(self.micro):
            return never(len(key))
        pair = self._pair(key, value)
        place = np.minimum(np.searchsorted(self._sorted, pair), len(self._sorted) - 1)
        write = self._order[place]
        return np.where((self._sorted[place] == pair) & (self.value[write] == value), write, -1)

    def repeated(self) -> dict[int, str]:
        """Numbers of the keys to which transactions that did not fail wrote a value twice, and what it was."""
        sure = ~self.failed[self._order]
        pair, write = self._sorted[sure], self._order[sure]
        bad: dict[int, str] = {}
        for place in np.flatnonzero(pair[1:] == pair[:-1]).tolist():
            micro = int(self.micro[write[place]])
            verb = "appended" if self._transactions.kind[micro] == APPEND else "written"
            shown = show(self._transactions.argument(micro))
            bad.setdefault(
                int(self.key[write[place]]), f"{shown} was {verb} to it twice, so a read does not name its writer"
            )
        return bad


def show(value: Any, longest: int = 6) -> str:
    """A value in words: long lists by their last elements, `[12 more, 4, 5, 6]`, and nothing as null."""
    if value is None:
        return "null"
    if isinstance(value, list):
        tail = ", ".join(str(element) for element in value[-longest:])
        return f"[{len(value) - longest} more, {tail}]" if len(value) > longest else f"[{tail}]"
    return str(value)


def never(size: int) -> Ints:
    """`size` times "none" (-1)."""
    return np.full(size, -1, np.int64)

"""Transactions as columns: flattening lists of lists of lists is the one thing that NumPy cannot do.

It is done while a history is read, because what was just decoded is still at hand then; fetching ten million small
objects from memory once more takes longer than all that is computed from them. Checkers take the columns, and look at
the objects themselves only to put them into words.

A transaction is a list of micro-operations: `["append", k, v]`, `["w", k, v]` and `["r", k, value read]`.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, compress, count
from operator import is_
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

APPEND, WRITE, READ = 0, 1, 2
NULL, PLAIN = -1, -2
"""Instead of a length: an argument that is null, or one that is no list."""
KINDS = {"append": APPEND, "w": WRITE, "r": READ}

_BLOCK = 256
"""Transactions flattened at a time: few, so that what one pass fetched from memory is still at hand for the next."""
_LARGEST = 2**62


@dataclass
class Values:
    """Gives equal values equal codes. A whole number is its own code; anything else gets one when first met."""

    others: dict[Any, int] = field(default_factory=dict)

    def encode(self, values: Sequence[Any]) -> Ints:
        """The codes of values, in order."""
        try:
            codes = np.frombuffer(array("q", values), np.int64)
        except (TypeError, OverflowError):
            return np.fromiter(map(self._code, values), np.int64, len(values))
        if len(codes) and not -_LARGEST < codes.min() <= codes.max() < _LARGEST:
            return np.fromiter(map(self._code, values), np.int64, len(values))
        return codes

    def _code(self, value: Any) -> int:
        if isinstance(value, (int, float)) and value == value // 1 and -_LARGEST < value < _LARGEST:
            return int(value)
        try:
            return self.others.setdefault(value, -_LARGEST - len(self.others))
        except TypeError:  # unhashable: a list or a table
            return self.others.setdefault(("as written", repr(value)), -_LARGEST - len(self.others))


class Micros(NamedTuple):
    """Micro-operations of transactions, one after the other."""

    sizes: Ints
    """How many each transaction has."""
    kind: NDArray[np.uint8]
    key: Ints
    """Number of the key."""
    length: Ints
    """How long the list is that it read or wrote, or `NULL` or `PLAIN`; `PLAIN` for whatever is appended."""
    code: Ints
    """The code of what it wrote, or of what it read if that is neither a list nor null."""
    elements: Ints
    """Codes of the elements of all lists that were read, one list after the other."""


@dataclass
class Flat:
    """Transactions of a history as columns, filled block by block."""

    numbers: defaultdict[Any, int] = field(default_factory=lambda: defaultdict(count().__next__))
    """Keys by name, as the history has it."""
    codes: Values = field(default_factory=Values)
    values: list[Any] = field(default_factory=list)
    """The transactions themselves, by place."""
    blocks: list[Micros] = field(default_factory=list)
    of_row: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """By row of the history's operations the place of its value here, -1 if it is not here."""

    def add(self, values: list[Any]) -> None:
        """Flatten transactions. Raises TypeError or KeyError where one is no list of micro-operations."""
        for first in range(0, len(values), _BLOCK):
            block = values[first : first + _BLOCK]
            self.blocks.append(self._block(block))
            self.values += block

    def places(self, values: list[Any], rows: Ints) -> Ints:
        """Where the values of rows are, -1 for those that are not here, or not any more."""
        if not len(self.values) or rows.max(initial=-1) >= len(self.of_row):
            return np.full(len(rows), -1, np.int64)
        place = self.of_row[rows]
        same = map(is_, map(self.values.__getitem__, place.tolist()), values)
        return np.where((place >= 0) & np.fromiter(same, np.bool_, len(rows)), place, -1)

    def with_more(self, values: list[Any]) -> tuple[Micros, int]:
        """The columns, followed by those of more transactions; and the place of the first of these."""
        more = Flat(self.numbers, self.codes)
        more.add(values)
        blocks = [self._block([]), *self.blocks, *more.blocks]
        return Micros(*(np.concatenate(column) for column in zip(*blocks, strict=True))), len(self.values)

    def _block(self, values: list[Any]) -> Micros:
        sizes = np.fromiter(map(len, values), np.int64, len(values))
        try:
            kinds, keys, arguments = list(zip(*chain.from_iterable(values), strict=True)) or ((), (), ())
        except ValueError as error:
            raise TypeError("some micro-operation has not three parts") from error
        size = len(kinds)
        kind = np.fromiter(map(KINDS.__getitem__, kinds), np.uint8, size)
        key = np.fromiter(map(self.numbers.__getitem__, keys), np.int64, size)
        taken = kind != APPEND
        length = np.full(size, PLAIN, np.int64)
        length[taken] = [
            len(argument) if argument.__class__ is list else NULL if argument is None else PLAIN
            for argument in compress(arguments, taken.tolist())
        ]
        coded = (kind != READ) | (length == PLAIN)
        code = np.zeros(size, np.int64)
        code[coded] = self.codes.encode(list(compress(arguments, coded.tolist())))
        lists = compress(arguments, ((kind == READ) & (length >= 0)).tolist())
        elements = self.codes.encode(list(chain.from_iterable(lists)))
        return Micros(sizes, kind, key, length, code, elements)

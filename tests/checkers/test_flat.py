"""Transactions as columns: codes of values, and which columns belong to which row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from checkers.flat import APPEND, NULL, PLAIN, READ, WRITE, Flat, Values

LARGEST = 2**62
"""From here on a number is no code of its own."""
OWN = [0, 7, -3, LARGEST - 1, 1 - LARGEST]
OTHERS = [LARGEST, -LARGEST, 2**63, -(2**80), 1.5, "a", "7", None, (1, 2), [1, 2], {"a": 1}]


def test_whole_numbers_are_their_own_codes_and_all_else_gets_codes_below_them() -> None:
    values = Values()
    assert values.encode(OWN).tolist() == OWN
    assert values.encode([]).tolist() == []
    assert values.encode([7.0, "a", True]).tolist() == [7, -LARGEST, 1]
    codes = [int(values.encode([value])[0]) for value in OTHERS]
    assert len(set(codes)) == len(OTHERS)
    assert max(codes) == -LARGEST
    assert min(codes) == -LARGEST - len(OTHERS) + 1
    assert values.encode(OTHERS).tolist() == codes  # again the same, together or one by one
    assert values.encode([*OWN, *OTHERS]).tolist() == [*OWN, *codes]
    assert values.encode([5, *reversed(OTHERS)]).tolist() == [5, *reversed(codes)]


@pytest.mark.parametrize("stranger", [LARGEST, -LARGEST, LARGEST + 9, -LARGEST - 9])
@pytest.mark.parametrize("beside", [[], [3], [LARGEST - 1, 1 - LARGEST]])
def test_a_number_that_could_be_taken_for_a_code_gets_one(stranger: int, beside: list[int]) -> None:
    values = Values()
    assert values.encode(["x"]).tolist() == [-LARGEST]
    assert values.encode([*beside, stranger]).tolist() == [*beside, -LARGEST - 1]
    assert values.encode([stranger, *beside]).tolist() == [-LARGEST - 1, *beside]


TXNS: list[Any] = [
    [["append", "x", 5], ["r", "x", [4, 5]], ["r", "y", None]],
    [],
    [["w", "y", [1, 2]], ["w", "z", 8], ["r", "z", 8], ["r", "x", []]],
    [["append", "x", [9]], ["r", "z", "word"]],
]


def test_the_columns_of_transactions() -> None:
    flat = Flat()
    flat.add(TXNS)
    micros, size = flat.with_more([[["r", "new", [6, 7]]]])
    assert size == len(TXNS)
    assert micros.sizes.tolist() == [3, 0, 4, 2, 1]
    assert micros.kind.tolist() == [APPEND, READ, READ, WRITE, WRITE, READ, READ, APPEND, READ, READ]
    names = {number: name for name, number in flat.numbers.items()}
    assert [names[key] for key in micros.key.tolist()] == ["x", "x", "y", "y", "z", "z", "x", "x", "z", "new"]
    assert micros.length.tolist() == [PLAIN, 2, NULL, 2, PLAIN, PLAIN, 0, PLAIN, PLAIN, 2]
    assert micros.elements.tolist() == [4, 5, 6, 7]
    coded = [5, None, None, *flat.codes.encode([[1, 2]]), 8, 8, None, *flat.codes.encode([[9], "word"]), None]
    assert [c for c, wanted in zip(micros.code.tolist(), coded, strict=True) if wanted is not None] == [
        wanted for wanted in coded if wanted is not None
    ]


def test_many_transactions_are_the_same_as_each_alone() -> None:
    many = [[["append", f"k{n % 7}", n], ["r", f"k{n % 5}", list(range(n % 4))]] for n in range(700)]
    flat, single = Flat(), Flat()
    flat.add(many)
    for txn in many:
        single.add([txn])
    together, alone = flat.with_more([])[0], single.with_more([])[0]
    assert all((one == two).all() for one, two in zip(together, alone, strict=True))
    assert len(flat.values) == len(together.sizes) == 700


def test_a_value_is_found_by_its_row_as_long_as_it_is_that_value() -> None:
    flat = Flat()
    assert flat.places(TXNS, np.arange(len(TXNS))).tolist() == [-1] * len(TXNS)
    flat.add(TXNS)
    assert flat.places(TXNS[:1], np.array([0])).tolist() == [-1]  # not told yet to which rows they belong
    flat.of_row = np.array([-1, 0, 1, -1, 2, 3])
    rows = np.array([1, 2, 4, 5])
    assert flat.places(TXNS, rows).tolist() == [0, 1, 2, 3]
    assert flat.places(TXNS[1:], rows[1:]).tolist() == [1, 2, 3]
    assert flat.places([TXNS[0], TXNS[3]], np.array([0, 3])).tolist() == [-1, -1]
    changed = [TXNS[0], [], [*TXNS[2]], TXNS[3]]
    assert flat.places(changed, rows).tolist() == [0, -1, -1, 3]
    assert flat.places([TXNS[0], TXNS[3]], np.array([1, 6])).tolist() == [-1, -1]  # the history has rows of its own
    assert flat.places([], np.array([], np.int64)).tolist() == []

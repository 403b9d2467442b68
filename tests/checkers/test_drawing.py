"""Operations drawn as intervals: the corners. Whole anomalies are drawn in `tests/golden/`."""

import pytest
from exhaustive import Op, as_history

from checkers.drawing import draw, rows_of


def test_an_operation_that_took_no_time_and_one_that_never_ended() -> None:
    history = as_history([Op("write", 1, 0, 9, "info"), Op("read", 1, 5_000_000, 5_000_000)])
    assert draw(history, [0, 1]).splitlines() == [
        "process 0  | write 1 >",
        "process 1    | read 1",
        "ms         0 5",
    ]


def test_equal_times_share_a_column() -> None:
    first, second, _ = draw(as_history([Op("write", 1, 0, 7), Op("read", 1, 7, 9)]), [0, 1]).splitlines()
    assert first.rindex("|") == second.index("|")


def test_nothing_is_drawn_as_nothing() -> None:
    assert draw(as_history([]), []) == ""


def test_an_operation_that_is_not_there_is_an_error() -> None:
    history = as_history([Op("write", 1, 0, 1)])
    with pytest.raises(KeyError):
        rows_of(history.operations, [5])

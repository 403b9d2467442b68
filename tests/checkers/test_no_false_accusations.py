"""Whoever kept every promise is accused of nothing: valid histories of all workloads, by all checkers meant for them.

`python tests/soak_checkers.py` does the same with as many histories as there is time for.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from valid_runs import KINDS, NAMES, RUNS, batch

from checkers.events import OK

SEEDS = st.integers(0, 2**32)
SMALL = [name for name in NAMES if name not in RUNS]


@pytest.mark.parametrize("kind", SMALL)
@settings(max_examples=20, deadline=None)
@given(SEEDS, st.integers(1, 12))
def test_a_valid_history_is_valid(kind: str, seed: int, histories: int) -> None:
    assert [str(found) for _, found in batch(kind, seed, histories).accusations()] == []


@pytest.mark.parametrize("kind", SMALL)
def test_the_histories_are_worth_checking(kind: str) -> None:
    """They have operations of every outcome, answers of every function, and something to check for every checker."""
    made = batch(kind, 1, 40)
    operations = made.history.operations
    assert len(operations) > 200
    assert {int(outcome) for outcome in operations.type} == ({0, 1, 2} if kind in KINDS else {1, 2})
    assert {int(f) for f in operations.f[operations.type == OK]} == set(range(len(operations.functions)))
    assert all(check(made.history).metrics["checked"] > 50 for check in made.checkers.values())

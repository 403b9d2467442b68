"""The general search against one that tries every order."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkers.finding import Verdict
from checkers.history import NEVER
from checkers.models import INCONSISTENT, MODELS, UNSEEN, Call, Model
from checkers.search import Budget, search

VALUES = (1, 2)
STRINGS = ("a", "b", "ab", "ba", "aab", "")
ASKED: dict[str, dict[str, tuple[Any, ...]]] = {
    "register": {"write": VALUES, "read": (None, *VALUES)},
    "cas-register": {"write": VALUES, "read": (None, *VALUES), "cas": ((1, 2), (2, 1), (1, 1), (None, 1))},
    "kv": {"put": ("a", "b"), "append": ("a", "b"), "get": (None, *STRINGS)},
    "set": {"add": VALUES, "read": ((), (1,), (2,), (1, 2))},
    "counter": {"add": (1, 2, -1), "read": (None, 0, 1, 2, 3)},
    "lock": {"acquire": VALUES, "release": VALUES},
    "queue": {"enqueue": VALUES, "dequeue": (None, *VALUES)},
}


def exhaustive(model: Model, calls: list[Call], initial: Any) -> bool:
    """Whether some order of all calls that returned, and of any of the others, is legal and respects time."""

    def placed(state: Any, left: frozenset[int]) -> bool:
        if all(calls[n].end == NEVER for n in left):
            return True
        for n in left:
            if any(calls[other].end < calls[n].start for other in left):
                continue
            after = model.step(state, calls[n].f, calls[n].value_in, calls[n].value_out)
            if after is not INCONSISTENT and placed(after, left - {n}):
                return True
        return False

    return placed(initial, frozenset(range(len(calls))))


@st.composite
def histories(draw: st.DrawFn, name: str) -> list[Call]:
    """Calls whose starts and ends are a random order of moments, some of them at the same moment."""
    model = MODELS[name]()
    count = draw(st.integers(1, 7))
    moments = draw(st.lists(st.integers(0, 10), min_size=2 * count, max_size=2 * count))
    calls = []
    for n in range(count):
        f = draw(st.sampled_from(sorted(ASKED[name])))
        value = draw(st.sampled_from(ASKED[name][f]))
        start, end = sorted(moments[2 * n : 2 * n + 2])
        lost = f not in model.reads and draw(st.integers(0, 3)) == 0
        if lost:
            value_in = None if f == "dequeue" else value
            calls.append(Call(n, start, NEVER, f, value_in, UNSEEN))
        else:
            calls.append(Call(n, start, end, f, value, value))
    return calls


@pytest.mark.parametrize("name", MODELS)
def test_agrees_with_trying_every_order(name: str) -> None:
    model = MODELS[name]()
    verdicts = set()

    @given(histories(name))
    def compare(calls: list[Call]) -> None:
        outcome = search(model, calls, model.initial, Budget.of(60))
        legal = exhaustive(model, calls, model.initial)
        assert outcome.verdict is (Verdict.VALID if legal else Verdict.INVALID)
        verdicts.add(legal)
        if not legal:
            assert outcome.exact
            check_report(model, calls, outcome)

    compare()
    assert verdicts == {True, False}


def check_report(model: Model, calls: list[Call], outcome: Any) -> None:
    """The prefix is legal, respects time, and holds all that returned before the first operation that is stuck."""
    state = model.initial
    for place, name in enumerate(outcome.order):
        call = calls[name]
        state = model.step(state, call.f, call.value_in, call.value_out)
        assert state is not INCONSISTENT
        assert not any(calls[later].end < call.start for later in outcome.order[place:])
    first = calls[outcome.stuck[0]]
    assert outcome.stuck[0] not in outcome.order
    assert first.end != NEVER
    earlier = [call for call in calls if call.end < first.end]
    assert {call.name for call in earlier} <= set(outcome.order)
    # Without the operation that is stuck, and all that returned later, the history is legal; with it, it is not.
    open_later = [call._replace(end=NEVER) if call.end >= first.end else call for call in calls]
    writes = [c for c in open_later if not (c.end == NEVER and c.f in model.reads)]
    assert exhaustive(model, writes, model.initial)
    assert outcome.states

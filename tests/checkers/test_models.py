"""Sequential models, step by step."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from object_histories import history

from checkers.events import Event
from checkers.finding import Verdict
from checkers.history import from_events
from checkers.linearizability_general import check_model, named
from checkers.models import INCONSISTENT, MODELS, UNSEEN, Call, Kv, Model, Queue, freeze, shown

STEPS: dict[str, list[tuple[Any, str, Any, Any, Any]]] = {
    "register": [
        (None, "read", None, None, None),
        (None, "read", 1, 1, INCONSISTENT),
        (None, "write", 1, 1, 1),
        (2, "write", 1, UNSEEN, 1),
        (2, "read", None, UNSEEN, 2),
    ],
    "cas-register": [
        (1, "cas", (1, 2), (1, 2), 2),
        (1, "cas", (1, 2), UNSEEN, 2),
        (3, "cas", (1, 2), (1, 2), INCONSISTENT),
        (1, "read", 1, 1, 1),
        (1, "write", 4, 4, 4),
    ],
    "kv": [
        ("", "get", None, None, ""),
        ("", "get", "", "", ""),
        ("a", "get", None, None, INCONSISTENT),
        ("a", "append", "b", "b", "ab"),
        ("a", "put", "b", "b", "b"),
        ("ab", "get", "ab", "ab", "ab"),
        ("ab", "get", "a", "a", INCONSISTENT),
    ],
    "set": [
        (frozenset(), "add", 1, 1, frozenset({1})),
        (frozenset({1}), "add", 1, 1, frozenset({1})),
        (frozenset({1, 2}), "read", (2, 1), (2, 1), frozenset({1, 2})),
        (frozenset({1, 2}), "read", (1,), (1,), INCONSISTENT),
        (frozenset(), "read", None, None, frozenset()),
    ],
    "counter": [
        (0, "add", 3, 3, 3),
        (3, "add", -1, UNSEEN, 2),
        (0, "read", None, None, 0),
        (3, "read", 3, 3, 3),
        (3, "read", 2, 2, INCONSISTENT),
    ],
    "lock": [
        (None, "acquire", "a", "a", ("a",)),
        (("a",), "acquire", "b", "b", INCONSISTENT),
        (("a",), "release", "a", "a", None),
        (("a",), "release", "b", "b", INCONSISTENT),
        (None, "release", "a", "a", INCONSISTENT),
        (None, "acquire", None, None, (None,)),
        ((None,), "release", None, UNSEEN, None),
    ],
    "queue": [
        ((), "enqueue", 1, 1, (1,)),
        ((1,), "enqueue", 2, 2, (1, 2)),
        ((1, 2), "dequeue", 1, 1, (2,)),
        ((1, 2), "dequeue", 2, 2, INCONSISTENT),
        ((1, 2), "dequeue", None, None, INCONSISTENT),
        ((), "dequeue", None, None, ()),
        ((), "dequeue", 1, 1, INCONSISTENT),
        ((1, 2), "dequeue", None, UNSEEN, (2,)),
        ((), "dequeue", None, UNSEEN, ()),
    ],
}


@pytest.mark.parametrize(("name", "step"), [(name, step) for name in MODELS for step in STEPS[name]])
def test_steps(name: str, step: tuple[Any, str, Any, Any, Any]) -> None:
    state, f, value_in, value_out, after = step
    assert named(name).step(state, f, value_in, value_out) == after


@pytest.mark.parametrize("name", MODELS)
def test_what_it_says_of_its_functions_is_true(name: str) -> None:
    model = named(name)
    assert model.overwrites <= model.blind <= model.functions
    assert model.reads <= model.functions
    for state, f, value_in, value_out, after in STEPS[name]:
        assert f in model.functions
        if f in model.reads:
            assert after in (state, INCONSISTENT)
        if f in model.blind:
            assert after is not INCONSISTENT
            assert model.step(state, f, value_in, UNSEEN) == model.step(state, f, value_in, value_out)
        if f in model.overwrites:
            assert after == model.step(model.initial, f, value_in, value_out)


VALUES = st.sampled_from([1, 2, 3])
ASKED: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "register": {"write": VALUES, "read": VALUES | st.none()},
    "cas-register": {"write": VALUES, "read": VALUES | st.none(), "cas": st.tuples(VALUES, VALUES)},
    "kv": {
        "put": st.sampled_from(["a", "b"]),
        "append": st.sampled_from(["a", "b"]),
        "get": st.text("ab", max_size=3),
    },
    "set": {"add": VALUES, "read": st.lists(VALUES, unique=True).map(tuple)},
    "counter": {"add": st.integers(-2, 3), "read": st.integers(-2, 6)},
    "queue": {"enqueue": VALUES, "dequeue": VALUES | st.none()},
}


@st.composite
def steps(draw: st.DrawFn, name: str) -> tuple[str, Any, Any]:
    f = draw(st.sampled_from(sorted(ASKED[name])))
    value = draw(ASKED[name][f])
    seen = f in named(name).reads or draw(st.booleans())
    return f, value if seen or f != "dequeue" else None, value if seen else UNSEEN


@pytest.mark.parametrize("name", ASKED)
def test_says_that_nothing_leads_on_only_where_nothing_does(name: str) -> None:
    model = named(name)
    answers = set()
    results = steps(name).filter(lambda step: step[0] not in model.blind and step[2] is not UNSEEN)

    @given(st.lists(steps(name), max_size=3), results, st.lists(steps(name), max_size=3))
    def compare(before: list[Any], target: Any, others: list[Any]) -> None:
        state: Any = model.initial
        for step in before:
            after = model.step(state, *step)
            state = state if after is INCONSISTENT else after
        others = [step for step in others if step[0] not in model.reads]
        answer = model.leads_to(state, target, others)
        if not answer:
            assert not reachable(model, state, target, others)
        answers.add(answer)

    compare()
    assert answers == {True, False}


def reachable(model: Model, state: Any, target: Any, others: list[Any]) -> bool:
    """Whether the target is possible after some of the others, in some order."""
    for count in range(len(others) + 1):
        for order in permutations(others, count):
            now: Any = state
            for step in order:
                now = model.step(now, *step)
                if now is INCONSISTENT:
                    break
            if now is not INCONSISTENT and model.step(now, *target) is not INCONSISTENT:
                return True
    return False


def test_elements_that_left_in_an_order_must_have_come_in_it() -> None:
    calls = [
        Call(0, 0, 1, "enqueue", 1, 1),
        Call(1, 0, 1, "enqueue", 2, 2),
        Call(2, 2, 3, "dequeue", 1, 1),
        Call(3, 4, 5, "dequeue", 2, 2),
    ]
    model = Queue().specialised(calls)
    target = ("dequeue", 1, 1)
    assert model.leads_to((1, 2), target, [])
    others = [("dequeue", 2, 2)]
    assert Queue().leads_to((2, 1), target, others)
    assert not model.leads_to((2, 1), target, others)
    twice = [*calls, Call(4, 0, 1, "enqueue", 1, 1)]
    assert Queue().specialised(twice).leads_to((2, 1), target, others)


def test_strings_that_nothing_returned_begins_with_are_one_state() -> None:
    model = Kv().specialised([Call(0, 0, 1, "get", "ab", "ab"), Call(1, 0, 1, "get", None, None)])
    assert model.step("", "append", "a", "a") == "a"
    lost = model.step("a", "append", "a", "a")
    assert lost is model.step("", "put", "b", "b") is model.step(lost, "append", "x", "x") is UNSEEN
    assert model.step(lost, "get", "aa", "aa") is INCONSISTENT
    assert model.step(lost, "put", "ab", "ab") == "ab"
    assert not model.leads_to(lost, ("get", "ab", "ab"), [("append", "b", "b")])
    assert model.leads_to(lost, ("get", "ab", "ab"), [("put", "a", "a")])
    assert model.show(lost) == "something that nobody got"


@pytest.mark.parametrize(
    ("name", "value", "state", "words"),
    [
        ("register", [1], (1,), "[1]"),
        ("kv", "x", "x", '"x"'),
        ("kv", None, "", '""'),
        ("set", [2, 1], frozenset({1, 2}), "{1, 2}"),
        ("set", None, frozenset(), "{}"),
        ("counter", 5, 5, "5"),
        ("counter", None, 0, "0"),
        ("lock", None, None, "free"),
        ("lock", "t", ("t",), 'held by "t"'),
        ("queue", [1, 2], (1, 2), "[1,2]"),
    ],
)
def test_the_state_that_a_value_stands_for(name: str, value: Any, state: Any, words: str) -> None:
    model = named(name)
    assert model.state(value) == state
    assert model.show(state) == words
    assert named("lock").show((None,)) == "held"


def test_values_become_hashable_and_words_stay_short() -> None:
    assert freeze({"b": [1, {2}], "a": None}) == (("a", None), ("b", (1, frozenset({2}))))
    assert shown({"a": [1, "x"]}) == '{"a":[1,"x"]}'
    assert len(shown("x" * 1000)) < 90


class Highest(Model):
    """A model of one's own."""

    name, functions, initial = "highest", frozenset({"raise", "read"}), 0

    def step(self, state: Any, f: str, value_in: Any, value_out: Any) -> Any:
        if f == "raise":
            return max(state, value_in)
        return state if value_out in (state, UNSEEN) else INCONSISTENT


@pytest.mark.parametrize(("answer", "verdict"), [(5, Verdict.VALID), (3, Verdict.INVALID)])
def test_a_model_of_ones_own(answer: int, verdict: Verdict) -> None:
    operations = [("raise", 5), ("raise", 3), ("read", answer)]
    events = [Event(kind, f, 0, value=value) for f, value in operations for kind in ("invoke", "ok")]
    found = check_model(from_events(events), Highest())
    assert found.verdict is verdict
    assert found.metrics["model"] == "highest"
    if verdict is Verdict.INVALID:
        assert "read 3 (operation 4)" in found.anomalies[0].explanation
        assert "the state is 5; 2 of the 3 operations can be placed" in found.anomalies[0].explanation


def test_objects_of_other_kinds_are_left_to_others() -> None:
    assert check_model(history("set", count=30, clients=2), "register").metrics["checked"] == 0
    with pytest.raises(ValueError, match="no model is called 'stack'; there are register"):
        named("stack")


def test_operations_that_the_model_does_not_know_leave_the_object_undecided() -> None:
    events = [Event(kind, f, 0, value=1) for f in ("write", "delete") for kind in ("invoke", "ok")]
    found = check_model(from_events(events), "register")
    assert found.verdict is Verdict.UNKNOWN
    assert found.reason == "the object is not decided: it has operations that a register does not know: delete"

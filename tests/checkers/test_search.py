"""The general search against one that tries every order."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from object_histories import history, record

from checkers.events import NEVER
from checkers.finding import Verdict
from checkers.history import from_events
from checkers.linearizability_general import check_model
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


def drawn(name: str, rng: random.Random) -> list[Call]:
    """Calls as above, by lot."""
    model = MODELS[name]()
    calls = []
    for n in range(rng.randint(2, 7)):
        f = rng.choice(sorted(ASKED[name]))
        value = rng.choice(ASKED[name][f])
        start, end = sorted(rng.choices(range(11), k=2))
        if f not in model.reads and rng.random() < 0.25:
            calls.append(Call(n, start, NEVER, f, None if f == "dequeue" else value, UNSEEN))
        else:
            calls.append(Call(n, start, end, f, value, value))
    return calls


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", MODELS)
def test_agrees_however_much_it_forgets_and_without_a_second_look(
    name: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, rng = MODELS[name](), random.Random(seed)
    monkeypatch.setattr("checkers.search._LOOK_EVERY", 1)
    for _ in range(40):
        calls = drawn(name, rng)
        legal = exhaustive(model, calls, model.initial)
        for forget_at, second_look_s in ((20_000, 60.0), (0, 60.0), (20_000, -1.0)):
            monkeypatch.setattr("checkers.search._FORGET_AT", forget_at)
            monkeypatch.setattr("checkers.search._SECOND_LOOK_S", second_look_s)
            outcome = search(model, calls, model.initial, Budget.of(60))
            assert outcome.verdict is (Verdict.VALID if legal else Verdict.INVALID), calls
            if not legal and outcome.exact:
                check_report(model, calls, outcome)
            elif not legal:
                assert second_look_s < 0
                check_rough_report(model, calls, outcome)


def check_rough_report(model: Model, calls: list[Call], outcome: Any) -> None:
    """The prefix is legal and respects time; the states are ones that some of the calls leave behind."""
    model, state = model.specialised(calls), model.initial
    for place, name in enumerate(outcome.order):
        call = calls[name]
        state = model.step(state, call.f, call.value_in, call.value_out)
        assert state is not INCONSISTENT
        assert not any(calls[later].end < call.start for later in outcome.order[place:])
    assert calls[outcome.stuck[0]].end != NEVER
    reachable, todo = {(model.initial, frozenset())}, [(model.initial, frozenset[int]())]
    while todo:
        state, done = todo.pop()
        for n, call in enumerate(calls):
            after = model.step(state, call.f, call.value_in, call.value_out)
            if n not in done and after is not INCONSISTENT and (after, done | {n}) not in reachable:
                reachable.add((after, done | {n}))
                todo.append((after, done | {n}))
    assert set(outcome.states) <= {state for state, _ in reachable}


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


@pytest.mark.parametrize("name", MODELS)
def test_never_accuses_what_has_hidden_moments(name: str) -> None:
    for seed in range(12):
        recorded = history(name, count=90, clients=4, keys=3, lost=0.08, seed=seed)
        finding = check_model(recorded, name, budget_s=5)
        assert finding.verdict is not Verdict.INVALID, finding.anomalies
        assert name == "queue" or finding.verdict is Verdict.VALID
        assert finding.metrics["checked"] >= 15


@pytest.mark.parametrize("name", ["register", "cas-register", "kv", "set", "counter"])
def test_finds_an_answer_that_no_order_explains(name: str) -> None:
    wrong = {"set": [10**6], "kv": "never appended"}.get(name, 10**6)
    for seed in range(5):
        events = record(name, count=90, clients=4, lost=0.05, seed=seed)
        read = [event for event in events if event.type == "ok" and event.f in ("read", "get")][seed]
        read.value = wrong
        finding = check_model(from_events(events), name)
        assert finding.counts == {"non-linearizable": 1}
        before = enumerate(events[: events.index(read)])
        invoked = max(place for place, event in before if event.process == read.process and event.type == "invoke")
        assert finding.anomalies[0].operations[0] == invoked
        assert f"operation {invoked}" in finding.anomalies[0].explanation


def test_an_operation_that_never_returned_may_explain_a_result_or_not() -> None:
    calls = [Call(0, 0, NEVER, "write", 1, UNSEEN), Call(1, 5, 6, "read", None, None), Call(2, 7, 8, "read", 1, 1)]
    model = MODELS["register"]()
    assert search(model, calls, None, Budget.of(60)).verdict is Verdict.VALID
    back = [*calls, Call(3, 9, 10, "read", None, None)]
    outcome = search(model, back, None, Budget.of(60))
    assert outcome.verdict is Verdict.INVALID
    assert outcome.order == [1, 0, 2]
    assert outcome.stuck == [3]
    assert outcome.states == [1]


def test_equal_times_are_concurrent() -> None:
    model = MODELS["register"]()
    calls = [Call(0, 0, 5, "write", 1, 1), Call(1, 5, 9, "read", None, None)]
    assert search(model, calls, None, Budget.of(60)).verdict is Verdict.VALID
    apart = [calls[0], calls[1]._replace(start=6)]
    assert search(model, apart, None, Budget.of(60)).verdict is Verdict.INVALID


def test_out_of_time_or_memory_is_unknown_with_the_reason() -> None:
    rng = random.Random(5)
    appends = [Call(n, 0, 100, "enqueue", n, n) for n in range(14)]
    takes = [Call(20 + n, 200, 300, "dequeue", n % 7, n % 7) for n in rng.sample(range(14), 14)]
    model = MODELS["queue"]()
    late = search(model, [*appends, *takes], (), Budget(deadline=0.0, seconds=0.5))
    assert late.verdict is Verdict.UNKNOWN
    assert late.reason == "out of budget: 0.5 s were not enough"
    full = search(model, [*appends, *takes], (), Budget.of(60, most_bytes=2**20))
    assert full.verdict is Verdict.UNKNOWN
    assert full.reason == "out of budget: more than 1 MiB of configurations"


def test_states_that_nobody_is_in_any_more_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("checkers.search._FORGET_AT", 3)
    for name in MODELS:
        recorded = history(name, count=60, clients=4, lost=0.05, seed=3)
        assert check_model(recorded, name, budget_s=5).verdict is Verdict.VALID


def test_a_result_that_nothing_leads_to_is_found_before_all_orders_are_tried() -> None:
    calls = [Call(n, n, 20 + n, "enqueue", n, n) for n in range(12)]
    calls += [Call(50 + n, 40 + n, 90 + n, "dequeue", value, value) for n, value in enumerate([*range(11), 99])]
    outcome = search(MODELS["queue"](), calls, (), Budget.of(60))
    assert outcome.verdict is Verdict.INVALID
    assert not outcome.exact
    assert outcome.stuck == [61]
    assert outcome.states == []


def test_what_begins_only_after_a_result_has_not_led_to_it() -> None:
    calls = [Call(n, n, 20 + n, "enqueue", n, n) for n in range(12)]
    calls += [Call(50 + n, 40 + n, 90 + n, "dequeue", value, value) for n, value in enumerate([*range(11), 99])]
    late = [*calls, Call(70, 102, 110, "enqueue", 99, 99)]
    outcome = search(MODELS["queue"](), late, (), Budget.of(60))
    assert (outcome.verdict, outcome.stuck, outcome.exact) == (Verdict.INVALID, [61], False)
    in_time = [*calls[:11], *calls[12:], Call(70, 101, 110, "enqueue", 99, 99)]
    assert search(MODELS["queue"](), in_time, (), Budget.of(5)).verdict is Verdict.VALID


def test_who_begins_at_the_moment_at_which_another_returns_may_come_before_it() -> None:
    calls = [Call(0, 0, 3, "write", 2, 2), Call(1, 1, 5, "read", 1, 1), Call(2, 5, 9, "write", 1, 1)]
    assert search(MODELS["register"](), calls, None, Budget.of(60)).verdict is Verdict.VALID
    late = [*calls[:2], calls[2]._replace(start=6)]
    outcome = search(MODELS["register"](), late, None, Budget.of(60))
    assert (outcome.verdict, outcome.order, outcome.stuck) == (Verdict.INVALID, [0], [1])
    assert outcome.states == [2]


def test_of_several_legal_prefixes_the_longest_is_told_and_every_state_that_is_possible() -> None:
    calls = [
        Call(0, 0, 90, "put", "ab", "ab"),
        Call(1, 1, 91, "append", "a", "a"),
        Call(2, 2, 92, "append", "b", "b"),
        Call(3, 3, 9, "get", "ab", "ab"),
        Call(4, 10, 20, "get", "z", "z"),
    ]
    outcome = search(MODELS["kv"](), calls, "", Budget.of(60))
    assert (outcome.verdict, outcome.exact) == (Verdict.INVALID, True)
    assert sorted(outcome.order) == [0, 1, 2, 3]  # what was put last but one was overwritten
    assert outcome.stuck == [4]
    assert set(outcome.states) == {"ab", UNSEEN}


def test_a_counter_may_go_down_again_before_the_next_read() -> None:
    """With 1, -1 and 2 to add at any time, it may read 1, then 0; but then not 3 without going up by all there is."""
    adds = [Call(n, 0, 90, "add", amount, amount) for n, amount in enumerate((1, -1, 2))]
    reads = [Call(10, 0, 5, "read", 1, 1), Call(11, 6, 9, "read", 0, 0)]
    model = MODELS["counter"]()
    assert search(model, [*adds, *reads], 0, Budget.of(60)).verdict is Verdict.VALID
    assert search(model, [*adds, *reads, Call(12, 10, 12, "read", 2, 2)], 0, Budget.of(60)).verdict is Verdict.VALID
    for wrong in (-1, 1, 3, 4):
        outcome = search(model, [*adds, *reads, Call(12, 10, 12, "read", wrong, wrong)], 0, Budget.of(60))
        assert (outcome.verdict, outcome.stuck[0]) == (Verdict.INVALID, 12)

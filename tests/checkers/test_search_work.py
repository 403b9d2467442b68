"""What the general search costs: how many configurations it looks at, and how much memory it says that takes."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass, field

import pytest
from object_histories import record

from checkers.events import NEVER, Event
from checkers.finding import Verdict
from checkers.history import from_events
from checkers.linearizability_general import check_model
from checkers.models import MODELS, UNSEEN, Call
from checkers.search import Budget, search

SEEDS = range(10)


def recorded(name: str, seed: int, *, legal: bool) -> list[Event]:
    """A recording with many open operations; an illegal one has an answer that belongs to an earlier question."""
    size = {"count": 26, "clients": 3} if name == "queue" else {"count": 60, "clients": 6}
    events = record(name, lost=0.1, seed=seed, **size)
    if not legal:
        answers = [event for event in events if event.type == "ok" and event.f in ("read", "get", "dequeue")]
        denied = [event for event in events if event.type == "fail"]
        if answers:
            answers[len(answers) * 2 // 3].value = answers[len(answers) // 4].value
        else:
            denied[len(denied) // 2].type = "ok"
    return events


@pytest.mark.parametrize(
    ("name", "legal", "illegal"),
    [
        ("register", 541, 1646),
        ("cas-register", 478, 1454),
        ("kv", 2575, 4371),
        ("set", 514, 3101),
        ("counter", 518, 2988),
        ("lock", 103, 165),
        ("queue", 635, 5736),
    ],
)
def test_as_many_are_looked_at_as_when_this_was_written(
    name: str, legal: int, illegal: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever makes the search better has to lower these; who has to raise them has made it slower."""
    monkeypatch.setattr("checkers.search._SECOND_LOOK_S", 0.0)  # else the clock decides how long it is
    spent = {True: 0, False: 0}
    for good in (True, False):
        for seed in SEEDS:
            finding = check_model(from_events(recorded(name, seed, legal=good)), name, budget_s=30)
            assert finding.verdict is Verdict.VALID or not good
            spent[good] += finding.metrics["configurations"]
    assert (spent[True], spent[False]) == (legal, illegal)


def test_one_after_the_other_costs_one_configuration_each() -> None:
    calls = []
    for n in range(0, 40, 2):
        calls.append(Call(n, 10 * n, 10 * n + 5, "add", 1, 1))
        calls.append(Call(n + 1, 10 * n + 10, 10 * n + 15, "read", n // 2 + 1, n // 2 + 1))
    legal = search(MODELS["counter"](), calls, 0, Budget.of(60))
    assert (legal.verdict, legal.configurations) == (Verdict.VALID, 20)
    calls[-1] = calls[-1]._replace(value_in=7, value_out=7)
    illegal = search(MODELS["counter"](), calls, 0, Budget.of(60))
    assert illegal.verdict is Verdict.INVALID
    assert illegal.stuck == [39]
    # Looked at twice: once without the orders that cannot lead to the last answer, once to say where all others end.
    assert illegal.configurations == 2 * 20 + 1


def test_what_nothing_can_have_led_to_is_found_before_more_orders_are_tried() -> None:
    calls = [Call(n, 0, 100 + n, "write", n, n) for n in range(4)]
    calls += [Call(9, 0, 260, "write", 77, 77), Call(10, 200, 250, "read", 77, 77), Call(11, 300, 350, "read", 78, 78)]
    outcome = search(MODELS["register"](), calls, None, Budget.of(60))
    assert (outcome.verdict, outcome.stuck, outcome.configurations) == (Verdict.INVALID, [11], 86)


@dataclass
class Watching(Budget):
    """A budget that takes down what it was asked for."""

    used: list[int] = field(default_factory=list)

    def exhausted(self, used_bytes: int) -> str | None:
        """Never."""
        self.used.append(used_bytes)
        return None


SUMS = [Call(n, 0, 100, "add", 2**n, 2**n) for n in range(9)]
SUMS += [Call(10 + n, 200 + 100 * n, 250 + 100 * n, "read", 2**20, 2**20) for n in range(2)]
SUMS.append(Call(20, 0, NEVER, "add", 2**20, UNSEEN))
"""One configuration for each state, and a state for each sum of amounts."""
TURNS = [Call(n, 0, 100 + n, "write", n, n) for n in range(8)]
TURNS += [Call(10 + n, 200 + 100 * n, 250 + 100 * n, "read", value, value) for n, value in enumerate((77, 78, 77))]
TURNS += [Call(20, 0, NEVER, "write", 77, UNSEEN), Call(21, 0, NEVER, "write", 78, UNSEEN)]
"""A few states, in each of which any others of the writes can have been placed."""


@pytest.mark.parametrize(("name", "calls", "initial"), [("counter", SUMS, 0), ("register", TURNS, None)])
def test_the_memory_that_a_search_says_it_takes_is_about_what_it_takes(
    name: str, calls: list[Call], initial: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("checkers.search._LOOK_EVERY", 16)
    search(MODELS[name](), calls, initial, Budget.of(60))
    budget = Watching(0.0)
    tracemalloc.start()
    search(MODELS[name](), calls, initial, budget)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * max(budget.used) < 9 * peak


def test_states_that_were_forgotten_cost_nothing_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("checkers.search._LOOK_EVERY", 1)
    calls = []
    for n in range(0, 600, 2):
        calls.append(Call(n, 10 * n, 10 * n + 5, "add", 1, 1))
        calls.append(Call(n + 1, 10 * n + 10, 10 * n + 15, "read", n // 2 + 1, n // 2 + 1))
    most = {}
    for at in (20, 20_000):
        monkeypatch.setattr("checkers.search._FORGET_AT", at)
        budget = Watching(0.0)
        assert search(MODELS["counter"](), calls, 0, budget).verdict is Verdict.VALID
        most[at] = max(budget.used)
    assert most[20] < most[20_000] / 10

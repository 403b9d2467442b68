"""Searching for schedules of faults: what is drawn can run, what led somewhere new is changed, what fails is kept."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos import search as module
from chaos.errors import BadInput, RunFailed
from chaos.scenario import load_scenario
from chaos.schedules import MOST_FAULTS, change, draw, situations, with_faults
from chaos.search import Outcome, search
from chaos.store import Executed
from chaos.strategies import schedules
from checkers.events import Event
from checkers.history import from_events
from nemeses.fault import ExecutedFault
from nemeses.stream import Stream

STEADY = load_scenario("steady", {"duration": "5s"})
KINDS = ["kill", "pause", "partition", "failover"]


@given(seed=st.integers(0, 2**63))
@settings(max_examples=60)
def test_what_is_drawn_and_changed_can_run(seed):
    stream = Stream(seed)
    schedule = draw(STEADY, KINDS, stream)
    for _ in range(5):
        assert 1 <= len(schedule) <= MOST_FAULTS
        assert {fault.fault for fault in schedule} <= set(KINDS)
        assert list(schedule) == sorted(schedule, key=lambda fault: fault.at_ms)
        assert len(with_faults(STEADY, schedule).nemesis) == len(schedule)
        schedule = change(STEADY, KINDS, schedule, stream)


def test_the_same_stream_draws_the_same():
    assert draw(STEADY, KINDS, Stream(7)) == draw(STEADY, KINDS, Stream(7))
    assert len({str(draw(STEADY, KINDS, Stream(seed))) for seed in range(20)}) > 15


@given(faults=schedules(max_faults=2, kinds=KINDS, within_ms=5_000))
@settings(max_examples=60)
def test_schedules_of_hypothesis_are_scenarios(faults):
    assert len(load_scenario("steady", {"duration": "5s", "nemesis": faults}).nemesis) == len(faults)


def test_a_strategy_of_faults_that_do_not_exist_is_refused():
    with pytest.raises(ValueError, match="unknown fault 'kil'"):
        schedules(kinds=["kil"])


def test_situations_are_what_faults_met_and_brought_about():
    faults = [
        ExecutedFault(0, "kill", "a primary", ["n1"], {"n1": "primary of slots 0-5460"}, 1_000, 5_000),
        ExecutedFault(1, "pause", "a replica", ["n5"], {"n5": "replica of n2"}, 2_000, 9_000),
        ExecutedFault(2, "loss", "a replica", ["n5"], {"n5": "replica of n2"}, None, None, error="no"),
    ]
    views = [
        (0, {"node": "n4", "state": "up", "role": "replica", "cluster": "ok"}),
        (3_000, {"node": "n4", "state": "up", "role": "primary", "cluster": "ok"}),
        (6_000, {"node": "n4", "state": "up", "role": "primary", "cluster": "ok"}),
    ]
    events = [Event(type="info", f="view", process="observer", time=time, value=value) for time, value in views]
    assert situations(from_events(events), Executed(faults=faults)) == {
        ("struck", "kill", "primary", "during"),
        ("struck", "pause", "replica", "during", "kill"),
        ("became", "replica", "primary", "ok", "during", "kill", "pause"),
    }


def look(tmp_path, monkeypatch, attempt, **more):
    monkeypatch.setattr(module, "_attempt", lambda wanted, server, out, scenario: attempt(scenario))
    options = {"budget_s": 5.0, "seed": 1, "out": tmp_path, "kinds": KINDS, "store": tmp_path / "store", **more}
    return search(STEADY, **options)


def needs_both(scenario):
    """Fails when a pause and a kill overlap; that either is there is a situation."""
    faults = {fault.fault: fault for fault in scenario.nemesis}
    led_to = frozenset({(kind,) for kind in faults})
    kill, pause = faults.get("kill"), faults.get("pause")
    both = kill and pause and kill.at_ms < pause.at_ms + pause.for_ms and pause.at_ms < kill.at_ms + kill.for_ms
    return Outcome(("lost-write",) if both else (), led_to)


def test_a_failure_is_found_and_kept_and_tried_first_the_next_time(tmp_path, monkeypatch):
    found = look(tmp_path, monkeypatch, needs_both)
    assert found.kinds == ("lost-write",)
    assert not found.known
    assert load_scenario(found.file) == found.failure
    again = look(tmp_path, monkeypatch, needs_both)
    assert (again.known, again.schedules, again.file) == (True, 1, found.file)
    assert "still fails: lost-write" in again.in_words()
    mended = look(tmp_path, monkeypatch, lambda scenario: Outcome((), frozenset()), budget_s=0.3)
    assert mended.failure is None
    assert "nothing found" in mended.in_words()


def test_what_led_somewhere_new_is_changed_further(tmp_path, monkeypatch):
    """With one lucky schedule kept, most of those that follow differ from it in one fault only."""
    tried = []

    def attempt(scenario):
        tried.append(scenario.nemesis)
        return Outcome((), frozenset({("first",)}))

    look(tmp_path, monkeypatch, attempt, budget_s=1.0)
    first, *others = tried
    near = [other for other in others if sum(fault in first for fault in other) >= min(len(first), len(other)) - 1]
    assert len(others) > 20
    assert len(near) > len(others) / 2


def test_runs_that_failed_are_told(tmp_path, monkeypatch):
    outcomes = iter(
        [Outcome((), frozenset()), *[Outcome((), frozenset(), "no proof")] * 3, Outcome(("lost-write",), frozenset())]
    )
    assert "3 runs did not go as planned" in look(tmp_path, monkeypatch, lambda scenario: next(outcomes)).in_words()
    with pytest.raises(RunFailed, match="none of the first 10 runs went as planned; the last: no proof"):
        look(tmp_path, monkeypatch, lambda scenario: Outcome((), frozenset(), "no proof"), store=tmp_path / "other")


def test_without_anything_to_look_for_it_is_refused(tmp_path):
    bare = load_scenario("steady", {"claims": {"unavailable": {"longest": "1s"}}})
    with pytest.raises(BadInput, match="--for lost-write"):
        search(bare, budget_s=1, seed=1, out=tmp_path)

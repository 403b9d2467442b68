"""Targets: what each form means, by what the nodes say of themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fake_system import FakeSystem
from hypothesis import given
from hypothesis import strategies as st

from nemeses.stream import Stream
from nemeses.system import InjectionFailed
from nemeses.targets import FORMS, Survey, Target, TargetError, parse, pick, resolve


def hit(text: str, system: FakeSystem | None = None, seed: int = 1) -> list[str]:
    return resolve(system or FakeSystem(), parse(text), Stream(seed))


def drawn(text: str, survey: Survey, seed: int) -> list[str]:
    return pick(survey, survey.rows, parse(text), Stream(seed))


@given(st.sampled_from(sorted(FORMS)), st.integers(0, 16383), st.booleans())
def test_a_target_reads_what_it_writes(form: str, number: int, with_replicas: bool) -> None:
    target = Target(form, number if "N" in form else None, with_replicas)
    assert parse(str(target)) == target


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("primry of slot 5", "primary of slot N"),
        ("primary of slot x", "primary of slot N"),
        ("a primry", "a primary"),
        ("all primarys", "all primaries"),
        ("majorty", "majority"),
        ("N3", "nN"),
        ("replica of slot 1 2", "replica of slot N"),
    ],
)
def test_a_wrong_target_is_told_the_nearest_right_one(wrong: str, right: str) -> None:
    with pytest.raises(TargetError, match="did you mean") as caught:
        parse(wrong)
    assert repr(right) in str(caught.value)


def test_a_target_like_no_other_is_told_all() -> None:
    with pytest.raises(TargetError, match="write one of primary of slot N, "):
        parse("qqqqqqqqqqqq")


def test_slots_end_at_16383() -> None:
    assert parse("primary of slot 16383").number == 16383
    with pytest.raises(TargetError, match="0 to 16383"):
        parse("primary of slot 16384")


def test_what_each_form_hits() -> None:
    assert hit("primary of slot 0") == ["n1"]
    assert hit("primary of slot 16383") == ["n3"]
    assert hit("replica of slot 0") == ["n4"]
    assert hit("all primaries") == ["n1", "n2", "n3"]
    assert hit("all replicas") == ["n4", "n5", "n6"]
    assert hit("n5") == ["n5"]
    assert hit("all") == ["n1", "n2", "n3", "n4", "n5", "n6"]
    assert hit("primary of slot 0 with replicas") == ["n1", "n4"]


@pytest.mark.parametrize(("primaries", "more", "fewer"), [(3, 2, 1), (4, 3, 1), (5, 3, 2)])
def test_majority_and_minority_of_primaries(primaries: int, more: int, fewer: int) -> None:
    system = FakeSystem(primaries)
    survey = Survey.take(system)
    for seed in range(20):
        assert len(drawn("majority", survey, seed)) == more
        assert len(drawn("minority", survey, seed)) == fewer
        assert set(drawn("majority", survey, seed)) <= set(survey.primaries)
    assert len(hit("minority with replicas", system)) == 2 * fewer


def test_every_primary_and_every_replica_can_be_drawn_and_the_same_seed_draws_the_same() -> None:
    survey = Survey.take(FakeSystem())
    assert {drawn("a primary", survey, seed)[0] for seed in range(30)} == {"n1", "n2", "n3"}
    assert {drawn("a replica", survey, seed)[0] for seed in range(30)} == {"n4", "n5", "n6"}
    assert all(drawn("a primary", survey, seed) == drawn("a primary", survey, seed) for seed in range(10))


def test_the_same_seed_draws_the_same_role_after_a_failover() -> None:
    before = Survey.take(system := FakeSystem())
    system.call("n4", "CLUSTER", "FAILOVER")
    after = Survey.take(system)
    assert before.primaries != after.primaries
    for seed in range(20):
        assert after.role(drawn("a primary", after, seed)[0]) == before.role(drawn("a primary", before, seed)[0])


def test_of_two_that_claim_a_slot_the_higher_epoch_owns_it() -> None:
    system = FakeSystem()
    old = set(system.servers["n1"].slots)
    system.call("n4", "CLUSTER", "FAILOVER", "TAKEOVER")
    system.servers["n1"].slots, system.servers["n1"].primary = old, None  # behind a partition it has not heard of it
    assert hit("primary of slot 0", system) == ["n4"]
    assert Survey.take(system).primaries == ["n4", "n2", "n3"]


def test_who_does_not_answer_has_no_role() -> None:
    system = FakeSystem()
    system.kill("n1")
    system.pause("n5")
    survey = Survey.take(system)
    assert survey.role("n1") == survey.role("n5") == "down"
    assert survey.primaries == ["n2", "n3"]
    assert survey.replicas == ["n6", "n4"]
    with pytest.raises(InjectionFailed, match=r"primary of slot 0.*n1: down"):
        hit("primary of slot 0", system)
    assert hit("n1", system) == ["n1"]


def test_nobody_fits() -> None:
    with pytest.raises(InjectionFailed, match="n9"):
        hit("n9")
    with pytest.raises(InjectionFailed, match="replica of slot 0"):
        hit("replica of slot 0", FakeSystem(3, 0))
    with pytest.raises(InjectionFailed, match="minority"):
        hit("minority", FakeSystem(2))


def test_roles_in_words() -> None:
    system = FakeSystem()
    system.servers["n2"].slots -= {6000, 7000, 8000}
    survey = Survey.take(system)
    assert survey.role("n1") == "primary of slots 0-5460"
    assert survey.role("n2") == "primary of slots 5461-5999,6001-6999,7001-7999 and 1 more ranges"
    assert survey.role("n4") == "replica of n1"
    system.servers["n3"].slots.clear()
    assert Survey.take(system).role("n3") == "primary without slots"


def test_a_proxy_can_be_named_and_is_never_taken_for_a_server() -> None:
    system = FakeSystem()
    system.nodes = {**system.nodes, "p1": replace(system.nodes["n1"], name="p1")}  # one that would be asked is missing
    survey = Survey.take(system)
    assert "p1" not in survey.rows
    assert survey.role("p1") == "proxy"
    assert hit("p1", system) == ["p1"]
    assert "p1" not in hit("all primaries", system)

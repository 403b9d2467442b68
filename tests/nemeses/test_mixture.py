"""Random mixtures: a pure function of the stream, with room between the faults."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemeses import FAULTS, validate_options
from nemeses.fault import PlannedFault
from nemeses.mixture import RECOVERY_MS, SHORTEST_MS, TABLE, expand
from nemeses.stream import Stream
from nemeses.targets import parse

KINDS = st.lists(st.sampled_from(sorted(FAULTS)), min_size=1, max_size=5, unique=True)


@given(KINDS, st.integers(1_000, 8_000), st.integers(0, 60_000), st.integers(0, 2**64 - 1))
def test_faults_of_a_mixture_never_meet_and_leave_time_at_the_end(
    kinds: list[str], every_ms: int, duration_ms: int, seed: int
) -> None:
    faults = expand(kinds, every_ms, duration_ms, Stream(seed), first_number=3)
    assert [fault.number for fault in faults] == list(range(3, 3 + len(faults)))
    for fault in faults:
        assert fault.kind in kinds
        assert fault.at_ms >= every_ms
        assert SHORTEST_MS <= fault.for_ms <= TABLE[fault.kind].for_ms[1]
        assert fault.at_ms + fault.for_ms <= duration_ms - TABLE[fault.kind].margin_ms
        assert validate_options(fault.kind, fault.options) == fault.options
        parse(fault.target)
    for before, after in pairwise(faults):
        assert before.at_ms + before.for_ms + RECOVERY_MS <= after.at_ms
    assert faults == expand(kinds, every_ms, duration_ms, Stream(seed), first_number=3)


@given(st.integers(0, 2**64 - 1), st.integers(0, 20_000), st.integers(0, 5_000))
def test_faults_planned_otherwise_are_kept_clear_of(seed: int, at_ms: int, for_ms: int) -> None:
    taken = PlannedFault(0, "kill", "a primary", at_ms, for_ms, 1)
    for fault in expand(["pause"], 2_000, 20_000, Stream(seed), taken=[taken]):
        assert fault.at_ms >= at_ms + for_ms or fault.at_ms + fault.for_ms <= at_ms


def test_a_longer_run_begins_like_a_shorter_one() -> None:
    short, long = (expand(sorted(TABLE), 4_000, length, Stream(7)) for length in (30_000, 60_000))
    whole = [fault for fault in short if fault.at_ms < 20_000]
    assert long[: len(whole)] == whole
    assert len(long) > len(short)


def test_every_kind_can_be_mixed_and_every_choice_of_the_table_is_valid() -> None:
    assert TABLE.keys() == FAULTS.keys()
    for kind, mix in TABLE.items():
        for name, values in mix.options.items():
            for value in values:
                assert validate_options(kind, {name: value})[name] == value
    drawn = {fault.kind for seed in range(40) for fault in expand(sorted(TABLE), 4_000, 60_000, Stream(seed))}
    assert drawn == TABLE.keys()


def test_seeds_differ() -> None:
    assert expand(["kill"], 4_000, 60_000, Stream(1)) != expand(["kill"], 4_000, 60_000, Stream(2))


def test_a_kind_that_does_not_exist_is_told_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'partition'"):
        expand(["partion"], 4_000, 60_000, Stream(1))


def test_options_are_checked_with_the_nearest_valid_one() -> None:
    for kind, options, message in [
        ("partition", {"shap": "ring"}, "no option 'shap'; did you mean 'shape'"),
        ("partition", {"shape": "brigde"}, "did you mean 'bridge'"),
        ("partition", {"with_clients": True}, "not a whole number"),
        ("restart", {"keep_data": 1}, "not true or false"),
        ("failover", {"mode": "gracefull"}, "did you mean 'graceful'"),
        ("migrate", {"slots": 0}, "neither a number"),
        ("migrate", {"slots": [16384]}, "neither a number"),
        ("migrate-crash", {"victim": "sauce"}, "did you mean 'source'"),
        ("kill", {"x": 1}, "valid: none"),
        ("loss", {"percent": "20%"}, "not a share"),
        ("delay", {"delay_ms": 0}, "longer than 0ms"),
        ("delay", {"between": "node"}, "did you mean 'nodes'"),
        ("bandwidth", {"kbit": 1_000_000}, "from 8 to 100000"),
        ("skew", {"offset_ms": 20}, "longer than 50ms"),
        ("skew", {"direction": "aheda"}, "did you mean 'ahead'"),
    ]:
        with pytest.raises(ValueError, match=message):
            validate_options(kind, options)
    assert validate_options("loss", {"percent": 1}) == {"percent": 1.0}
    assert validate_options("migrate", {"slots": [1, 2]})["batch"] == 20

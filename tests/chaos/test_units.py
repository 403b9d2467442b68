"""Durations and shares are written with their units, and read back as they were meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.units import duration, share, show_duration, show_share


@pytest.mark.parametrize(("text", "milliseconds"), [("500ms", 500), ("3s", 3000), ("1.5s", 1500), ("2m", 120_000)])
def test_durations_have_units(text, milliseconds):
    assert duration(text) == milliseconds


@pytest.mark.parametrize("text", ["5", 5, "5 years", "", None, "s", True])
def test_a_duration_without_a_known_unit_is_refused(text):
    with pytest.raises(ValueError, match="not a duration like 500ms"):
        duration(text)


def test_a_number_gets_the_hint_how_to_write_it():
    with pytest.raises(ValueError, match="write 5ms or 5s"):
        duration(5)


def test_negative_durations_are_named_as_such():
    with pytest.raises(ValueError, match="never negative"):
        duration("-3s")


@given(st.integers(0, 10**8))
def test_durations_survive_being_written(milliseconds):
    assert duration(show_duration(milliseconds)) == milliseconds


def test_shares():
    assert share("20%") == pytest.approx(0.2)
    assert show_share(0.2) == "20%"
    with pytest.raises(ValueError, match="more than 100%"):
        share("120%")
    with pytest.raises(ValueError, match="not a share like 20%"):
        share("0.2")

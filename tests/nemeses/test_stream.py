"""The random numbers are SplitMix64, the same everywhere, and streams do not disturb each other."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from nemeses.stream import Stream, derive, word

seeds = st.integers(0, 2**64 - 1)


def test_the_words_are_those_of_splitmix64():
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert [word(1234567, n) for n in range(4)] == published


@given(seeds, st.integers(1, 10**6))
def test_draws_stay_in_bounds(seed, bound):
    draw = Stream(seed)
    assert 0 <= draw.below(bound) < bound
    assert 0 <= draw.unit() < 1
    assert 3 <= draw.between(3, 5) <= 5


@given(seeds)
def test_a_shuffle_keeps_everything(seed):
    items = list(range(20))
    Stream(seed).shuffle(items)
    assert sorted(items) == list(range(20))


def test_draws_are_spread_evenly():
    draw = Stream(7)
    counts = Counter(draw.below(10) for _ in range(100_000))
    assert all(9_500 < counts[value] < 10_500 for value in range(10))


def test_names_select_streams_of_their_own():
    derived = {derive(7, "client", client) for client in range(1000)} | {
        derive(7, "nemesis", 0),
        derive(8, "client", 0),
    }
    assert len(derived) == 1002

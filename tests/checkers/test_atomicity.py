"""How far from linearizable: over several keys, by trying everything, and in a bounded number of steps."""

from __future__ import annotations

import random

import pytest
from exhaustive import On, Op, as_history_of_keys, k_atomic, smallest_delta

from checkers import atomicity
from checkers.atomicity import smallest_delta_ns, two_atomic
from checkers.zones import prepare

TOO_MUCH = 40


def drawn(rng: random.Random, first: int) -> list[Op]:
    """A few operations on one register; each read returns something that was written when it ended, or nothing."""
    ops = []
    for number in range(rng.randint(1, 4)):
        start = rng.randrange(14)
        kind = rng.choices(["ok", "info", "fail"], [8, 1, 1])[0]
        ops.append(Op("write", first + number, start, start + rng.randrange(7), kind))
    for _ in range(rng.randint(1, 3)):
        start = rng.randrange(3, 20)
        end = start + rng.randrange(4)
        seen = [None, *(op.value for op in ops if op.f == "write" and op.type != "fail" and op.start <= end)]
        ops.append(Op("read", rng.choice(seen), start, end))
    return sorted(ops, key=lambda op: op.start)


@pytest.mark.parametrize("seed", range(6))
def test_over_all_keys_it_is_the_farthest_of_them(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(25):
        keys = {key: drawn(rng, 10 * place + 1) for place, key in enumerate("ab"[: rng.randint(1, 2)])}
        ons = [
            On(key, op._replace(process=n + 100 * ord(key))) for key, ops in keys.items() for n, op in enumerate(ops)
        ]
        registers = prepare(as_history_of_keys(ons), second_hand=True)
        deltas = [smallest_delta(ops, TOO_MUCH) for ops in keys.values()]
        assert smallest_delta_ns(registers) == max(delta for delta in deltas if delta is not None), keys
        assert two_atomic(registers) is all(k_atomic(ops, 2) for ops in keys.values()), keys


@pytest.mark.parametrize("later", [0, 1, 2, 5])
def test_a_shift_by_one_is_told_from_none_and_from_two(later: int) -> None:
    """Two values that were each read after the other had been written; `later` is by how much too late."""
    ops = [Op("write", 1, 0, 10), Op("write", 2, 0, 20), Op("read", 1, 20 + later, 50), Op("read", 2, 40, 50)]
    ons = [On("k", op._replace(process=number)) for number, op in enumerate(ops)]
    assert smallest_delta_ns(prepare(as_history_of_keys(ons), second_hand=True)) == smallest_delta(ops, 9) == later


def in_turn(*reads_of: int, writes: int) -> list[On]:
    """Writes of 1, 2, ... one after the other, and then reads."""
    ops = [Op("write", n, 10 * n, 10 * n + 5) for n in range(1, writes + 1)]
    ops += [Op("read", value, 1000 + 10 * n, 1005 + 10 * n) for n, value in enumerate(reads_of)]
    return [On("k", op._replace(process=n)) for n, op in enumerate(ops)]


@pytest.mark.parametrize(
    ("reads_of", "answer", "delta"),
    [((3,), True, 0), ((2,), True, 965), ((1,), False, 975), ((2, 3, 2), True, 985), ((3, 1), False, 985)],
)
def test_one_version_behind_is_two_atomic_and_two_are_not(reads_of: tuple[int, ...], answer: bool, delta: int) -> None:
    registers = prepare(as_history_of_keys(in_turn(*reads_of, writes=3)), second_hand=True)
    assert two_atomic(registers) is answer
    assert smallest_delta_ns(registers) == delta


def test_a_search_that_takes_more_steps_than_it_may_is_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes of one moment, each of which two reads saw: whichever is placed last, another is two versions behind."""
    ops = [Op("write", n, 0, 100) for n in range(1, 9)]
    ops += [Op("read", n, 200 + 10 * n, 205 + 10 * n) for n in range(1, 9)]
    ops += [Op("read", n, 400 + 10 * n, 405 + 10 * n) for n in range(1, 9)]
    history = as_history_of_keys([On("k", op._replace(process=n)) for n, op in enumerate(ops)])
    registers = prepare(history, second_hand=True)
    assert two_atomic(registers) is False
    monkeypatch.setattr(atomicity, "STEPS_PER_OPERATION", 0)
    assert two_atomic(registers) is None

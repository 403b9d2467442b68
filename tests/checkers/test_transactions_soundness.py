"""Transactions: whoever kept a promise is never accused of breaking it, and each kind of damage is found."""

from __future__ import annotations

import random
from copy import deepcopy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transaction_histories import Txn, Value, history, in_order, legal, serial_orders, simulate, together

from checkers.finding import Verdict
from checkers.transactions import check_transactions

SEEDS = st.integers(0, 2**32)


@settings(max_examples=200, deadline=None)
@given(SEEDS, st.booleans(), st.integers(1, 40))
def test_strict_serializable_histories_are_valid(seed: int, registers: bool, count: int) -> None:
    txns = simulate(random.Random(seed), level="strict-serializable", registers=registers, count=count)
    finding = check_transactions(history(txns))
    assert finding.counts == {}
    assert finding.verdict is Verdict.VALID


@settings(max_examples=150, deadline=None)
@given(SEEDS, st.booleans())
def test_snapshot_isolation_shows_write_skew_at_most(seed: int, registers: bool) -> None:
    txns = simulate(random.Random(seed), level="snapshot-isolation", registers=registers, count=30)
    finding = check_transactions(history(txns))
    assert set(finding.counts) <= {"G2-item", "G2-item-process", "G2-item-realtime"}
    assert "strong-snapshot-isolation" not in finding.metrics["ruled_out"]


@settings(max_examples=150, deadline=None)
@given(SEEDS, st.booleans())
def test_read_committed_is_not_ruled_out_where_it_was_kept(seed: int, registers: bool) -> None:
    txns = simulate(random.Random(seed), level="read-committed", registers=registers, count=30)
    finding = check_transactions(history(txns))
    assert "strong-read-committed" not in finding.metrics["ruled_out"]


def test_the_simulated_databases_do_show_what_they_allow() -> None:
    seen: dict[str, set[str]] = {"snapshot-isolation": set(), "read-committed": set()}
    for level, kinds in seen.items():
        for seed in range(60):
            txns = simulate(random.Random(seed), level=level, registers=False, count=30)
            kinds |= set(check_transactions(history(txns)).counts)
    assert "G2-item" in seen["snapshot-isolation"]
    assert {"lost-update", "G-single", "internal"} <= seen["read-committed"]


@st.composite
def tiny(draw: st.DrawFn) -> list[Txn]:
    """A few transactions that saw anything that could possibly be there."""
    registers = draw(st.booleans())
    txns, element = [], 0
    for number in range(draw(st.integers(2, 4))):
        value = []
        for _ in range(draw(st.integers(1, 3))):
            element += 1
            kind = draw(st.sampled_from(["r", "w" if registers else "append"]))
            value.append([kind, draw(st.sampled_from("xy")), element])
        start = draw(st.integers(0, 6))
        process = draw(st.sampled_from([number, number, max(0, number - 1)]))
        txns.append(Txn(process, start, start + draw(st.integers(0, 4)), value))
    for number, txn in enumerate(txns):
        txn.type = draw(st.sampled_from(["ok", "ok", "ok", "ok", "info", "fail"]))
        others = [other for other in txns[:number] if other.process == txn.process]
        if any(other.end > txn.start or other.start == txn.start or other.type == "info" for other in others):
            txn.process = 10 + number
    written = {
        key: [micro[2] for txn in txns for micro in txn.value if micro[0] != "r" and micro[1] == key] for key in "xy"
    }
    for key, values in written.items():
        order = draw(st.permutations(values))
        for micro in (m for txn in txns for m in txn.value if m[0] == "r" and m[1] == key):
            if registers:
                micro[2] = draw(st.sampled_from([None, *values]))
            else:
                micro[2] = list(order[: draw(st.integers(0, len(order)))])
    return txns


@settings(max_examples=600, deadline=None)
@given(tiny())
def test_what_is_ruled_out_has_no_explanation(txns: list[Txn]) -> None:
    ruled_out = check_transactions(history(sorted(txns, key=lambda txn: txn.start))).metrics["ruled_out"]
    orders = [order for order in serial_orders(txns) if legal(order)]
    for model, time, process in (
        ("serializable", False, False),
        ("strong-session-serializable", False, True),
        ("strict-serializable", True, True),
    ):
        if any(in_order(order, time=time, process=process) for order in orders):
            assert model not in ruled_out


def test_most_of_what_has_no_explanation_is_ruled_out() -> None:
    """Not promised (a list that nobody read has no order), but a checker that finds little is of little use."""
    wrong = found = 0
    for seed in range(1500):
        rng = random.Random(seed)
        txns = simulate(rng, level="read-committed", registers=False, count=5, keys=2, clients=3)
        if not any(in_order(order, time=True, process=True) for order in serial_orders(txns) if legal(order)):
            wrong += 1
            found += "strict-serializable" in check_transactions(history(txns)).metrics["ruled_out"]
    assert wrong > 100
    assert found / wrong > 0.9


def valid(seed: int, registers: bool = False) -> list[Txn]:
    """A valid history with only known outcomes."""
    return simulate(random.Random(seed), level="strict-serializable", registers=registers, count=40, unknown=0)


def reads(txns: list[Txn], at_least: int) -> list[list[object]]:
    """Reads of lists of other transactions' elements, of some length."""
    return [
        micro
        for txn in txns
        for micro in txn.value
        if micro[0] == "r"
        and isinstance(micro[2], list)
        and len(micro[2]) >= at_least
        and not any(other[0] == "append" and other[1] == micro[1] for other in txn.value)
    ]


def swap(txns: list[Txn], rng: random.Random) -> str:
    micro = rng.choice(reads(txns, 2))
    micro[2][:2] = reversed(micro[2][:2])  # type: ignore[index]
    return "incompatible-order"


def repeat(txns: list[Txn], rng: random.Random) -> str:
    micro = rng.choice(reads(txns, 1))
    micro[2].append(micro[2][0])  # type: ignore[attr-defined,index]
    return "duplicate-elements"


def invent(txns: list[Txn], rng: random.Random) -> str:
    rng.choice(reads(txns, 1))[2].append(10**6)  # type: ignore[attr-defined]
    return "garbage-read"


def abort(txns: list[Txn], rng: random.Random) -> str:
    element = rng.choice(reads(txns, 1))[2][-1]  # type: ignore[index]
    next(txn for txn in txns if any(m[0] == "append" and m[2] == element for m in txn.value)).type = "fail"
    return "G1a"


def forget(txns: list[Txn], rng: random.Random) -> str:
    txn = rng.choice(txns)
    txn.value += [["append", "own", 10**6], ["r", "own", []]]
    return "internal"


def halve(txns: list[Txn], rng: random.Random) -> str:
    rng.choice(txns).value += [["append", "half", 10**6], ["append", "half", 10**6 + 1]]
    rng.choice([txn for txn in txns if ["append", "half", 10**6] not in txn.value]).value.append(["r", "half", [10**6]])
    return "G1b"


def link(kinds: str, expected: str, txns: list[Txn], rng: random.Random) -> str:
    """Make transactions of one moment depend on each other in a circle, on keys of their own."""
    chosen = [Txn(100 + number, 500, 600, []) for number in range(len(kinds))]
    for number, kind in enumerate(kinds):
        one, two, key = chosen[number], chosen[(number + 1) % len(kinds)], f"link{number}"
        first, second = 10**6 + 2 * number, 10**6 + 2 * number + 1
        if kind == "w":
            one.value.append(["append", key, first])
            two.value.append(["append", key, second])
            chosen.append(Txn(200 + number, 500, 600, [["r", key, [first, second]]]))
        elif kind == "r":
            one.value.append(["append", key, first])
            two.value.append(["r", key, [first]])
        else:
            one.value.append(["r", key, []])
            two.value.append(["append", key, second])
            chosen.append(Txn(200 + number, 500, 600, [["r", key, [second]]]))
    rng.shuffle(chosen)
    txns += chosen
    return expected


CIRCLES = [
    ("ww", "G0"),
    ("www", "G0"),
    ("wr", "G1c"),
    ("rrr", "G1c"),
    ("ra", "G-single"),
    ("wwra", "G-single"),
    ("rara", "G-nonadjacent"),
    ("aa", "G2-item"),
    ("aar", "G2-item"),
]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("damage", [swap, repeat, invent, abort, forget, halve])
def test_damage_is_found_and_named(damage: object, seed: int) -> None:
    assert callable(damage)
    txns = deepcopy(valid(seed))
    expected = damage(txns, random.Random(seed))
    assert expected in check_transactions(history(txns)).counts


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("kinds", "expected"), CIRCLES)
def test_a_circle_is_found_and_named(kinds: str, expected: str, seed: int) -> None:
    txns = valid(seed)
    assert check_transactions(history(txns)).counts == {}
    assert link(kinds, expected, txns, random.Random(seed)) == expected
    finding = check_transactions(history(txns))
    assert finding.counts == {expected: 1}
    assert len(finding.anomalies[0].operations) == len(kinds)


@pytest.mark.parametrize("seed", range(10))
def test_an_append_that_returned_and_was_lost_is_found(seed: int) -> None:
    txns = valid(seed)
    lost = txns[len(txns) // 4].value
    lost.append(["append", "gone", 10**6])
    last = max(txn.end for txn in txns)
    txns.append(Txn(500, last + 1, last + 2, [["r", "gone", []]]))
    finding = check_transactions(history(txns))
    assert finding.counts == {"G-single-realtime": 1}
    assert finding.metrics["ruled_out"] == [
        "strong-consistent-view",
        "strong-snapshot-isolation",
        "strict-serializable",
    ]


def test_large_components_are_narrowed_down() -> None:
    """A circle through time of three transactions, in a component of thousands."""
    txns = [
        Txn(number % 7, 10 * number, 10 * number + 15, [["append", f"k{number}", number]]) for number in range(3000)
    ]
    for number, txn in enumerate(txns):
        txn.process = number
    txns[0].value.append(["append", "x", 10**6])
    txns[1].value += [["r", "x", [10**6]], ["append", "y", 10**6 + 1]]
    txns.append(Txn(9000, 30_000, 30_100, [["r", "x", []], ["r", "z", []]]))
    txns.append(Txn(9001, 30_000, 30_100, [["r", "x", [10**6]], ["append", "z", 1]]))
    finding = check_transactions(history(txns))
    assert finding.metrics["components"] == 1
    assert "G-single-realtime" in finding.counts
    assert "strict-serializable" in finding.metrics["ruled_out"]


@st.composite
def alone(draw: st.DrawFn) -> Value:
    """A transaction on one list: its appends are 1, 2, ..., its reads return some of them and of another's 50, 51."""
    kinds = draw(st.lists(st.sampled_from("aarr"), min_size=1, max_size=6))
    appended = iter(range(1, 7))
    returned = st.lists(st.sampled_from((1, 2, 3, 50, 51)), unique=True, max_size=4)
    sensible = st.integers(0, 4).map(lambda size: [1, 2, 3, 4][:size]) | st.integers(0, 3).map(
        lambda size: [50, 51, 1, 2, 3][: size + 2]
    )
    return [["append", "x", next(appended)] if kind == "a" else ["r", "x", draw(sensible | returned)] for kind in kinds]


def inconsistent(value: Value) -> int:
    """How many reads differ from what their transaction had read and appended, or end with what it appended later."""
    wrong, known, mine = 0, None, []
    for place, (f, _, argument) in enumerate(value):
        if f == "append":
            mine.append(argument)
            continue
        expected = argument[len(argument) - len(mine) :] == mine if known is None else argument == known + mine
        later = [element for kind, _, element in value[place:] if kind == "append"]
        wrong += not expected or (len(mine) <= len(argument) and argument[-1:] != [] and argument[-1] in later)
        known, mine = argument, []
    return wrong


@settings(max_examples=300, deadline=None)
@given(alone())
def test_a_read_that_is_not_what_its_transaction_had_read_and_appended_is_internal(
    value: Value,
) -> None:
    txns = together(value, [["append", "x", 50]], [["append", "x", 51]])
    found = check_transactions(history(txns)).anomalies
    # Appends of one transaction that a list has in another order, or in part, are internal as well.
    reads = [anomaly for anomaly in found if anomaly.kind == "internal" and "although it " in anomaly.explanation]
    assert len(reads) == inconsistent(value)

"""Transactions: what the checker finds is what the definitions say, looked up in every read, pair and cycle."""

from __future__ import annotations

import random
from collections import Counter
from itertools import chain
from typing import Any

import pytest
from transaction_definitions import STRONGEST, Seen, Story
from transaction_histories import Txn, history

from checkers.transactions import check_transactions, cycles

LISTS, REGISTERS = "xyz", "uvw"
NOBODYS = 99
"""An element that nobody wrote."""


def planned(rng: random.Random, keys: str, most: int) -> list[Txn]:
    """Transactions that have not read anything yet: all at one moment, or in time and several of one client."""
    still = rng.random() < 0.5
    clock = [0] * 4
    txns = []
    element = 0
    for _ in range(rng.randint(2, most)):
        client = rng.randrange(4)
        start = clock[client] + rng.randrange(4)
        clock[client] = end = start + rng.randrange(1, 6)
        value = []
        for _ in range(rng.randint(1, 4)):
            key = rng.choice(keys)
            element += 1
            value.append([rng.choice(["r", "append" if key in LISTS else "w"]), key, element])
        kind = rng.choices(["ok", "info", "fail"], [12, 1, 1])[0]
        txns.append(Txn(len(txns) if still else client, 0 if still else start, 100 if still else end, value, kind))
        if kind == "info":
            clock[client] = 10**6  # the process is retired
    txns = [txn for txn in txns if txn.start < 10**6]
    return sorted(txns, key=lambda txn: txn.start)


def wild(rng: random.Random) -> list[Txn]:
    """Transactions that saw anything."""
    txns = planned(rng, rng.choice(["x", "xy", "u", "uv", "xu"]), 5)
    for key in LISTS + REGISTERS:
        micros = [(micro, txn) for txn in txns for micro in txn.value if micro[1] == key]
        written = [micro[2] for micro, txn in micros if micro[0] != "r"]
        order = [element for element in written if rng.random() < 0.9]
        rng.shuffle(order)
        for micro, _ in micros:
            strange = rng.random() < 0.15
            if micro[0] == "r" and key in REGISTERS:
                micro[2] = rng.choice([None, *written, *([NOBODYS] if strange else [])])
            elif micro[0] == "r" and strange:
                micro[2] = [rng.choice([*written, NOBODYS]) for _ in range(rng.randrange(5))]
            elif micro[0] == "r":
                micro[2] = order[: rng.randrange(len(order) + 1)]
    return txns


def sensible(rng: random.Random) -> list[Txn]:
    """Transactions of which each saw itself and whole transactions of others, but each key as it pleased."""
    txns = planned(rng, rng.choice(["xy", "xyz", "uv", "uvw", "xyu"]), 7)
    for key in LISTS + REGISTERS:
        writers = [txn for txn in txns if any(f != "r" and name == key for f, name, _ in txn.value)]
        writers = [txn for txn in writers if txn.type == "ok" or rng.random() < 0.3]
        if rng.random() < 0.7:
            rng.shuffle(writers)
        parts = [[e for f, name, e in txn.value if f != "r" and name == key] for txn in writers]
        if rng.random() < 0.3 and parts:
            parts.pop()  # nobody sees the last
        for txn in txns:
            mine = [e for f, name, e in txn.value if f != "r" and name == key]
            cut = parts.index(mine) if mine in parts else rng.randrange(len(parts) + 1)
            base = list(chain.from_iterable(parts[:cut]))
            done = 0
            for micro in txn.value:
                if micro[1] != key:
                    continue
                if micro[0] != "r":
                    done += 1
                elif key in LISTS:
                    micro[2] = base + mine[:done]
                else:
                    seen = [None, *(part[-1] for part in parts[:cut]), *mine[:done]]
                    micro[2] = seen[-1]
    return txns


def found(txns: list[Txn]) -> tuple[Counter[Seen], list[tuple[str, int]], dict[str, Any]]:
    """What the checker finds: phenomena, cycles, metrics."""
    finding = check_transactions(history(txns))
    phenomena: Counter[Seen] = Counter()
    found_cycles = []
    for anomaly in finding.anomalies:
        if anomaly.kind in STRONGEST:
            found_cycles.append((anomaly.kind, len(anomaly.operations)))
        else:
            phenomena[Seen(anomaly.kind, str(anomaly.key), tuple(anomaly.operations))] += 1
    assert finding.counts == dict(Counter(anomaly.kind for anomaly in finding.anomalies))
    return phenomena, sorted(found_cycles), finding.metrics


@pytest.mark.parametrize("seed", range(7))
@pytest.mark.parametrize("draw", [wild, sensible])
def test_what_transactions_show_is_what_the_definitions_say(draw: Any, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(30):
        txns = draw(rng)
        story = Story(txns)
        phenomena, named, metrics = found(txns)
        assert phenomena == story.phenomena(), txns
        assert named == sorted(story.cycles()), txns
        assert metrics["components"] == story.components(), txns
        assert metrics["version_orders"] == sum(story.order(key) is not None for key in story.lists), txns
        if not any(story.dependencies()[1]):
            assert metrics["edges"] == story.edges(), txns


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("draw", [wild, sensible])
def test_where_only_a_part_is_searched_each_cycle_is_one_all_the_same(
    draw: Any, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cycles, "SMALL", 1)
    rng = random.Random(100 + seed)
    for _ in range(30):
        txns = draw(rng)
        story = Story(txns)
        finding = check_transactions(history(txns))
        named = [anomaly for anomaly in finding.anomalies if anomaly.kind in STRONGEST]
        assert bool(named) == bool(story.cycles()), txns
        for anomaly in named:
            assert anomaly.kind in story.kinds_of(set(anomaly.operations)), (anomaly, txns)


def rings(count: int) -> list[Txn]:
    """Threes of transactions, each of which read what the one before it had appended."""
    return [
        Txn(place, 0, 100, [["append", f"k{place}", 1], ["r", f"k{place - place % 3 + (place + 2) % 3}", [1]]])
        for place in range(3 * count)
    ]


def test_components_beyond_the_first_ones_are_counted_only(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = check_transactions(history(rings(12)))
    assert finding.counts == {"G1c": 12}
    assert (finding.metrics["components"], finding.metrics["components_not_searched"]) == (12, 0)
    monkeypatch.setattr(cycles, "SEARCHED", 12)
    assert check_transactions(history(rings(12))).metrics["components_not_searched"] == 0
    monkeypatch.setattr(cycles, "SEARCHED", 1)
    finding = check_transactions(history(rings(12)))
    assert 0 < finding.counts["G1c"] < 12
    assert all(len(anomaly.operations) == 3 for anomaly in finding.anomalies)
    assert finding.metrics["components_not_searched"] > 0


def test_pairs_beyond_the_listed_ones_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    twos = [Txn(place, 0, 100, [["append", f"k{place}", 1], ["r", f"k{place ^ 1}", [1]]]) for place in range(10)]
    monkeypatch.setattr("checkers.transactions.MOST_LISTED", 2)
    finding = check_transactions(history(twos))
    assert finding.counts == {"G1c": 5}
    assert [anomaly.operations for anomaly in finding.anomalies] == [[0, 1], [2, 3]]

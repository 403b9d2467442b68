"""Session guarantees: every proof that is named holds, for many small histories full of equal times."""

from __future__ import annotations

import random

import pytest
from exhaustive import On, Op, as_history_of_keys, sessions, sessions_across_keys

from checkers.finding import Anomaly
from checkers.sessions import check_sessions


def drawn(rng: random.Random, keys: str, most: int) -> list[On]:
    """Operations of three processes, one after the other each; some writes stay unknown, which ends their process."""
    clocks = dict.fromkeys(range(3), 0)
    ons: list[On] = []
    for number in range(rng.randint(2, most)):
        process = rng.choice(sorted(clocks))
        start = clocks[process] + rng.randrange(1, 3)
        clocks[process] = end = start + rng.choice((0, 1, 1, 3))
        writes = rng.random() < 0.5
        kind = "info" if writes and rng.random() < 0.1 else "ok"
        ons.append(On(rng.choice(keys), Op("write" if writes else "read", number + 1, start, end, kind, process)))
        if kind == "info":
            clocks[max(clocks) + 3] = clocks.pop(process)
    values: dict[str, list[int | None]] = {key: [None] for key in keys}
    for key, op in ons:
        values[key] += [op.value] if op.f == "write" else []
    ons = [On(key, op._replace(value=rng.choice(values[key]))) if op.f == "read" else On(key, op) for key, op in ons]
    began = {(on.key, on.op.value): on.op.start for on in ons if on.op.f == "write"}
    # Reads that ended before their write began have no version.
    return [on for on in ons if on.op.f == "write" or on.op.end >= began.get((on.key, on.op.value), 0)]


def in_effect(ons: list[On], key: str, value: int | None) -> int | None:
    """By when a version certainly was there; None for the initial value, which was from before everything."""
    of_value = [on.op for on in ons if on.key == key and on.op.value == value and on.op.type == "ok"]
    return None if value is None else min(op.end for op in of_value)


def check_own(ons: list[On], anomaly: Anomaly) -> None:
    """A session's read, the newer version that it had known, the write of that, and what shows the read's is older."""
    read, before, *rest = (ons[index // 2] for index in anomaly.operations)
    writer, *old = [before, *rest] if before.op.f == "write" else rest
    assert read.op.process == before.op.process
    assert before.op.end <= read.op.start
    assert (writer.op.f, writer.op.value, writer.key) == ("write", before.op.value, before.key)
    assert read.key == before.key == anomaly.key
    done = in_effect(ons, read.key, read.op.value)
    assert done is None or done < writer.op.start
    assert [on.op.end for on in old] == ([] if done is None else [done])
    assert all((on.key, on.op.value) == (read.key, read.op.value) for on in old)


def check_across(ons: list[On], anomaly: Anomaly) -> None:
    """The read, what its process had read before, who wrote that, what that process had seen, its write, and older."""
    kind = anomaly.kind
    read, told, write, saw, *rest = (ons[index // 2] for index in anomaly.operations)
    newer = saw if saw.op.f == "write" else rest.pop(0)
    assert (saw.op.f == "write") == kind.startswith("non-monotonic-write")
    assert read.op.process == told.op.process != write.op.process == saw.op.process
    assert told.op.end <= read.op.start
    assert saw.op.end <= write.op.start
    assert saw.op.type == "ok"
    assert (told.key, told.op.value) == (write.key, write.op.value)
    assert (told.op.f, write.op.f, newer.op.f) == ("read", "write", "write")
    assert saw.key == newer.key == read.key != write.key
    assert saw.op.value == newer.op.value
    done = in_effect(ons, read.key, read.op.value)
    assert done is None or done < newer.op.start
    assert [on.op.end for on in rest] == ([] if done is None else [done])


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("keys", ["x", "xy", "xyz"])
def test_what_breaks_a_guarantee_is_found_and_each_proof_holds(keys: str, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(40):
        ons = drawn(rng, keys, 16)
        wanted: dict[str, set[int]] = sessions_across_keys(ons)
        for key in keys:
            places = [place for place, on in enumerate(ons) if on.key == key]
            for kind, broken in sessions([ons[place].op for place in places]).items():
                wanted.setdefault(kind, set()).update(places[number] for number in broken)
        found: dict[str, set[int]] = {kind: set() for kind in wanted}
        finding = check_sessions(as_history_of_keys(ons))
        for anomaly in finding.anomalies:
            found[anomaly.kind].add(anomaly.operations[0] // 2)
            assert finding.counts[anomaly.kind] == len(wanted[anomaly.kind])
            (check_across if anomaly.kind.endswith("across-keys") else check_own)(ons, anomaly)
        assert found == wanted, ons

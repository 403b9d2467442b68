"""Counters, sets, lists and groups against what trying everything says."""

from __future__ import annotations

from itertools import chain, combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checkers.counters import fewest, most, tallies_of
from checkers.durability import check_durability
from checkers.events import Event
from checkers.fates import FATES
from checkers.finding import Finding, Verdict
from checkers.history import History, from_events
from checkers.multikey import check_multikey

KINDS = st.sampled_from(["ok", "ok", "info", "fail"])


class Script:
    """Writes operations one after the other, each by a process of its own."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.time = 0

    def add(self, f: str, key: str, value: Any, kind: str = "ok", result: Any = None, **more: Any) -> int:
        """Add an operation and return the index of its invocation."""
        final = more.pop("final", False)
        process = (1_000_000 if final else 0) + self.time
        via = more.pop("via", None)
        self.events.append(Event("invoke", f, process, time=self.time, key=key, value=value, final=final, via=via))
        done = value if result is None else result
        self.events.append(Event(kind, f, process, time=self.time + 1, key=key, value=done, final=final, **more))
        self.time += 2
        return len(self.events) - 2

    def history(self, converged: bool = True) -> History:
        phase = {"phase": "converged" if converged else "not-converged"}
        return from_events([*self.events, Event("info", "phase", "controller", time=self.time, value=phase)])


def sums(amounts: list[int]) -> set[int]:
    subsets = chain.from_iterable(combinations(amounts, size) for size in range(len(amounts) + 1))
    return {sum(subset) for subset in subsets}


@given(st.lists(st.tuples(st.integers(1, 5), KINDS), max_size=6), st.integers(0, 30))
def test_a_counter_is_accused_when_no_subset_of_the_indeterminate_explains_it(
    adds: list[tuple[int, str]], total: int
) -> None:
    script = Script()
    for amount, kind in adds:
        script.add("add", "c2", amount, kind)
    script.add("read", "c2", None, result=total, final=True)
    counts = check_durability(script.history()).counts if adds else {}
    sure = sum(amount for amount, kind in adds if kind == "ok")
    possible = {sure + more for more in sums([amount for amount, kind in adds if kind == "info"])}
    assert ("lost-write" in counts) == bool(adds and total < min(possible))
    assert ("duplicate-write" in counts) == bool(adds and total > max(possible))


@given(st.lists(st.integers(1, 5), max_size=6), st.integers(0, 20))
def test_how_many_increments_make_up_a_sum(amounts: list[int], total: int) -> None:
    script = Script()
    for amount in [*amounts, 1]:
        script.add("add", "c2", amount)
    script.add("read", "c2", None, result=0)
    values = tallies_of(script.history().operations)[0].amount[:-1]
    sizes = range(len(amounts) + 1)
    within = [size for size in sizes if any(sum(c) <= total for c in combinations(amounts, size))]
    assert most(values, total) == max(within)
    if total <= sum(amounts):
        assert fewest(values, total) == min(
            size for size in sizes if any(sum(c) >= total for c in combinations(amounts, size))
        )


def test_a_read_during_the_run_cannot_count_what_had_not_begun() -> None:
    script = Script()
    script.add("add", "c2", 2)
    read = script.add("read", "c2", None, result=4)
    script.add("add", "c2", 2)
    script.add("read", "c2", None, result=4, final=True)
    finding = check_durability(script.history(converged=False))
    assert finding.counts == {"duplicate-write": 1}
    assert finding.anomalies[0].operations == [read]


@settings(deadline=None)
@given(st.lists(KINDS, max_size=6), st.lists(st.integers(0, 7), max_size=6), st.booleans(), st.booleans())
def test_elements_are_followed_one_by_one(kinds: list[str], shown: list[int], listed: bool, converged: bool) -> None:
    script = Script()
    key, returned = ("l3" if listed else "s3"), shown if listed else sorted(set(shown))
    for element, kind in enumerate(kinds):
        script.add("txn" if listed else "add", key, [["append", key, element]] if listed else element, kind)
    if listed:
        script.add("txn", key, [["r", key, None]], result=[["r", key, returned]], final=True)
    else:
        script.add("read", key, None, result=returned, final=True)
    finding = check_durability(script.history(converged))
    if not kinds and not listed:
        return  # a set that nobody added to is not known to be one
    missing = {element for element, kind in enumerate(kinds) if kind == "ok" and element not in shown}
    expected = {
        "lost-write": len(missing) if converged else 0,
        "phantom-value": len({element for element in shown if element >= len(kinds)}),
        "failed-write-visible": len({e for e in shown if e < len(kinds) and kinds[e] == "fail"}),
        "duplicate-write": len({e for e in shown if shown.count(e) > 1}) if listed else 0,
    }
    assert finding.counts == {kind: number for kind, number in expected.items() if number}
    assert finding.metrics["unknown"] == (0 if converged else len(missing))
    assert finding.metrics["kept"] == kinds.count("ok") - len(missing)


GROUP = ("{g1}:a", "{g1}:b", "{g1}:c")


@given(st.lists(st.integers(0, 4), min_size=3, max_size=3), st.integers(1, 4))
def test_a_read_is_torn_unless_one_write_explains_all_of_it(picked: list[int], writes: int) -> None:
    script = Script()
    for number in range(1, writes + 1):
        script.add("mset", "{g1}", dict.fromkeys(GROUP, number))
    returned = {key: pick or None for key, pick in zip(GROUP, picked, strict=True)}
    script.add("mget", "{g1}", dict.fromkeys(GROUP), result=returned)
    counts = check_multikey(script.history()).counts
    if max(picked) > writes:
        assert counts == {"phantom-value": 1}
    else:
        assert counts == ({"torn-read": 1} if len(set(picked)) > 1 else {})


def test_groups_are_judged_each_by_its_own_reads() -> None:
    script = Script()
    for tag in ("{g1}", "{g2}", "{g3}"):
        for value in (1, 2):
            script.add("mset", tag, {f"{tag}:a": value, f"{tag}:b": value})
        script.add("mget", tag, {f"{tag}:a": None, f"{tag}:b": None}, result={f"{tag}:a": 1, f"{tag}:b": 2})
    finding = check_multikey(script.history())
    assert finding.counts == {"torn-read": 3}
    assert (finding.metrics["reads"], finding.metrics["groups"]) == (3, 3)


def test_a_group_that_some_write_covers_in_part_is_not_judged() -> None:
    script = Script()
    script.add("mset", "{g1}", dict.fromkeys(GROUP, 1))
    script.add("mset", "{g1}", {GROUP[0]: 2})
    script.add("mget", "{g1}", dict.fromkeys(GROUP), result={GROUP[0]: 2, GROUP[1]: 1, GROUP[2]: 1})
    finding = check_multikey(script.history())
    assert finding.counts == {}
    assert finding.reason == "not every mset writes the whole group, so its reads cannot be judged: {g1}"


def test_lost_writes_that_a_replica_had_acknowledged_are_told_apart() -> None:
    script = Script()
    script.add("add", "s3", 1, acked=1)
    script.add("add", "s3", 2, acked=0)
    script.add("add", "s3", 3)
    script.add("read", "s3", None, result=[9], final=True)
    finding = check_durability(script.history())
    assert finding.metrics["lost"] == 3
    assert finding.metrics["lost_though_a_replica_acknowledged"] == 1
    assert [a.measured.get("replicas_acknowledged") for a in finding.anomalies if a.kind == "lost-write"] == [
        1,
        0,
        None,
    ]


def counted(*adds: tuple[int, str], total: int | None, converged: bool = True) -> Finding:
    """What is said of a counter after these increments, when the last read returned `total` (or there was none)."""
    script = Script()
    for amount, kind in adds:
        script.add("add", "c2", amount, kind)
    script.add("read", "c2", None, result=0)
    script.events[-1].value = 0
    if total is not None:
        script.add("read", "c2", None, result=total, final=True)
    return check_durability(script.history(converged))


def fates(finding: Finding) -> dict[str, int]:
    return {name: finding.metrics[name] for name in FATES if finding.metrics[name]}


def test_increments_are_kept_hidden_or_lost_by_what_the_sum_leaves_open() -> None:
    three = ((5, "ok"), (3, "ok"), (2, "ok"))
    assert fates(counted(*three, total=10)) == {"kept": 3}
    short = counted(*three, total=9)
    assert fates(short) == {"kept": 2, "lost": 1}
    assert short.counts == {"lost-write": 1}
    shorter = counted(*three, total=4)
    assert fates(shorter) == {"kept": 1, "lost": 2}
    assert shorter.counts == {"lost-write": 2}
    assert shorter.anomalies[0].measured == {"shortfall": 6, "lost": 2}
    assert shorter.metrics["counter_shortfall"] == 6
    # Indeterminate increments of 5 can stand for the 3 and the 2, or for the 5.
    assert fates(counted(*three, (5, "info"), total=10)) == {"kept": 1, "superseded": 2}
    assert fates(counted(*three, (1, "info"), total=10)) == {"kept": 3}
    assert fates(counted(*three, (9, "info"), (1, "info"), total=9)) == {"lost": 1, "superseded": 2}
    assert fates(counted(*three, (-4, "info"), total=6)) == {"kept": 3}
    assert fates(counted((1, "ok"), (-1, "info"), total=1)) == {"kept": 1}
    assert fates(counted(*three, (-4, "info"), total=5)) == {"kept": 2, "lost": 1}
    assert counted(*three, (5, "info"), (1, "info"), (4, "fail"), total=10).metrics["counter_indeterminate"] == 2
    assert counted(*three, total=10).metrics["checked_by_object"]["counter"] == 3


@pytest.mark.parametrize(("total", "converged"), [(None, True), (4, False), (None, False)])
def test_a_counter_without_a_last_read_of_a_converged_run_is_not_followed(total: int | None, converged: bool) -> None:
    finding = counted((5, "ok"), (2, "ok"), total=total, converged=converged)
    assert fates(finding) == {"unknown": 2}
    assert finding.verdict is Verdict.UNKNOWN
    if converged:
        assert "(c2)" in str(finding.reason)
    assert counted((5, "fail"), (4, "info"), total=total, converged=converged).verdict is Verdict.VALID


def test_an_increment_applied_twice_shows_in_any_read() -> None:
    assert counted((5, "ok"), (2, "info"), total=7).counts == {}
    excess = counted((5, "ok"), (2, "info"), total=8)
    assert excess.counts == {"duplicate-write": 1}
    assert excess.anomalies[0].measured == {"excess": 1}


def test_only_last_reads_of_replicas_are_compared_and_each_with_its_owners() -> None:
    script = Script()
    script.add("add", "s3", 1)
    script.add("add", "s6", 2)
    script.add("read", "s3", None, result=[], via="replica")  # during the run a replica may lag
    script.add("read", "s9", None, result=[9], via="replica", final=True)  # nobody read it from an owner
    script.add("read", "s3", None, result=[1], final=True)
    script.add("read", "s6", None, result=[2], final=True)
    script.add("read", "s6", None, "fail", via="replica", final=True)
    script.add("read", "s3", None, result=[1], via="replica", final=True)
    wrong = script.add("read", "s6", None, result=[], via="replica", final=True)
    finding = check_durability(script.history())
    assert finding.counts == {"replica-divergence": 1}
    assert finding.anomalies[0].operations[0] == wrong
    assert finding.metrics["replica_reads_compared"] == 2
    assert check_durability(script.history(converged=False)).metrics["replica_reads_compared"] == 0


def test_losses_are_told_by_the_node_that_acknowledged_them() -> None:
    script = Script()
    for element, node in enumerate(("n1", "n1", None, "n2", "n1")):
        script.add("add", "s3", element, node=node)
    script.add("read", "s3", None, result=[4], final=True)
    assert check_durability(script.history()).metrics["loss_windows"] == {
        "n1": {"writes": 2, "first_ms": 1e-6, "last_ms": 3e-6},
        "unknown": {"writes": 1, "first_ms": 5e-6, "last_ms": 5e-6},
        "n2": {"writes": 1, "first_ms": 7e-6, "last_ms": 7e-6},
    }


@pytest.mark.parametrize(
    ("mine", "theirs", "words"),
    [
        ([1, 2], [1, 2], None),
        ([2, 1], [1, 2], "has the elements in another order than"),
        ([1], [1, 2, 3], "lacks 2 and has 0 more than the 3 elements of"),
        ([1, 4], [1], "lacks 0 and has 1 more than the 1 elements of"),
        (None, [], None),
        ([], None, None),
        (None, [1], "lacks 1 and has 0 more than the 1 elements of"),
    ],
)
def test_lists_of_replicas_are_compared_element_by_element(mine: Any, theirs: Any, words: str | None) -> None:
    script = Script()
    script.add("txn", "l3", [["append", "l3", 1]])
    script.add("txn", "l3", [["r", "l3", None]], result=[["r", "l3", theirs]], final=True)
    script.add("txn", "l3", [["r", "l3", None]], result=[["r", "l3", mine]], via="replica", final=True)
    found = [a for a in check_durability(script.history()).anomalies if a.kind == "replica-divergence"]
    assert [words in anomaly.explanation for anomaly in found if words] == ([True] if words else [])
    assert bool(found) == bool(words)


def test_sets_have_no_order_and_values_are_compared_as_they_are() -> None:
    script = Script()
    script.add("add", "s3", 1)
    script.add("add", "s3", 2)
    script.add("write", "k3", 8)
    script.add("write", "k3", 7)
    for via in (None, "replica"):
        script.add("read", "s3", None, result=[1, 2] if via else [2, 1], via=via, final=True)
        script.add("read", "k3", None, result=7, via=via, final=True)
    assert check_durability(script.history()).counts == {}
    script.add("read", "k3", None, result=8, via="replica", final=True)
    assert check_durability(script.history()).counts == {"replica-divergence": 1}


def test_an_element_that_was_appended_twice_may_be_there_twice() -> None:
    script = Script()
    for element in (1, 1, 2):
        script.add("txn", "l3", [["append", "l3", element]])
    failed = script.add("txn", "l3", [["append", "l3", 3]], "fail")
    script.add("txn", "l3", [["r", "l3", None]], result=[["r", "l3", [1, 1, 2, 3]]], final=True)
    finding = check_durability(script.history())
    assert finding.counts == {"failed-write-visible": 1}
    assert finding.anomalies[0].operations[0] == failed
    script.add("txn", "l3", [["r", "l3", None]], result=[["r", "l3", [1, 1, 2, 2, 1]]], final=True)
    doubled = [a for a in check_durability(script.history()).anomalies if a.kind == "duplicate-write"]
    assert sorted(anomaly.measured["times"] for anomaly in doubled) == [2, 3]


@pytest.mark.parametrize(
    ("server", "via", "weak"),
    [
        ("redis 7.0.15", "replica", True),
        ("redis 6.2.1", "replica", True),
        ("redis 8.0.1", "replica", False),
        ("valkey 7.2.5", "replica", False),
        ("redis 7.0.15", None, False),
    ],
)
def test_a_torn_read_names_the_weakness_of_replicas_where_the_server_has_it(
    server: str, via: str | None, weak: bool
) -> None:
    script = Script()
    script.add("mset", "{g1}", dict.fromkeys(GROUP, 1))
    script.add("mset", "{g1}", dict.fromkeys(GROUP, 2))
    torn = script.add("mget", "{g1}", dict.fromkeys(GROUP), result={GROUP[0]: 2, GROUP[1]: 1, GROUP[2]: 1}, via=via)
    run = script.history()
    run.header["server"] = server
    finding = check_multikey(run)
    assert finding.metrics["torn_by_answerer"] == {"replica" if via else "owner": 1}
    [anomaly] = finding.anomalies
    assert ("MIGRATE" in anomaly.explanation) is weak
    assert anomaly.operations == [torn, 0, 2]


def test_a_value_that_several_writes_of_a_group_have_names_none_of_them() -> None:
    script = Script()
    script.add("mset", "{g1}", {GROUP[0]: 1, GROUP[1]: 1, GROUP[2]: 1})
    script.add("mset", "{g1}", {GROUP[0]: 1, GROUP[1]: 2, GROUP[2]: 2})
    script.add("mget", "{g1}", dict.fromkeys(GROUP), result={GROUP[0]: 1, GROUP[1]: 2, GROUP[2]: 2})
    script.add("mget", "{g1}", dict.fromkeys(GROUP), result={GROUP[0]: 1, GROUP[1]: 1, GROUP[2]: 2})
    script.add("mget", "{g1}", dict.fromkeys(GROUP), result={GROUP[0]: None, GROUP[1]: None, GROUP[2]: 2})
    script.add("mget", "{g1}", dict.fromkeys(GROUP), "info", result={GROUP[0]: None, GROUP[1]: None, GROUP[2]: 2})
    finding = check_multikey(script.history())
    assert finding.counts == {"torn-read": 2}
    assert [anomaly.operations for anomaly in finding.anomalies] == [[6, 0, 2], [8, 2]]
    assert finding.metrics["checked"] == 3
    assert finding.metrics["groups"] == 1

"""One small history for each kind of anomaly, and what must be said of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from transaction_histories import Txn, Value, history, in_turn, together

from checkers.events import Event
from checkers.finding import Verdict
from checkers.history import HistoryError, from_events
from checkers.transactions import RULES_OUT, check_transactions


def a(key: str, element: Any) -> list[Any]:
    return ["append", key, element]


def r(key: str, value: Any) -> list[Any]:
    return ["r", key, value]


def w(key: str, value: Any) -> list[Any]:
    return ["w", key, value]


def failed(number: int, txns: list[Txn]) -> list[Txn]:
    txns[number].type = "fail"
    return txns


def by_one(*values: Value) -> list[Txn]:
    """One client, one transaction after the other with no time between them (equal times are concurrent)."""
    return [Txn(0, 10 * number, 10 * number + 10, value) for number, value in enumerate(values)]


GOLDEN: list[tuple[str, list[Txn], dict[str, int], list[int]]] = [
    (
        "G0: x says T0 before T1, y says T1 before T0",
        together([a("x", 1), a("y", 1)], [a("x", 2), a("y", 2)], [r("x", [1, 2])], [r("y", [2, 1])]),
        {"G0": 1},
        [0, 1],
    ),
    (
        "G0-process: a client's second append stands before its first",
        [*by_one([a("x", 1)], [a("x", 2)]), Txn(9, 0, 100, [r("x", [2, 1])])],
        {"G0-process": 1},
        [0, 1],
    ),
    (
        "G0-realtime: an append that began after another had ended stands before it",
        [*in_turn([a("x", 1)], [a("x", 2)]), Txn(9, 0, 100, [r("x", [2, 1])])],
        {"G0-realtime": 1},
        [0, 1],
    ),
    ("G1a: a failed append is read", failed(0, together([a("x", 1)], [r("x", [1])])), {"G1a": 1}, [1, 0]),
    ("G1a of a register", failed(0, together([w("x", 1)], [r("x", 1)])), {"G1a": 1}, [1, 0]),
    ("G1b: a list read between two appends", together([a("x", 1), a("x", 2)], [r("x", [1])]), {"G1b": 1}, [1, 0]),
    ("G1b of a register", together([w("x", 1), w("x", 2)], [r("x", 1)]), {"G1b": 1}, [1, 0]),
    (
        "G1c: each saw what the other did",
        together([a("x", 1), r("y", [2])], [a("y", 2), r("x", [1])]),
        {"G1c": 1},
        [0, 1],
    ),
    ("G1c of registers", together([w("x", 1), r("y", 2)], [w("y", 2), r("x", 1)]), {"G1c": 1}, [0, 1]),
    (
        "G1c of three",
        together([a("x", 1), r("z", [3])], [a("y", 2), r("x", [1])], [a("z", 3), r("y", [2])]),
        {"G1c": 1},
        [0, 1, 2],
    ),
    (
        "G1c-process: a client read what it appended only afterwards",
        by_one([r("x", [1])], [a("x", 1)]),
        {"G1c-process": 1},
        [0, 1],
    ),
    (
        "G1c-realtime: a read of an append that began later",
        in_turn([r("x", [1])], [a("x", 1)]),
        {"G1c-realtime": 1},
        [0, 1],
    ),
    (
        "G-single: T1 saw y as T0 left it, but not x",
        together([a("x", 1), a("y", 2)], [r("x", []), r("y", [2])], [r("x", [1])]),
        {"G-single": 1},
        [0, 1],
    ),
    (
        "G-single of registers",
        together([w("x", 1), w("y", 2)], [r("x", None), r("y", 2)]),
        {"G-single": 1},
        [0, 1],
    ),
    (
        "G-single of registers: who replaces what it read comes after all who read it",
        together([w("x", 1)], [r("x", 1), w("x", 2), w("y", 3)], [r("x", 1), r("y", 3)]),
        {"G-single": 1},
        [1, 2],
    ),
    (
        "G-single-process: a client does not read its own append",
        [*by_one([a("x", 1)], [r("x", [])]), Txn(9, 0, 100, [r("x", [1])])],
        {"G-single-process": 1},
        [0, 1],
    ),
    (
        "G-single-realtime: a stale read",
        [*in_turn([a("x", 1)], [r("x", [])]), Txn(9, 0, 100, [r("x", [1])])],
        {"G-single-realtime": 1},
        [0, 1],
    ),
    (
        "G-single-realtime: an append that returned is in no list afterwards",
        in_turn([a("x", 1)], [a("x", 2), a("y", 9)], [r("x", [1])], [r("x", [1])]),
        {"G-single-realtime": 1},
        [1, 2],
    ),
    (
        "G-nonadjacent: two readers saw two appends in different order (long fork)",
        together([a("x", 1)], [a("y", 2)], [r("x", [1]), r("y", [])], [r("x", []), r("y", [2])]),
        {"G-nonadjacent": 1},
        [0, 1, 2, 3],
    ),
    (
        "G2-item: write skew",
        together([r("x", []), a("y", 1)], [r("y", []), a("x", 2)]),
        {"G2-item": 1},
        [0, 1],
    ),
    (
        "G2-item of registers",
        together([r("x", None), w("y", 1)], [r("y", None), w("x", 2)]),
        {"G2-item": 1},
        [0, 1],
    ),
    (
        "G2-item-process: two clients each append, then do not see the other's append, and one saw more before",
        [
            Txn(0, 0, 100, [r("x", []), a("y", 1)]),
            Txn(1, 0, 50, [a("x", 2)]),
            Txn(1, 50, 100, [r("y", []), a("z", 3)]),
        ],
        {"G2-item-process": 1},
        [0, 1, 2],
    ),
    (
        "G2-item-realtime",
        [
            Txn(0, 0, 100, [r("x", []), a("y", 1)]),
            Txn(1, 0, 40, [a("x", 2)]),
            Txn(2, 50, 100, [r("y", []), a("z", 3)]),
        ],
        {"G2-item-realtime": 1},
        [0, 1, 2],
    ),
    (
        "lost-update: both read [] and appended",
        together([r("x", []), a("x", 1)], [r("x", []), a("x", 2)], [r("x", [1, 2])]),
        {"lost-update": 1, "G-single": 1},
        [0, 1],
    ),
    (
        "lost-update of a register",
        together([w("x", 1)], [r("x", 1), w("x", 2)], [r("x", 1), w("x", 3)]),
        {"lost-update": 1, "G2-item": 1},
        [1, 2],
    ),
    (
        "dirty-update: an append behind that of a failed transaction",
        failed(0, together([a("x", 1)], [a("x", 2)], [r("x", [1, 2])])),
        {"G1a": 1, "dirty-update": 1},
        [0, 1, 2],
    ),
    (
        "dirty-update of a register",
        failed(0, together([w("x", 1)], [r("x", 1), w("x", 2)])),
        {"G1a": 1, "dirty-update": 1},
        [0, 1],
    ),
    ("duplicate-elements", together([a("x", 1)], [r("x", [1, 1])]), {"duplicate-elements": 1}, [0, 1]),
    (
        "incompatible-order: split brain",
        together([a("x", 1)], [a("x", 2)], [r("x", [1])], [r("x", [2])]),
        {"incompatible-order": 1},
        [2, 3],
    ),
    ("internal: an own append is missing", together([a("x", 1), r("x", [])]), {"internal": 1}, [0]),
    (
        "internal: two reads differ",
        together([a("x", 1)], [r("x", []), r("x", [1])]),
        {"internal": 1, "G-single": 1},
        [0, 1],
    ),
    ("internal: an own append that comes later", together([r("x", [1]), a("x", 1)]), {"internal": 1}, [0]),
    (
        "internal: the first of two appends is missing",
        together([a("x", 1), a("x", 2)], [r("x", [2])]),
        {"internal": 1},
        [0, 1],
    ),
    (
        "internal: two appends in the wrong order",
        together([a("x", 1), a("x", 2)], [r("x", [2, 1])]),
        {"internal": 1, "G1b": 1},
        [0, 1],
    ),
    ("internal: an own write is missing", together([w("x", 1), r("x", None)]), {"internal": 1}, [0]),
    ("internal: an own write that comes later", together([r("x", 1), w("x", 1)]), {"internal": 1}, [0]),
    ("garbage-read of a list", together([a("x", 1)], [r("x", [1, 7])]), {"garbage-read": 1}, [1]),
    ("garbage-read of a list that nobody appended to", together([r("x", [7])]), {"garbage-read": 1}, [0]),
    ("garbage-read of a register", together([w("x", 1)], [r("x", 7)]), {"garbage-read": 1}, [1]),
]


@pytest.mark.parametrize(("name", "txns", "counts", "operations"), GOLDEN, ids=[name for name, *_ in GOLDEN])
def test_names_the_anomaly_and_its_transactions(
    name: str, txns: list[Txn], counts: dict[str, int], operations: list[int]
) -> None:
    finding = check_transactions(history(txns))
    assert finding.counts == counts
    assert finding.verdict is Verdict.INVALID
    named = {operation for anomaly in finding.anomalies for operation in anomaly.operations}
    assert named == set(operations)
    assert all(f"peration {operation}" in str(finding.anomalies) for operation in operations)


@pytest.mark.parametrize(("name", "txns", "counts", "operations"), GOLDEN, ids=[name for name, *_ in GOLDEN])
def test_edges_lead_from_each_transaction_of_a_cycle_to_the_next(
    name: str, txns: list[Txn], counts: dict[str, int], operations: list[int]
) -> None:
    for anomaly in check_transactions(history(txns)).anomalies:
        edges = anomaly.edges
        assert bool(edges) == anomaly.kind.startswith(("G0", "G1c", "G-", "G2"))
        assert [edge.after for edge in edges] == [edge.before for edge in [*edges[1:], *edges[:1]]]
        assert not edges or {edge.before for edge in edges} == set(anomaly.operations)


def test_every_kind_has_a_golden_history() -> None:
    rare = {"G-nonadjacent-process", "G-nonadjacent-realtime"}
    assert {kind for _, _, counts, _ in GOLDEN for kind in counts} | rare == set(RULES_OUT)


@pytest.mark.parametrize(
    ("kind", "start"), [("G-nonadjacent-process", 20), ("G-nonadjacent-realtime", 30)], ids=["process", "realtime"]
)
def test_a_long_fork_across_a_clients_transactions(kind: str, start: int) -> None:
    process = 2 if kind.endswith("process") else 5
    txns = [
        Txn(0, 0, 100, [a("x", 1)]),
        Txn(1, 0, 100, [a("y", 2)]),
        Txn(2, 0, 20, [r("x", [1])]),
        Txn(process, start, 100, [r("y", [])]),
        Txn(3, 0, 100, [r("x", []), r("y", [2])]),
    ]
    assert check_transactions(history(txns)).counts == {kind: 1}


VALID: list[tuple[str, list[Txn]]] = [
    ("nothing", []),
    ("nothing done", together([])),
    ("lists in turn", in_turn([a("x", 1), r("x", [1])], [r("x", [1]), a("x", 2)], [r("x", [1, 2])])),
    ("registers in turn", in_turn([w("x", 1), r("x", 1)], [r("x", 1), w("x", 2)], [r("x", 2)])),
    ("several appends at once", together([a("x", 1), a("x", 2)], [r("x", [1, 2])], [r("x", [])])),
    ("a failed append that nobody saw", failed(0, together([a("x", 1)], [r("x", [])]))),
    (
        "equal times are concurrent",
        [Txn(0, 0, 5, [a("x", 1)]), Txn(1, 5, 9, [r("x", [])]), Txn(2, 9, 12, [r("x", [1])])],
    ),
    (
        "an element that failed once and was appended again",
        failed(0, together([a("x", 1)], [a("x", 1)], [r("x", [1])])),
    ),
    ("an append that nobody can have seen yet", together([r("x", []), a("x", 1)], [r("x", [])])),
]


@pytest.mark.parametrize(("name", "txns"), VALID, ids=[name for name, _ in VALID])
def test_accuses_nobody_without_proof(name: str, txns: list[Txn]) -> None:
    finding = check_transactions(history(txns))
    assert finding.counts == {}
    assert finding.verdict is Verdict.VALID


def test_an_indeterminate_append_may_have_happened_and_may_not() -> None:
    for seen in ([], [1]):
        txns = in_turn([a("x", 1)], [r("x", seen)])
        txns[0].type = "info"
        assert check_transactions(history(txns)).counts == {}


def test_an_indeterminate_transaction_that_was_seen_happened_as_a_whole() -> None:
    txns = together([a("x", 1), a("y", 2)], [r("x", [1]), r("y", [])])
    txns[0].type = "info"
    assert check_transactions(history(txns)).counts == {"G-single": 1}


def test_the_explanation_tells_what_was_read_and_appended() -> None:
    finding = check_transactions(history(together([r("x", []), a("y", 1)], [r("y", []), a("x", 2)])))
    (anomaly,) = finding.anomalies
    assert "T1 read x before T2 appended 2 to it, because T1 saw [] without 2" in anomaly.explanation.replace(
        "T2 read x before T1", "T1 read x before T2"
    ).replace("because T2 saw [] without 2", "because T1 saw [] without 2")
    assert "a contradiction" in anomaly.explanation


def test_keys_and_elements_are_shown_as_they_are() -> None:
    txns = together([a("{g0}x", "{e}")], [r("{g0}x", ["{e}", "{garbage}"])])
    (anomaly,) = check_transactions(history(txns)).anomalies
    assert "{g0}x as [{e}, {garbage}]" in anomaly.explanation
    assert anomaly.key == "{g0}x"


@pytest.mark.parametrize(("do", "seen", "verb"), [(a, [1], "appending"), (w, 1, "writing")])
def test_says_what_was_done_before_an_unfinished_state_was_read(do: Callable[..., Any], seen: Any, verb: str) -> None:
    (anomaly,) = check_transactions(history(together([do("x", 1), do("x", 2)], [r("x", seen)]))).anomalies
    assert f", after its {verb} 1" in anomaly.explanation


def test_says_what_is_ruled_out_and_what_is_not() -> None:
    metrics = check_transactions(history(together([r("x", []), a("y", 1)], [r("y", []), a("x", 2)]))).metrics
    assert metrics["ruled_out"] == [
        "repeatable-read",
        "serializable",
        "strong-session-serializable",
        "strict-serializable",
    ]
    assert "snapshot-isolation" in metrics["not_ruled_out"]
    assert metrics["edges"] == {"ww": 0, "wr": 0, "rw": 2, "process": 0, "realtime": 0}
    assert metrics["checked"] == 2
    assert metrics["version_orders"] == 2


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([[a("x", 1)], [a("x", 1)], [r("x", [1])]], "1 was appended to it twice"),
        ([[w("x", 1)], [w("x", 1)], [r("x", 1)]], "1 was written to it twice"),
        ([[w("x", 1)], [a("x", 2)]], "both appended to and written"),
        ([[a("x", 1)], [r("x", "1")]], "returned no list"),
        ([[w("x", 1)], [r("x", [1])]], "returned a list"),
        ([[w("x", 1)], [r("x", [])]], "returned a list"),
        ([[w("x", None)], [r("x", None)]], "null was written"),
    ],
)
def test_a_key_that_cannot_be_decided_is_set_aside_and_the_others_are_not(values: list[Value], reason: str) -> None:
    finding = check_transactions(history(together(*values)))
    assert finding.verdict is Verdict.UNKNOWN
    assert finding.reason is not None
    assert finding.reason.startswith("key x cannot be decided")
    assert reason in finding.metrics["undecided"]["x"]
    more = check_transactions(history(together(*values, [a("y", 1), r("z", [2])], [a("z", 2), r("y", [1])])))
    assert more.counts == {"G1c": 1}


def test_a_list_that_nobody_appended_to_is_empty() -> None:
    assert check_transactions(history(together([r("x", [])], [r("y", None)]))).counts == {}


def test_a_transaction_of_unknown_outcome_happened_if_somebody_saw_it_and_not_else() -> None:
    unseen = together([a("x", 1), w("y", 2)], [r("x", [])], [r("y", None)])
    unseen[0].type = "info"
    assert check_transactions(history(unseen)).metrics["edges"]["rw"] == 0
    # The longest read does not show it; one that contradicts that does.
    deviant = together([a("x", 2)], [a("x", 1)], [a("x", 3)], [r("x", [1, 3])], [r("x", [2])])
    deviant[0].type = "info"
    assert check_transactions(history(deviant)).metrics["edges"]["wr"] == 2


def test_completions_only_have_no_order_of_time() -> None:
    txns = in_turn([a("x", 1)], [r("x", [])], [r("x", [1])])
    assert check_transactions(history(txns)).counts == {"G-single-realtime": 1}
    finding = check_transactions(history(txns, completions_only=True))
    assert finding.counts == {}
    assert finding.metrics["edges"]["realtime"] == finding.metrics["edges"]["process"] == 0


def test_null_may_mean_not_seen() -> None:
    txns = in_turn([a("x", 1)], [r("x", None)], [r("x", [1])])
    assert check_transactions(history(txns), null_reads_unknown=True).counts == {}


def test_reads_from_replicas_take_no_part() -> None:
    events = [
        Event("invoke", "txn", 0, value=[a("x", 1)]),
        Event("ok", "txn", 0, value=[a("x", 1)]),
        Event("invoke", "txn", 1, value=[r("x", None)], via="replica"),
        Event("ok", "txn", 1, value=[r("x", [])]),
        Event("invoke", "txn", 2, value=[r("x", None)]),
        Event("ok", "txn", 2, value=[r("x", [1])]),
    ]
    finding = check_transactions(from_events(events))
    assert finding.verdict is Verdict.VALID
    assert finding.metrics["checked"] == 2


@pytest.mark.parametrize("value", [None, 7, [["append", "x"]], [["incr", "x", 1]], [["r", ["x"], None]], [7]])
def test_what_is_no_transaction_is_named(value: Any) -> None:
    events = [Event("invoke", "txn", 0, 17, 0, value=value), Event("ok", "txn", 0, 18, 1, value=value)]
    with pytest.raises(HistoryError, match="operation 17"):
        check_transactions(from_events(events))


def test_values_that_were_put_in_after_reading_are_what_is_checked() -> None:
    run = history(in_turn([a("x", 1)], [r("x", [1])]))
    changed = [run.operations.value[0], [["r", "x", [2]]]]
    finding = check_transactions(replace(run, operations=replace(run.operations, value=changed)))
    assert set(finding.counts) >= {"garbage-read"}
    assert check_transactions(run).counts == {}


def test_elements_that_no_dictionary_can_hold_are_compared_as_well() -> None:
    one, two = {"a": 1, "b": 2}, {"b": 2, "a": 1}
    txns = together([a("x", one)], [r("x", [one])], [r("x", [two])])
    assert check_transactions(history(txns)).counts == {}
    txns = together([a("x", one)], [r("x", [one])], [r("x", [{"a": 3}])])
    assert "incompatible-order" in check_transactions(history(txns)).counts


EVERY = [(name, txns, counts) for name, txns, counts, _ in GOLDEN] + [(name, txns, {}) for name, txns in VALID]


def changed(
    txns: list[Txn], element: Callable[[Any], Any] = lambda value: value, key: str = "{}", late: int = 0
) -> list[Txn]:
    """The same transactions with other elements, other keys, other clients and at another time."""

    def argument(value: Any) -> Any:
        if isinstance(value, list):
            return [element(item) for item in value]
        return None if value is None else element(value)

    return [
        replace(
            txn,
            process=txn.process + late,
            start=txn.start + late,
            end=txn.end + late,
            value=[[f, key.format(name), argument(value)] for f, name, value in txn.value],
        )
        for txn in txns
    ]


@pytest.mark.parametrize(
    "element",
    [
        pytest.param(lambda value: f"e{value}", id="words"),
        pytest.param(lambda value: value - 3, id="numbers below zero"),
        pytest.param(lambda value: value * 2**55, id="numbers far apart"),
        pytest.param(lambda value: 2**62 - 3 + value, id="numbers around the largest"),
        pytest.param(lambda value: -(2**62) - 2 + value, id="numbers around the smallest"),
        pytest.param(lambda value: 2**70 + value, id="numbers beyond"),
        pytest.param(lambda value: value + 0.5, id="fractions"),
        pytest.param(lambda value: {"value": value}, id="tables"),
        pytest.param(lambda value: value if value % 2 else f"e{value}", id="mixed"),
    ],
)
def test_what_the_elements_are_makes_no_difference(element: Callable[[Any], Any]) -> None:
    for name, txns, counts in EVERY:
        try:
            other = changed(txns, element)
        except TypeError:
            continue  # elements that are no numbers already
        assert check_transactions(history(other)).counts == counts, name


def test_neither_do_transactions_on_other_keys_before_and_after() -> None:
    before = in_turn([a("before", 91)], [r("before", [91])], [a("before", 92)])
    after = changed(in_turn([a("after", 95), a("after", 96)], [r("after", [95, 96])]), late=10_000)
    for name, txns, counts in EVERY:
        beside = [*before, *changed(txns, late=100), *after]
        assert check_transactions(history(beside)).counts == counts, name


def test_what_is_found_twice_is_counted_twice_where_each_is_counted() -> None:
    """Cycles of two and phenomena of single transactions are counted each, of longer cycles one of a kind is named."""
    for name, txns, counts in EVERY:
        other = changed(txns, lambda value: value + 1000 if isinstance(value, int) else value, "{}'", late=1000)
        found = check_transactions(history([*txns, *other])).counts
        assert found.keys() == counts.keys(), name
        assert all(counts[kind] <= found[kind] <= 2 * counts[kind] for kind in counts), name


def test_what_nobody_appended_is_shown_by_its_first_reader() -> None:
    txns = [*in_turn([r("x", [1])], [a("x", 1)], [r("x", [1, 9])], [r("x", [1, 9, 2])], [a("x", 2)])]
    for txn in txns:
        txn.start, txn.end = 0, 100
    [anomaly] = check_transactions(history(txns)).anomalies
    assert (anomaly.kind, anomaly.operations) == ("garbage-read", [2])
    failed(1, txns)
    found = {anomaly.kind: anomaly.operations for anomaly in check_transactions(history(txns)).anomalies}
    assert found == {"garbage-read": [2], "G1a": [0, 1]}


def test_of_lists_that_contradict_each_other_only_what_nobody_appended_is_garbage() -> None:
    txns = together([a("x", 1)], [a("x", 2)], [r("x", [1, 2])], [r("x", [2, 1])], [r("x", [1, 8])], [r("x", [1, 2, 9])])
    counts = check_transactions(history(txns)).counts
    assert counts["garbage-read"] == 2
    assert "G1a" not in counts
    failed(0, txns)
    assert check_transactions(history(txns)).counts["G1a"] == 1


def test_the_shortest_of_several_cycles_is_named() -> None:
    def ring(letters: str, first: int) -> list[Txn]:
        """Each read what the one before had appended."""
        size = len(letters)
        return together(
            *(
                [a(letters[place], first + place), r(letters[place - 1], [first + (place - 1) % size])]
                for place in range(size)
            )
        )

    both = [*ring("abcd", 1), *changed(ring("efg", 11), late=10)]
    finding = check_transactions(history(both))
    assert set(finding.counts) == {"G1c"}
    lengths = sorted(len(anomaly.operations) for anomaly in finding.anomalies)
    assert lengths == [3, 4]
    # Of one component with cycles of three and of four, through the same transactions, the one of three.
    chord = ring("abcd", 1)
    chord[3].value.append(r("b", [2]))
    chord[1].value.append(r("d", [4]))
    [anomaly] = [found for found in check_transactions(history(chord)).anomalies if found.kind == "G1c"]
    assert sorted(anomaly.operations) == [1, 3]

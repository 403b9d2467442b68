"""One answer for each file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from object_histories import history, record

from checkers import CHECKERS, Finding
from checkers.choose import check_linearizability
from checkers.events import Event
from checkers.files import check_file
from checkers.foreign import write_edn
from checkers.history import History, from_events
from checkers.models import MODELS, guess_model


def saved(directory: Path, events: list[Event], name: str = "h.json", *, header: bool = False) -> Path:
    path = directory / name
    fields = ("index", "time", "process", "type", "f", "key", "value")
    rows = [{field: value for field in fields if (value := getattr(event, field)) is not None} for event in events]
    head = [{"format": "cachequake-history", "version": 1}] if header else []
    path.write_text("".join(json.dumps(row) + "\n" for row in [*head, *rows]))
    return path


def sequence(*operations: tuple[str, Any], kind: str = "ok", key: str | None = None) -> list[Event]:
    """Operations of one process, one after the other."""
    events = []
    for f, value in operations:
        events.append(Event("invoke", f, 0, time=len(events), value=value, key=key))
        events.append(Event(kind, f, 0, time=len(events), value=value, key=key))
    return events


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("header", [False, True])
def test_guesses_the_model_and_finds_nothing_wrong(tmp_path: Path, model: str, header: bool) -> None:
    path = saved(tmp_path, record(model, count=60, clients=3, keys=2, lost=0.05, seed=3), header=header)
    answer = check_file(path)
    assert (answer["model"], answer["verdict"]) == (model, "valid")
    assert answer["file"] == str(path)
    assert answer["operations"] == 60
    assert answer["seconds"].keys() == {"read", "check"}
    assert "linearizability" in [finding["checker"] for finding in answer["findings"]]
    assert json.loads(json.dumps(answer)) == answer
    with path.with_suffix(".edn").open("w") as file:
        write_edn(history(model, count=60, clients=3, keys=2, lost=0.05, seed=3), file)
    again = check_file(path.with_suffix(".edn"))
    assert (again["model"], again["verdict"]) == (model, "valid")


@pytest.mark.parametrize(
    ("operations", "model"),
    [
        ([("write", 1), ("read", 1)], "register"),
        ([("cas", [1, 2]), ("read", 2)], "cas-register"),
        ([("get", "x")], "kv"),
        ([("add", 1), ("read", [1])], "set"),
        ([("add", 1), ("read", 1)], "counter"),
        ([("add", 1)], None),
        ([("add", 1), ("read", None)], None),
        ([("read", 1)], None),
        ([("write", 1), ("add", 1)], None),
        ([("acquire", "t")], "lock"),
        ([("dequeue", 1)], "queue"),
        ([], None),
    ],
)
def test_guesses_only_what_is_obvious(operations: list[tuple[str, Any]], model: str | None) -> None:
    assert guess_model(from_events(sequence(*operations) or [Event("info", "kill", "nemesis")])) == model


@pytest.mark.parametrize(
    ("micros", "model"),
    [
        ([["append", "x", 1], ["r", "x", [1]]], "list-append"),
        ([["w", "x", 1], ["r", "x", 1]], "rw-register"),
        ([["r", "x", None]], None),
    ],
)
def test_names_transactions_by_what_they_write_with(tmp_path: Path, micros: list[Any], model: str | None) -> None:
    answer = check_file(saved(tmp_path, sequence(("txn", micros))))
    assert answer["model"] == model
    assert "transactions" in [finding["checker"] for finding in answer["findings"]]


def test_the_verdict_follows_the_initial_value_and_null_reads(tmp_path: Path) -> None:
    path = saved(tmp_path, sequence(("read", 0), ("write", 1), ("read", None)))
    assert check_file(path, "register")["verdict"] == "invalid"
    assert check_file(path, "register", initial=0)["verdict"] == "invalid"
    assert check_file(path, "register", initial=0, null_reads="unknown")["verdict"] == "valid"


def test_out_of_budget_is_unknown(tmp_path: Path) -> None:
    # Elements that are all enqueued at the same time, and of which one is taken twice in the end.
    events = [Event("invoke", "enqueue", n, time=n, value=n) for n in range(12)]
    events += [Event("ok", "enqueue", n, time=20 + n, value=n) for n in range(12)]
    for place, value in enumerate([*range(11), 0]):
        events.append(Event("invoke", "dequeue", 50 + place, time=40 + place))
        events.append(Event("ok", "dequeue", 50 + place, time=90 + place, value=value))
    answer = check_file(saved(tmp_path, events), "queue", checkers=["linearizability"], budget_s=0)
    assert answer["verdict"] == "unknown"
    assert answer["findings"][0]["reason"] == "the object is not decided: out of budget: 0 s were not enough"
    assert check_file(saved(tmp_path, events), "queue", checkers=["queue"])["verdict"] == "invalid"


def test_asks_the_checkers_that_are_named(tmp_path: Path) -> None:
    path = saved(tmp_path, sequence(("write", 1), ("read", 1)))
    answer = check_file(path, checkers=["staleness", "linearizability"])
    assert [finding["checker"] for finding in answer["findings"]] == ["staleness", "linearizability"]
    with pytest.raises(ValueError, match="no checker is called nonsense"):
        check_file(path, checkers=["nonsense"])
    with pytest.raises(ValueError, match="no model is called 'nonsense'"):
        check_file(path, "nonsense")


def test_a_mixed_history_goes_through_all_checkers(tmp_path: Path) -> None:
    events = [*sequence(("write", 1), ("read", 1), key="k0"), *sequence(("add", 1), key="s0")]
    for time, event in enumerate(events):
        event.time = time
    answer = check_file(saved(tmp_path, events))
    assert answer["model"] is None
    assert {"staleness", "durability", "sets", "queue"} <= {finding["checker"] for finding in answer["findings"]}


def test_a_lock_that_expires_is_no_sequential_lock(tmp_path: Path) -> None:
    answer = check_file(saved(tmp_path, sequence(("acquire", ["a", 1]), ("acquire", ["b", 1]))))
    assert [finding["checker"] for finding in answer["findings"]] == ["locks"]


def test_values_that_repeat_are_searched_and_the_rest_go_by_zones() -> None:
    events = [
        *sequence(("write", 1), ("write", 1), ("read", 1), key="again"),
        *sequence(("write", 1), ("read", 2), key="once"),
        *sequence(("write", 1), ("cas", [1, 3]), ("read", 1), key="set"),
    ]
    for time, event in enumerate(events):
        event.time = time
    recorded: History = from_events(events)
    found = check_linearizability(recorded)
    assert {anomaly.key for anomaly in found.anomalies} == {"once", "set"}
    assert found.counts == {"non-linearizable": 2}
    assert found.metrics["checked"] == 8
    assert found.metrics["undecided"] == {}
    assert check_linearizability(recorded, "cas-register").counts == found.counts


def test_a_checker_that_failed_leaves_the_verdict_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, sequence(("write", 1), ("read", 1)))
    assert check_file(path, checkers=["linearizability", "expiry"])["verdict"] == "valid"
    assert check_file(path, checkers=["expiry"])["verdict"] == "unknown", "there is nothing to check"

    def failing(_: History) -> Finding:
        raise ZeroDivisionError

    monkeypatch.setitem(CHECKERS.built_in, "expiry", failing)
    assert check_file(path, checkers=["linearizability", "expiry"])["verdict"] == "unknown"

"""Histories that other programs recorded."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from object_histories import history, record

from checkers.events import NEVER, OK, TYPES
from checkers.finding import Verdict
from checkers.foreign import read, write_edn
from checkers.history import History, HistoryError, from_events, load
from checkers.linearizability_general import check_model

ETCD = """\
; a comment, and a set #{1 2}
{:process 0, :type :invoke, :f :write, :value 3}
{:process :nemesis, :type :info, :f :start, :value {:grudge {"n1" #{"n2"}}}}
{:process 0, :type :info, :f :write, :value :timed-out}
#jepsen.history.Op{:index 4, :process 1, :type :invoke, :f :read, :value nil}
#_ {:process 7, :type :invoke, :f :read, :value nil}
#jepsen.history.Op{:index 5, :process 1, :type :ok, :f :read, :value 3, :ext #foo.bar/Baz [1]}
"""


def rows(found: History) -> list[tuple[Any, ...]]:
    operations = found.operations
    return [
        (
            int(operations.process[row]),
            TYPES[operations.type[row]],
            operations.functions[operations.f[row]],
            operations.key_name(row),
            operations.value[row],
        )
        for row in range(len(operations))
    ]


def written(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def lines(*events: dict[str, Any]) -> str:
    return "".join(json.dumps(event) + "\n" for event in events)


@pytest.mark.parametrize("name", ["history.edn", "history.txt", "history.edn.gz"])
@pytest.mark.parametrize("wrap", ["", "[]", "()"])
def test_reads_edn(tmp_path: Path, name: str, wrap: str) -> None:
    text = f"{wrap[:1]}{ETCD}{wrap[1:]}"
    found = read(written(tmp_path, name, text))
    assert rows(found) == [(0, "info", "write", None, 3), (1, "ok", "read", None, 3)]
    assert [int(index) for index in found.operations.index] == [0, 4]
    assert [(event.process, event.f, event.value) for event in found.context] == [
        ("nemesis", "start", {"grudge": {"n1": ["n2"]}})
    ]


@pytest.mark.parametrize("name", ["history.json", "history.jsonl.gz"])
def test_reads_bare_json_lines(tmp_path: Path, name: str) -> None:
    text = lines(
        {"process": "a", "type": "invoke", "f": "put", "key": 7, "value": "x"},
        {"process": "b", "type": "invoke", "f": "get", "key": 7, "value": None},
        {"process": "nemesis", "type": "info", "f": "kill", "value": None},
        {"process": "a", "type": "ok", "f": "put", "key": 7, "value": None},
        {"process": "b", "type": "ok", "f": "get", "key": 7, "value": "x"},
    )
    found = read(written(tmp_path, name, text))
    assert {row[1:] for row in rows(found)} == {("ok", "put", "7", "x"), ("ok", "get", "7", "x")}
    assert (found.operations.end > found.operations.start[::-1]).all()
    assert len(found.context) == 1
    array = "[" + ",\n".join(text.splitlines()) + "]"
    assert rows(read(written(tmp_path, "array.json", array))) == rows(found)


def test_reads_own_files_as_they_are(tmp_path: Path) -> None:
    head = {"format": "cachequake-history", "version": 1}
    event = {"index": 5, "time": 9, "process": 1, "type": "invoke", "f": "write", "key": "k0", "value": 1}
    path = written(tmp_path, "history.jsonl", lines(head, event))
    assert rows(read(path)) == rows(load(path))
    assert read(path).header == head


@pytest.mark.parametrize("times", [[-1] * 4, [0, None, 1, 2], [7, 5, None, 5], [5, 5, 5, 5]])
def test_without_usable_times_the_order_of_the_lines_decides(tmp_path: Path, times: list[int | None]) -> None:
    kinds = [("invoke", "write", 1), ("ok", "write", 1), ("invoke", "read", None), ("ok", "read", 1)]
    text = lines(
        *(
            {"process": 0, "type": kind, "f": f, "value": value} | ({} if time is None else {"time": time})
            for (kind, f, value), time in zip(kinds, times, strict=True)
        )
    )
    operations = read(written(tmp_path, "h.json", text)).operations
    assert operations.end[0] < operations.start[1]


def test_times_in_seconds_become_nanoseconds(tmp_path: Path) -> None:
    text = lines(
        {"process": 0, "type": "invoke", "f": "read", "time": 0.5},
        {"process": 0, "type": "ok", "f": "read", "time": 1.25, "value": 1},
    )
    operations = read(written(tmp_path, "h.json", text)).operations
    assert (operations.start[0], operations.end[0]) == (500_000_000, 1_250_000_000)


INDEPENDENT = """\
{:process 0, :type :invoke, :f :read, :value [3 nil]}
{:process 0, :type :ok, :f :read, :value [3 1]}
{:process 1, :type :invoke, :f :cas, :value ["x" [1 2]]}
{:process 1, :type :fail, :f :cas, :value ["x" [1 2]]}
"""
COMPARED = """\
{:process 0, :type :invoke, :f :cas, :value [1 2]}
{:process 0, :type :ok, :f :cas, :value [1 2]}
{:process 0, :type :invoke, :f :read, :value nil}
{:process 0, :type :ok, :f :read, :value [1 2]}
"""
TAGGED = """\
{:process 0, :type :invoke, :f :cas, :value #jepsen.independent.Tuple [1 [3 4]]}
{:process 0, :type :ok, :f :cas, :value #jepsen.independent.Tuple [1 [3 4]]}
"""
TRANSACTIONS = """\
{:process 0, :type :invoke, :f :txn, :value [[:r 1 nil] [:append 2 3]]}
{:process 0, :type :ok, :f :txn, :value [[:r 1 [4 5]] [:append 2 3]]}
"""


@pytest.mark.parametrize(
    ("text", "keyed", "expected"),
    [
        (INDEPENDENT, None, [("3", 1), ("x", [1, 2])]),
        (INDEPENDENT, False, [(None, [3, 1]), (None, ["x", [1, 2]])]),
        (COMPARED, None, [(None, [1, 2]), (None, [1, 2])]),
        (TAGGED, None, [("1", [3, 4])]),
        (TRANSACTIONS, None, [(None, [["r", 1, [4, 5]], ["append", 2, 3]])]),
        (TRANSACTIONS, True, [(None, [["r", 1, [4, 5]], ["append", 2, 3]])]),
    ],
)
def test_tells_keyed_values_from_pairs(tmp_path: Path, text: str, keyed: bool | None, expected: list[Any]) -> None:
    found = read(written(tmp_path, "h.edn", text), keyed=keyed)
    assert [row[3:] for row in rows(found)] == expected


def test_keyed_values_in_json(tmp_path: Path) -> None:
    text = lines(
        {"process": 0, "type": "invoke", "f": "read", "value": [3, None]},
        {"process": 0, "type": "ok", "f": "read", "value": [3, 1]},
    )
    assert rows(read(written(tmp_path, "h.json", text)))[0][3:] == ("3", 1)


def test_null_reads_may_be_unknown(tmp_path: Path) -> None:
    text = lines(
        {"process": 0, "type": "invoke", "f": "write", "value": 1},
        {"process": 0, "type": "ok", "f": "write", "value": 1},
        {"process": 0, "type": "invoke", "f": "read", "value": None},
        {"process": 0, "type": "ok", "f": "read", "value": None},
    )
    path = written(tmp_path, "h.json", text)
    assert check_model(read(path), "register").verdict is Verdict.INVALID
    assert check_model(read(path, null_reads="unknown"), "register").verdict is Verdict.VALID
    with pytest.raises(ValueError, match="not 'maybe'"):
        read(path, null_reads="maybe")


def test_completions_alone_are_all_concurrent(tmp_path: Path) -> None:
    text = lines(
        {"type": "ok", "value": [["append", "x", 1]]},
        {"type": "fail", "value": [["append", "x", 2]]},
        {"type": "info", "value": [["append", "x", 3], ["r", "x", None]]},
    )
    found = read(written(tmp_path, "h.json", text))
    assert found.header["completions_only"] is True
    assert [row[1:3] for row in rows(found)] == [("ok", "txn"), ("fail", "txn"), ("info", "txn")]
    operations = found.operations
    assert operations.index.tolist() == [0, 1, 2]
    assert operations.start.max() < operations.end.min()
    assert operations.end[2] == NEVER


def test_a_transaction_whose_results_are_missing_may_not_have_returned(tmp_path: Path) -> None:
    asked = [["r", "x", None], ["w", "x", 1]]
    text = lines({"process": 0, "type": "invoke", "f": "txn", "value": asked}, {"process": 0, "type": "ok", "f": "txn"})
    assert [row[1] for row in rows(read(written(tmp_path, "h.json", text)))] == ["info"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("h.edn", "{:type :ok}\n{:type [}\n", "h.edn:2: not EDN: } cannot close the [ of line 2"),
        ("h.edn", "{:type :ok}\n\n:what", 'h.edn:3: not an operation: "what"'),
        ("h.json", '{"type": "ok"}\n{"f": \n{"type": "ok"}\n', "h.json:2: not an event"),
        ("h.json", '[{"type": "ok"},', "h.json: not a list of events"),
        ("h.json", '{"process": 0, "type": "done", "f": "read"}\n', "h.json: event type 'done' is none of invoke"),
        ("h.edn", "{:process 0 :type :invoke} {:process 0 :type :invoke}", "h.edn: event 1: process 0 invoked"),
    ],
)
def test_a_mistake_names_the_file_and_the_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(HistoryError) as caught:
        read(written(tmp_path, name, text))
    assert message in str(caught.value)


def test_a_file_that_is_not_there_or_not_packed(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="cannot be read"):
        read(tmp_path / "nothing.edn")
    path = tmp_path / "plain.edn.gz"
    path.write_text("{}")
    with pytest.raises(HistoryError, match="cannot be read"):
        read(path)


def test_a_truncated_last_line_is_dropped(tmp_path: Path) -> None:
    text = lines({"process": 0, "type": "invoke", "f": "read", "key": 1}) + '{"process": 0, "ty'
    found = read(written(tmp_path, "h.json", text))
    assert rows(found) == [(0, "info", "read", "1", None)]
    assert "truncated" in found.warnings[0]


@pytest.mark.parametrize("model", ["cas-register", "kv", "set", "queue"])
@pytest.mark.parametrize("keys", [1, 3])
def test_what_is_exported_is_read_again(tmp_path: Path, model: str, keys: int) -> None:
    recorded = history(model, count=60, clients=4, keys=keys, lost=0.1, seed=2)
    text = io.StringIO()
    write_edn(recorded, text)
    again = read(written(tmp_path, "h.edn", text.getvalue()))
    assert rows(again) == rows(recorded)
    assert again.operations.start.tolist() == recorded.operations.start.tolist()
    known = recorded.operations.type == OK
    assert again.operations.end[known].tolist() == recorded.operations.end[known].tolist()


def test_transactions_and_faults_are_exported(tmp_path: Path) -> None:
    text = io.StringIO()
    read_again = read(
        written(tmp_path, "h.edn", TRANSACTIONS + "{:process :nemesis :type :info :f :kill :value {:a 1}}")
    )
    write_edn(read_again, text)
    assert text.getvalue().splitlines() == [
        "{:index 0, :time 0, :type :invoke, :process 0, :f :txn, :value [[:r 1 nil] [:append 2 3]]}",
        "{:index 1, :time 1, :type :ok, :process 0, :f :txn, :value [[:r 1 [4 5]] [:append 2 3]]}",
        '{:index 2, :time 2, :type :info, :process :nemesis, :f :kill, :value {"a" 1}}',
    ]


def test_bare_lines_of_a_recording_mean_the_same(tmp_path: Path) -> None:
    events = record("kv", count=80, clients=5, keys=3, lost=0.1, seed=4)
    text = lines(*({"process": e.process, "type": e.type, "f": e.f, "value": e.value, "key": e.key} for e in events))
    assert rows(read(written(tmp_path, "h.json", text))) == rows(from_events(events))

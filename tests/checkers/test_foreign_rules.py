"""Histories of other programs: each rule for what they leave open, at its bounds."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from checkers.events import NEVER, TYPES, Event
from checkers.foreign import read, write_edn
from checkers.history import History, HistoryError, from_events


def bare(directory: Path, *events: dict[str, Any], **options: Any) -> History:
    path = directory / "h.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return read(path, **options)


def rows(history: History) -> list[tuple[Any, ...]]:
    """Process, type, function, key and value."""
    o = history.operations
    return [
        (int(o.process[row]), TYPES[o.type[row]], o.functions[o.f[row]], o.key_name(row), o.value[row])
        for row in range(len(o))
    ]


def pair(
    f: str, value: Any, kind: str = "ok", process: Any = 0, asked: Any = None, **more: Any
) -> list[dict[str, Any]]:
    """An invocation and its completion."""
    asked = value if asked is None else asked
    return [
        {"type": "invoke", "f": f, "process": process, "value": asked, **more},
        {"type": kind, "f": f, "process": process, "value": value, **more},
    ]


def test_who_is_a_client_and_what_is_context(tmp_path: Path) -> None:
    events = [
        *pair("write", 1, process=7),
        *pair("write", 2, process="worker"),
        {"type": "info", "f": "note", "process": "monitor", "value": "up"},
        {"type": "invoke", "f": "start", "process": "nemesis", "value": 1},
        {"type": "ok", "f": "start", "process": "nemesis", "value": 1},
        *pair("write", 3, process=None),
        {"type": "info", "f": "write", "process": "worker", "value": 4},
    ]
    history = bare(tmp_path, *events[:-1])
    assert [row[:2] for row in rows(history)] == [(7, "ok"), (8, "ok"), (9, "ok")]
    assert [(event.process, event.f) for event in history.context] == [
        ("monitor", "note"),
        ("nemesis", "start"),
        ("nemesis", "start"),
    ]
    with pytest.raises(HistoryError):
        bare(tmp_path, *events)  # the end of an operation that this client never began


def test_a_lone_operation_is_read_whatever_its_times(tmp_path: Path) -> None:
    one = pair("write", 1)
    for event, time in zip(one, (5, 5), strict=True):
        event["time"] = time
    operations = bare(tmp_path, *one).operations
    assert operations.end[0] >= operations.start[0]
    apart = [*pair("write", 1), *pair("read", 1)]
    for number, event in enumerate(apart):
        event["time"] = 10 * number
    assert bare(tmp_path, *apart).operations.start.tolist() == [0, 20]


@pytest.mark.parametrize(
    ("events", "keyed"),
    [
        (pair("read", ["x", 1], asked=["x", None]), True),
        (pair("read", ["x", 1]), False),  # nothing says that it was asked with a key
        (pair("read", ["x", None], "fail", asked=["x", 1]), False),
        (pair("mget", ["x", 1], asked=["x", None]), True),
        (pair("dequeue", ["x", 1], asked=["x", None]), True),
        (pair("write", ["x", None]), False),
        (pair("cas", ["x", [1, 2]]), True),
        (pair("cas", [1, 2]), False),
        (pair("cas", ["x", [1, 2, 3]]), False),
        (pair("acquire", ["x", "token"]), True),
        (pair("release", ["x", None]), True),
        (pair("acquire", ["token", 100]), False),
        (pair("acquire", ["token", 0.5]), False),
        ([*pair("write", ["x", 1]), *pair("read", ["x", 1], asked=["x", None])], True),
        ([*pair("write", [None, 1]), *pair("read", ["x", 1], asked=["x", None])], False),
        ([*pair("write", [["x"], 1]), *pair("read", ["x", 1], asked=["x", None])], False),
        ([*pair("write", 5), *pair("read", ["x", 1], asked=["x", None])], False),
        (pair("read", ["x", 1], asked=["x", None], key="k"), False),
        (pair("txn", [["r", "a", 1], ["r", "b", 2]]), False),
    ],
)
def test_values_are_key_and_value_only_when_one_can_be_nothing_else(
    tmp_path: Path, events: list[dict[str, Any]], keyed: bool
) -> None:
    found = rows(bare(tmp_path, *events))
    assert [row[3] == "x" for row in found if row[2] != "txn"] == [keyed] * sum(row[2] != "txn" for row in found)
    assert all(row[3] is None for row in found if row[2] == "txn")


def test_transactions_beside_them_do_not_make_keyed_values_plain(tmp_path: Path) -> None:
    transaction = pair("txn", [["r", "a", 1], ["r", "b", 2]])
    found = rows(bare(tmp_path, *transaction, *pair("read", ["x", 1], asked=["x", None])))
    assert found == [(0, "ok", "txn", None, [["r", "a", 1], ["r", "b", 2]]), (0, "ok", "read", "x", 1)]


def test_an_answer_that_does_not_repeat_the_question(tmp_path: Path) -> None:
    events = [
        *pair("write", None, asked=5),
        *pair("write", None, "fail", asked=6),
        *pair("read", None, asked=7),
        *pair("dequeue", None, asked=8),
        *pair("write", 9),
        *pair("txn", None, asked=[["r", "a", None]], process=1),
    ]
    found = bare(tmp_path, *events)
    assert [(row[1], row[4]) for row in rows(found)] == [
        ("ok", 5),
        ("fail", 6),
        ("ok", None),
        ("ok", None),
        ("ok", 9),
        ("info", [["r", "a", None]]),
    ]
    assert found.operations.details[5]["error"] == "the history does not say what the transaction returned"


def test_only_answered_reads_of_null_are_left_out(tmp_path: Path) -> None:
    events = [*pair("write", 1), *pair("read", None), *pair("read", None, "fail"), *pair("get", None)]
    events += [*pair("read", 3), *pair("dequeue", None), *pair("read", None, "info")]
    kept = [(f, kind) for _, kind, f, _, _ in rows(bare(tmp_path, *events, null_reads="unknown"))]
    assert kept == [("write", "ok"), ("read", "fail"), ("read", "ok"), ("dequeue", "ok"), ("read", "info")]
    assert len(rows(bare(tmp_path, *events))) == 7


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "h.edn"
    path.write_bytes(b"{:type :ok}\n\xff\xfe\n")
    with pytest.raises(HistoryError, match=r"h\.edn: neither JSON lines nor EDN in UTF-8"):
        read(path)


def test_completions_alone_keep_their_indices_and_order(tmp_path: Path) -> None:
    events = [
        {"type": "ok", "f": "write", "process": 0, "value": 1, "index": 40},
        {"type": "info", "f": "write", "process": 0, "value": 2},
        {"type": "ok", "f": "read", "process": 0, "value": 1, "key": "k"},
    ]
    history = bare(tmp_path, *events)
    operations = history.operations
    assert history.header["completions_only"] is True
    assert operations.index.tolist() == [40, 1, 2]
    assert (set(operations.start.tolist()), set(operations.end.tolist())) == ({0}, {1, NEVER})
    assert len(set(operations.process.tolist())) == 3


def exported(*events: Event) -> list[str]:
    text = io.StringIO()
    write_edn(from_events(list(events)), text)
    return text.getvalue().splitlines()


def test_what_is_written_of_equal_times_keys_errors_and_unknown_ends() -> None:
    lines = exported(
        Event("invoke", "write", 0, time=5, key="k", value=1),
        Event("info", "kill", "nemesis", time=5, value=["n1"]),
        Event("info", "view", "observer", time=5, value={}),
        Event("ok", "write", 0, time=9, key="k", value=1),
        Event("invoke", "mget", 1, time=9, value={"a": None}),
        Event("invoke", "add", 2, time=9, value=3),
        Event("fail", "add", 2, time=12, value=3, error="refused"),
        Event("ok", "mget", 1, time=20, value={"a": 4}),
        Event("invoke", "write", 3, time=11, value=8),
        Event("info", "write", 3, time=15, value=8, error="timed out"),
    )
    assert lines == [
        '{:index 0, :time 5, :type :invoke, :process 0, :f :write, :value ["k" 1]}',
        '{:index 1, :time 5, :type :info, :process :nemesis, :f :kill, :value ["n1"]}',
        '{:index 2, :time 9, :type :invoke, :process 1, :f :mget, :value {"a" nil}}',
        "{:index 3, :time 9, :type :invoke, :process 2, :f :add, :value 3}",
        '{:index 4, :time 9, :type :ok, :process 0, :f :write, :value ["k" 1]}',
        "{:index 5, :time 11, :type :invoke, :process 3, :f :write, :value 8}",
        '{:index 6, :time 12, :type :fail, :process 2, :f :add, :value 3, :error "refused"}',
        '{:index 7, :time 20, :type :ok, :process 1, :f :mget, :value {"a" 4}}',
        '{:index 8, :time 21, :type :info, :process 3, :f :write, :value 8, :error "timed out"}',
    ]


def test_an_unknown_end_comes_after_every_start_as_well() -> None:
    lines = exported(
        Event("invoke", "write", 0, time=5, value=1),
        Event("info", "write", 0, time=6, value=1),
        Event("invoke", "write", 1, time=30, value=2),
    )
    assert [line.split(", ")[1:3] for line in lines] == [
        [":time 5", ":type :invoke"],
        [":time 30", ":type :invoke"],
        [":time 31", ":type :info"],
        [":time 31", ":type :info"],
    ]

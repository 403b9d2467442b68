"""Reading: lines to columns, and what is said of lines that do not fit."""

from __future__ import annotations

import gc
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import checkers.history
from checkers.events import FAIL, INFO, NEVER, OK, Event
from checkers.history import HistoryError, from_events, load

HEADER = {"format": "cachequake-history", "version": 1, "run": "r"}


def line(process: int | str, type_: str, f: str = "read", **more: Any) -> dict[str, Any]:
    return {"process": process, "type": type_, "f": f, **more}


def saved(path: Path, *lines: dict[str, Any] | str) -> Path:
    path.write_text("".join((text if isinstance(text, str) else json.dumps(text)) + "\n" for text in lines))
    return path


def test_an_operation_is_one_row(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "history.jsonl",
        HEADER,
        line(0, "invoke", "write", index=0, time=5, key="k1", value=7),
        line("nemesis", "info", "kill", index=1, time=6, value={"fault": 0}),
        line(1, "invoke", index=2, time=7, key="k0", via="replica"),
        line(1, "ok", index=3, time=9, key="k0", value=None, node="n2", hops=["n1", "n2"], asking=True, final=True),
        line(0, "info", "write", index=4, time=11, key="k1", value=7, error="Timeout"),
        line(10, "invoke", index=5, time=12, key="k1"),
        line(10, "fail", index=6, time=13, key="k1", error="CLUSTERDOWN"),
        line(20, "invoke", "write", index=7, time=14, key="k1", value=8),
    )
    history = load(path)
    operations = history.operations
    assert history.header == HEADER
    assert operations.index.tolist() == [0, 2, 5, 7]
    assert operations.start.tolist() == [5, 7, 12, 14]
    assert operations.end.tolist() == [NEVER, 9, 13, NEVER]
    assert operations.type.tolist() == [INFO, OK, FAIL, INFO]
    assert operations.value == [7, None, None, 8]
    assert [operations.key_name(row) for row in range(4)] == ["k1", "k0", "k1", "k1"]
    assert [operations.node_name(row) for row in range(4)] == [None, "n2", None, None]
    assert operations.final.tolist() == [False, True, False, False]
    assert operations.functions == ["write", "read"]
    assert operations.details == {
        0: {"error": "Timeout"},
        1: {"hops": ["n1", "n2"], "asking": True, "via": "replica"},
        2: {"error": "CLUSTERDOWN"},
    }
    assert [event.f for event in history.context] == ["kill"]
    assert {name: rows.tolist() for name, rows in history.groups.items()} == {"k1": [0, 2, 3], "k0": [1]}


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(8)), st.sampled_from((1, 3, 100)))
def test_neither_order_of_lines_nor_size_of_chunks_matters(order: list[int], chunk: int) -> None:
    events = [Event("invoke", "read", p, 2 * p, 10 * p, "k", None) for p in range(4)]
    events += [Event("ok", "read", p, 2 * p + 1, 10 * p + 15, "k", p) for p in range(4)]
    table = checkers.history._Table()
    shuffled = [events[place] for place in order]
    for first in range(0, 8, chunk):
        table.add(shuffled[first : first + chunk])
    operations = table.history({}, []).operations
    assert operations.value == [0, 1, 2, 3]
    assert operations.end.tolist() == [15, 25, 35, 45]


def test_lines_without_time_happen_in_their_order(tmp_path: Path) -> None:
    path = saved(tmp_path / "h.jsonl", line(0, "invoke"), line(1, "invoke"), line(1, "ok", value=1), line(0, "ok"))
    operations = load(path).operations
    assert operations.start.tolist() == [0, 1]
    assert operations.end.tolist() == [3, 2]
    assert operations.index.tolist() == [0, 1]


def test_files_of_several_processes_are_one_history(tmp_path: Path) -> None:
    first = saved(tmp_path / "a.jsonl", HEADER, line(0, "invoke", time=5), line(0, "ok", time=9))
    second = tmp_path / "b.jsonl.gz"
    with gzip.open(second, "wt") as file:
        file.write(json.dumps(line(1, "invoke", time=3)) + "\n" + json.dumps(line(1, "ok", time=6)) + "\n")
    operations = load(first, second).operations
    assert operations.process.tolist() == [1, 0]


def test_a_truncated_last_line_is_dropped_and_its_operation_indeterminate(tmp_path: Path) -> None:
    path = saved(tmp_path / "h.jsonl", line(0, "invoke", "write", time=1, value=3))
    with path.open("a") as file:
        file.write('{"process": 0, "type": "ok", "f": "wri')
    history = load(path)
    assert history.operations.type.tolist() == [INFO]
    assert history.warnings == [f"{path}:2: the last line is truncated and was dropped"]


@pytest.mark.parametrize("chunk", [1, 100, 1 << 17])
def test_lines_are_counted_whatever_stands_between_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(checkers.history, "_CHUNK", chunk)
    good: list[dict[str, Any] | str] = [line(0, "invoke"), "", line(0, "ok", value=[1], acked=0), "  "]
    good += [line(1, "invoke"), line(1, "ok", value=[2])]
    operations = load(saved(tmp_path / "good.jsonl", HEADER, *good)).operations
    assert operations.value == [[1], [2]]
    assert operations.details == {0: {"acked": 0}}
    two = json.dumps(line(0, "invoke")) + json.dumps(line(0, "ok"))
    with pytest.raises(HistoryError, match=r"two\.jsonl:8: not an event"):
        load(saved(tmp_path / "two.jsonl", HEADER, *good, two))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([HEADER, line(0, "invoke"), "nonsense", line(0, "ok")], r"h\.jsonl:3: not an event: .*nonsense"),
        ([{**HEADER, "version": 2}], r"h\.jsonl:1: not a cachequake-history of version 1"),
        (['{"format": '], r"h\.jsonl:1: not a header"),
        ([line(0, "invoke"), line(0, "invoke")], "process 0 invoked an operation while its operation 0 was still open"),
        ([line(0, "ok")], "process 0 completes what it never invoked"),
        ([line(0, "invoke"), line(0, "ok"), line(0, "info")], "event 2: process 0 completes what it never invoked"),
        ([line(0, "invoke"), line(0, "maybe")], "'maybe' is none of invoke, ok, fail and info"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, lines: list[dict[str, Any] | str], message: str) -> None:
    with pytest.raises(HistoryError, match=message):
        load(saved(tmp_path / "h.jsonl", *lines))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match=r"gone\.jsonl: cannot be read"):
        load(tmp_path / "gone.jsonl")


def test_empty_histories_are_histories(tmp_path: Path) -> None:
    history = load(saved(tmp_path / "h.jsonl", HEADER))
    assert len(history.operations) == 0
    assert history.groups == {}
    assert len(from_events([]).operations) == 0
    assert from_events([Event("invoke", "read", 3)]).operations.end.tolist() == [NEVER]


def test_what_was_read_is_no_young_garbage_to_look_through(tmp_path: Path) -> None:
    path = saved(tmp_path / "h.jsonl", line(0, "invoke", "add", value=[1]), line(0, "ok", "add", value=[1]))
    value = load(path).operations.value[0]
    assert any(known is value for known in gc.get_objects(generation=2))


def test_what_is_not_an_operation_is_kept_in_order_of_time() -> None:
    def note(time: int | None, f: str) -> Event:
        return Event("info", f, "nemesis", time=time, value={})

    history = from_events([note(30, "c"), note(10, "a"), note(20, "b"), note(None, "first"), note(-5, "before")])
    assert [event.f for event in history.context] == ["before", "first", "a", "b", "c"]


def test_an_operation_is_final_when_either_of_its_lines_says_so() -> None:
    events = []
    for process, (invoked, done) in enumerate([(True, True), (True, False), (False, True), (False, False)]):
        events.append(Event("invoke", "read", process, time=process, key="k", final=invoked))
        events.append(Event("ok", "read", process, time=process + 10, key="k", value=1, final=done))
    events.append(Event("invoke", "read", 9, time=9, key="k", final=True))
    assert from_events(events).operations.final.tolist() == [True, True, True, False, True]

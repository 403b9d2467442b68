"""Run directories: never overwritten, and what a killed controller recorded can be read."""

import os
import time

import msgspec

from chaos.plan import make_plan
from chaos.scenario import load_scenario
from chaos.store import (
    PARTS,
    create_run_dir,
    find_run,
    finish_history,
    locked,
    made_at,
    read_executed,
    remove_run,
    write_header,
)
from checkers import load


def new_run(out):
    return create_run_dir(out, make_plan(load_scenario("steady"), 7))


def test_runs_of_one_second_do_not_share_a_directory(tmp_path):
    first, second = new_run(tmp_path), new_run(tmp_path)
    assert first != second
    assert (tmp_path / "latest").resolve() == second
    assert find_run("latest", tmp_path) == second


def test_parts_are_merged_by_time_and_indexed(tmp_path):
    run_dir = new_run(tmp_path)
    write_header(run_dir, {"format": "cachequake-history", "version": 1, "run": run_dir.name})
    parts = run_dir / PARTS
    (parts / "a.jsonl").write_text(
        '{"type":"invoke","f":"write","process":0,"time":10,"key":"k","value":1}\n'
        '{"type":"ok","f":"write","process":0,"time":40,"key":"k","value":1}\n'
    )
    (parts / "b.jsonl").write_text('{"type":"invoke","f":"read","process":1,"time":20,"key":"k"}\n{"type":"ok","f":"re')
    history_file = finish_history(run_dir)
    lines = [msgspec.json.decode(line) for line in history_file.read_bytes().splitlines()]
    assert [(line.get("index"), line.get("time")) for line in lines] == [(None, None), (0, 10), (1, 20), (2, 40)]
    assert not parts.exists()
    assert finish_history(run_dir) == history_file, "doing it again changes nothing"
    operations = load(history_file).operations
    assert [operations.functions[code] for code in operations.f] == ["write", "read"]
    assert operations.type.tolist() == [1, 2], "the read whose completion was cut short has no known outcome"


def test_a_run_that_was_killed_at_once_still_reads(tmp_path):
    run_dir = new_run(tmp_path)
    assert load(finish_history(run_dir)).header["run"] == run_dir.name
    assert "killed" in read_executed(run_dir).error


def test_a_run_has_one_holder(tmp_path):
    run_dir = new_run(tmp_path)
    with locked(run_dir) as first, locked(run_dir) as second:
        assert (first, second) == (True, False)
    with locked(run_dir) as third:
        assert third


def test_latest_is_never_a_run_that_was_removed(tmp_path):
    first, second = new_run(tmp_path), new_run(tmp_path)
    assert (tmp_path / "latest").resolve() == second
    remove_run(second)
    assert (tmp_path / "latest").resolve() == first
    third = new_run(tmp_path)
    remove_run(first)
    assert (tmp_path / "latest").resolve() == third
    remove_run(third)
    assert list(tmp_path.iterdir()) == []


def test_a_copy_of_a_run_is_as_old_as_the_run(tmp_path):
    before = int(time.time())
    run_dir = new_run(tmp_path)
    os.utime(run_dir / "plan.json", (1, 1))
    assert before <= made_at(run_dir) <= time.time()
    renamed = run_dir.rename(tmp_path / "kept")
    assert made_at(renamed) == 1

"""Several replays of one run, in numbers; and the check of a recorded history once more."""

import json
from pathlib import Path

import msgspec
import pytest
from fake_cluster import FakeCluster
from memory_system import run

from chaos.cli import run_command
from chaos.errors import BadInput
from chaos.judge import check_run
from chaos.plan import read_plan
from chaos.replay import Replay, at_same_progress
from chaos.replays import Replays, recheck
from chaos.store import PLAN, Executed
from checkers.history import load
from nemeses.fault import ExecutedFault, PlannedFault, Reached


def replay(after, wanted=("lost-write",), undecided=False):
    return Replay(Path("runs/again"), None, {"lost-write": 3, "stale-read": 1}, after, set(wanted), undecided)


def test_the_share_of_replays_comes_with_an_interval():
    done = Replays([replay({"lost-write": 2}) for _ in range(9)] + [replay({"torn-read": 1})])
    assert done.in_words().splitlines() == [
        "lost-write 9/10 (60% to 98% with 95% confidence)",
        "stale-read 0/10 (0% to 28% with 95% confidence)",
        "torn-read 1/10 (2% to 40% with 95% confidence, not in the first run)",
        "came back",
    ]
    assert done.exit_code == 0
    assert json.loads(done.to_json())["kinds"]["lost-write"]["replays"] == 9


@pytest.mark.parametrize(("undecided", "code"), [(False, 1), (True, 2)])
def test_what_comes_back_in_half_of_the_replays_is_missing(undecided, code):
    done = Replays([replay({"lost-write": 2}), replay({}, undecided=undecided)])
    assert done.missing == ["lost-write"]
    assert done.in_words().endswith("did not come back: lost-write")
    assert done.exit_code == code


def test_the_same_history_gives_the_same_result_byte_for_byte(tmp_path, capsys):
    run_dir, _ = run(tmp_path, FakeCluster())
    with pytest.raises(BadInput, match="never checked"):
        recheck(run_dir)
    check_run(run_dir)
    assert recheck(run_dir)
    assert run_command(["replay", str(run_dir), "--history"]) == 0
    assert "byte for byte" in capsys.readouterr().out
    (run_dir / "results.json").write_text("{}")
    assert run_command(["replay", str(run_dir), "--history"]) == 1


def test_a_deployment_that_does_not_exist_is_refused(tmp_path, capsys):
    assert run_command(["replay", str(run(tmp_path, FakeCluster())[0]), "--deploy", "cloud"]) == 254
    assert "there are local, docker, virtual" in capsys.readouterr().err


def test_a_replayed_fault_waits_for_the_client_that_was_the_last_to_begin_before_it_struck(tmp_path):
    run_dir, _ = run(tmp_path, FakeCluster())
    plan, history = read_plan(run_dir / PLAN), load(run_dir / "history.jsonl")
    operations = history.operations
    last = 40
    client = int(operations.process[last]) % plan.scenario.clients.count
    begun = sum(int(process) % plan.scenario.clients.count == client for process in operations.process[: last + 1])
    fault = PlannedFault(0, "kill", "a primary", at_ms=100, for_ms=50, seed=1)
    struck = ExecutedFault(0, "kill", "a primary", ["n1"], {}, struck_ns=int(operations.start[last]) + 1)
    never = ExecutedFault(1, "kill", "a primary", [], {})
    planned = msgspec.structs.replace(plan, faults=[fault, msgspec.structs.replace(fault, number=1)])
    moved = at_same_progress(planned, Executed(faults=[struck, never]), history)
    assert moved.faults[0].when == Reached(client, begun, earliest_ms=50, latest_ms=200)
    assert moved.faults[1].when is None
    assert moved.scenario == plan.scenario


def test_a_replayed_fault_is_not_moved_so_late_that_it_does_not_fit(tmp_path):
    run_dir, _ = run(tmp_path, FakeCluster())
    plan, history = read_plan(run_dir / PLAN), load(run_dir / "history.jsonl")
    duration_ms = plan.scenario.duration_ms
    fault = PlannedFault(0, "kill", "a primary", at_ms=100, for_ms=duration_ms - 150, seed=1)
    struck = ExecutedFault(0, "kill", "a primary", ["n1"], {}, struck_ns=50_000_000)
    moved = at_same_progress(msgspec.structs.replace(plan, faults=[fault]), Executed(faults=[struck]), history)
    assert moved.faults[0].when.latest_ms == 150

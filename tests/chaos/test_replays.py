"""Several replays of one run, in numbers; and the check of a recorded history once more."""

import json
from pathlib import Path

import pytest
from fake_cluster import FakeCluster
from memory_system import run

from chaos.cli import run_command
from chaos.errors import BadInput
from chaos.judge import check_run
from chaos.replay import Replay
from chaos.replays import Replays, recheck


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

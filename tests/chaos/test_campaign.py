import pytest

from chaos.campaign import Campaign, Trial, parse_seeds, run_campaign
from chaos.cli import run_command
from chaos.errors import BadInput
from chaos.scenario import load_scenario


def test_seeds_are_a_range_with_both_ends():
    assert list(parse_seeds("3..5")) == [3, 4, 5]
    for wrong in ("5", "5..3", "a..b", "1...3"):
        with pytest.raises(BadInput, match=r"--seeds 1\.\.1000"):
            parse_seeds(wrong)


def test_the_worst_seed_decides_and_the_first_of_each_kind_is_named():
    trials = [
        Trial(1, "hold"),
        Trial(2, "broken", {"lost-write": 3}, "runs/two"),
        Trial(3, "broken", {"lost-write": 1, "stale-read": 1}, "runs/three"),
    ]
    done = Campaign("s", 6.0, trials)
    assert done.exit_code == 1
    assert "lost-write: 2 seeds, the first is 2" in done.in_words()
    assert "30 a minute" in done.in_words()
    assert Campaign("s", 1.0, [*trials, Trial(4, "none", error="no server")]).exit_code == 255
    assert Campaign("s", 1.0, [Trial(1, "unknown"), Trial(2, "hold")]).exit_code == 2


def test_a_seed_that_cannot_be_repeated_is_an_error_of_ours():
    trials = [Trial(1, "hold"), Trial(2, "hold", differs="trace.txt differs first in line 7")]
    done = Campaign("s", 6.0, trials, verified=True)
    assert done.exit_code == 255
    assert "seed 2 is not repeatable: trace.txt differs first in line 7" in done.in_words()
    assert "run twice: identical in 1 of 2" in done.in_words()
    assert "run twice" not in Campaign("s", 6.0, trials[:1]).in_words()


def test_only_virtual_time_is_verified(capsys):
    assert run_command(["run", "steady", "--seeds", "1..2", "--verify"]) == 254
    assert "--deploy virtual" in capsys.readouterr().err


def test_runs_in_real_time_are_not_run_side_by_side(tmp_path):
    with pytest.raises(BadInput, match="disturb each other"):
        run_campaign(load_scenario("steady"), range(2), jobs=2, out=tmp_path)

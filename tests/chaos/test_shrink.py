"""Shrinking: what can be taken away is, what is needed stays, and what is left is a scenario like any other."""

import time

import msgspec
import pytest

from chaos.cli import run_command
from chaos.errors import BadInput
from chaos.plan import make_plan
from chaos.result import Result, Server
from chaos.scenario import load_scenario
from chaos.shrink import Search, Shrunk, kinds_to_keep, save, scenarios_of
from chaos.side_by_side import workers
from chaos.store import PLAN, Executed, save_executed
from checkers.finding import Finding, Verdict
from nemeses.fault import ExecutedFault

LARGE = """\
name: large
seed: 3
duration: 20s
clients: {count: 12}
workload:
  register: {keys: 64}
  set: {keys: 16}
  counter: {keys: 4}
nemesis:
  - {fault: kill, target: n1, at: 2s, for: 1s}
  - {fault: pause, target: n2, at: 5s, for: 1s}
  - {fault: partition, target: primary of slot 7, at: 9s, for: 4s, with_clients: 2}
  - {fault: failover, target: primary of slot 9, at: 15s, for: 500ms}
claims: {lost_writes: 0}
"""


def shrunk(tmp_path, shows, seconds=60.0, jobs=1):
    file = tmp_path / "large.quake.yaml"
    file.write_text(LARGE)
    said = []
    search = Search(load_scenario(file), shows, said.append, time.monotonic() + seconds)
    with workers(jobs) as each:
        complete = search.run(each, jobs)
    assert [words for words, _ in search.steps] == said
    return search, complete


def has(scenario, kind):
    return any(fault.fault == kind for fault in scenario.nemesis)


@pytest.mark.parametrize(
    ("deploy", "targets"), [("local", ["primary of slot 7"]), ("virtual", ["primary of slot 7", "a primary"])]
)
def test_the_plan_itself_is_tried_where_it_gives_the_same_bytes(tmp_path, deploy, targets):
    file = tmp_path / "one.quake.yaml"
    file.write_text("name: one\nnemesis: [{fault: restart}]\n")
    plan = make_plan(load_scenario(file, {"deploy": deploy}), 7)
    (tmp_path / PLAN).write_bytes(msgspec.json.encode(plan))
    struck = ExecutedFault(0, "restart", "a primary", ["n2"], {}, resolved={"n2": "primary of slots 7-9"})
    save_executed(tmp_path, Executed(faults=[struck]))
    scenarios = scenarios_of(tmp_path, ["lost-write"])
    assert [(fault.target, fault.seed) for each in scenarios for fault in each.nemesis] == [
        (target, plan.faults[0].seed) for target in targets
    ]


def needs_the_partition(scenario):
    sizes = scenario.workload.get("set", {"keys": 0})["keys"]
    return has(scenario, "partition") and scenario.clients.count >= 3 and sizes >= 3


@pytest.mark.parametrize("jobs", [1, 3])
def test_what_is_not_needed_goes_and_what_is_needed_stays(tmp_path, jobs):
    search, complete = shrunk(tmp_path, needs_the_partition, jobs=jobs)
    left = search.scenario
    assert complete
    assert [fault.fault for fault in left.nemesis] == ["partition"]
    assert (left.nemesis[0].at_ms, left.clients.count) == (500, 3)
    assert list(left.workload) == ["set"]
    assert left.workload["set"]["keys"] == 4, "half of it would be too few"
    assert left.duration_ms < 2_000
    assert left.seed == 3
    assert search.steps[0][0] == "5 operations a second and client", "messages are what a run costs"
    assert left.clients.rate == 1.25


def test_two_faults_that_are_needed_together_stay_together(tmp_path):
    search, _ = shrunk(tmp_path, lambda scenario: has(scenario, "kill") and has(scenario, "failover"))
    kill, failover = search.scenario.nemesis
    assert (kill.fault, failover.fault) == ("kill", "failover")
    assert failover.at_ms - kill.at_ms == 13_000, "moved together: what lies between them may matter"


def test_nothing_is_taken_away_that_makes_it_go_away(tmp_path):
    search, complete = shrunk(tmp_path, lambda scenario: False)
    assert complete
    assert not search.steps
    assert len(search.scenario.nemesis) == 4
    assert search.tried > 10


def test_without_time_it_says_that_it_is_not_done(tmp_path):
    search, complete = shrunk(tmp_path, needs_the_partition, seconds=0)
    assert not complete
    assert not search.steps


def test_what_is_left_is_written_down_and_runs(tmp_path):
    search, _ = shrunk(tmp_path, needs_the_partition)
    done = Shrunk(search.scenario, ("lost-write",), [], search.tried, 1.5, True)
    scenario, test, words = save(done, tmp_path / "minimal")
    assert load_scenario(scenario) == search.scenario
    compile(test.read_text(), str(test), "exec")
    assert len(test.read_text().splitlines()) < 10
    assert "lost-write needs partition of primary of slot 7 at 500ms" in words.read_text()
    assert all(len(line) < 121 for line in scenario.read_text().splitlines() if line.startswith("#"))


def result_of(tmp_path, claims="", **counts):
    file = tmp_path / "any.quake.yaml"
    file.write_text(f"name: any\nclaims: {{{claims}}}\n")
    make_plan(load_scenario(file), 7).save(tmp_path / PLAN)
    findings = {"durability": Finding("durability", Verdict.INVALID, counts=counts, anomalies=[], metrics={})}
    Result("r", "s", 1, Server("v", "9"), "local", Verdict.INVALID, "broken", {}, findings, [], "").save(tmp_path)
    return tmp_path


def test_the_kind_that_is_kept_is_the_one_named_or_the_worst_that_broke_a_claim(tmp_path):
    run_dir = result_of(tmp_path, **{"lost-write": 1, "phantom-value": 7})
    assert kinds_to_keep(run_dir, ()) == ("lost-write",)
    assert kinds_to_keep(run_dir, ("phantom-value",)) == ("phantom-value",)
    broken = result_of(tmp_path, "phantom_values: 0", **{"lost-write": 3, "phantom-value": 1})
    assert kinds_to_keep(broken, ()) == ("phantom-value",)
    with pytest.raises(BadInput, match=r"--keep torn-read: .* it found lost-write, phantom-value"):
        kinds_to_keep(run_dir, ("torn-read",))
    with pytest.raises(BadInput, match="nothing to keep"):
        kinds_to_keep(result_of(tmp_path), ())


def test_a_run_that_does_not_exist_is_bad_input(tmp_path, capsys):
    assert run_command(["shrink", "nowhere", "--out", str(tmp_path)]) == 254
    assert "nowhere" in capsys.readouterr().err

"""The pytest plugin, tried by running pytest inside a test."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from sample_run import sample_run

import chaos.run
from chaos.result import CLAIMS_HOLD, CLAIMS_UNKNOWN, ClaimResult, Result
from chaos.run import Run
from chaos.scenario import Scenario

pytest_plugins = ["pytester"]

INSTALLED = any(found.value == "chaos.pytest_plugin" for found in entry_points(group="pytest11"))
# Hypothesis' plugin imports all of it at the end of each session: half a second each time.
LOAD = ("-p", "no:hypothesispytest", *(() if INSTALLED else ("-p", "chaos.pytest_plugin")))
ROOT = Path(chaos.run.__file__).parents[1]
SCENARIO = "name: short\nduration: 2s\nclaims: {lost_writes: 0}\n"


class Runner:
    """Stands in for `run_scenario`: remembers what it was asked for and gives a made-up result."""

    def __init__(self) -> None:
        self.asked: list[tuple[Scenario, dict[str, Any]]] = []
        self.result: Result = sample_run().result

    def __call__(
        self,
        scenario: Scenario,
        *,
        seed: int | None,
        server: str | None,
        image: str | None,
        out: Path,
        allow_faults_on: list[str],
    ) -> Run:
        asked = {"seed": seed, "server": server, "image": image, "out": out, "allowed": allow_faults_on}
        self.asked.append((scenario, asked))
        self.result.seed = 7 if seed is None else seed
        return Run(out / self.result.run, self.result)

    def claims(self, verdict: str, holds: bool | None, reason: str | None = None) -> None:
        self.result.claims_verdict = verdict
        self.result.claims = [ClaimResult("lost_writes: 0", holds, 0, reason)]


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Runner:
    stand_in = Runner()
    monkeypatch.setattr(chaos.run, "run_scenario", stand_in)
    return stand_in


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets processes that a test starts elsewhere import the packages, installed or not."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def test_a_scenario_file_whose_claims_hold_passes(pytester: pytest.Pytester, runner: Runner) -> None:
    runner.claims(CLAIMS_HOLD, True)
    pytester.makefile(".quake.yaml", first=SCENARIO)

    done = pytester.runpytest_inprocess(*LOAD, "-v")

    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines(["*first.quake.yaml::short PASSED*"])
    assert runner.asked[0][0].duration_ms == 2_000
    nothing = {"seed": None, "server": None, "image": None, "allowed": []}
    assert runner.asked[0][1] == {**nothing, "out": pytester.path / "runs"}


def test_a_broken_claim_fails_with_explanation_and_reproduction(pytester: pytest.Pytester, runner: Runner) -> None:
    pytester.makefile(".quake.yaml", first=SCENARIO)

    done = pytester.runpytest_inprocess(*LOAD)

    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(
        ["*Broken: a claim is not kept: lost_writes: 0*", "*reproduce  cachequake replay runs/primary-partition-sample"]
    )
    done.stdout.no_fnmatch_line("*Traceback*")


def test_an_undecided_claim_fails_and_is_not_skipped(pytester: pytest.Pytester, runner: Runner) -> None:
    runner.claims(CLAIMS_UNKNOWN, None, "durability: the nodes did not converge")
    pytester.makefile(".quake.yaml", first=SCENARIO)

    done = pytester.runpytest_inprocess(*LOAD)

    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*Unknown: *the nodes did not converge*"])


def test_a_scenario_that_is_wrong_is_an_error_of_collection(pytester: pytest.Pytester, runner: Runner) -> None:
    pytester.makefile(".quake.yaml", first="name: short\nduratoin: 2s\n")

    done = pytester.runpytest_inprocess(*LOAD)

    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*first.quake.yaml:2:*duratoin*duration*"])
    done.stdout.no_fnmatch_line("*Traceback*")
    assert not runner.asked


def test_options_decide_seed_deployment_server_and_directory(pytester: pytest.Pytester, runner: Runner) -> None:
    runner.claims(CLAIMS_HOLD, True)
    pytester.makeini("[pytest]\nquake_runs = out/quake\n")
    pytester.makefile(".quake.yaml", first=SCENARIO)

    options = ["--quake-seed=41", "--quake-deploy=docker", "--quake-server=/srv/redis", "--quake-image=redis:8"]
    options += ["--quake-allow-faults-on=cache.example.com"]
    done = pytester.runpytest_inprocess(*LOAD, *options)

    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines(["cachequake: image redis:8, runs in *"])
    scenario, asked = runner.asked[0]
    assert scenario.deploy == "docker"
    assert asked == {
        "seed": 41,
        "server": "/srv/redis",
        "image": "redis:8",
        "out": pytester.path / "out/quake",
        "allowed": ["cache.example.com"],
    }


def test_an_unknown_deployment_is_an_error_that_names_it(pytester: pytest.Pytester, runner: Runner) -> None:
    pytester.makefile(".quake.yaml", first=SCENARIO)

    done = pytester.runpytest_inprocess(*LOAD, "--quake-deploy=moon")

    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*moon*"])


def test_the_fixture_runs_a_scenario_with_overrides(pytester: pytest.Pytester, runner: Runner) -> None:
    pytester.makefile(".quake.yaml", first=SCENARIO)
    pytester.makepyfile(
        """
        def test_it(cachequake):
            result = cachequake.run("first.quake.yaml", seed=5, duration="3s", clients={"count": 4})
            assert result.lost_writes > 0
            assert result.seed == 5
            assert result.claims_verdict == "broken"
        """
    )

    done = pytester.runpytest_inprocess(*LOAD, "-k", "test_it", "--quake-seed=41")

    done.assert_outcomes(passed=1, deselected=1)
    scenario, asked = runner.asked[0]
    assert (scenario.duration_ms, scenario.clients.count, scenario.clients.timeout_ms) == (3_000, 4, 500)
    assert asked["seed"] == 5


def test_a_failed_assertion_ends_with_the_explanation_of_the_run(pytester: pytest.Pytester, runner: Runner) -> None:
    pytester.makefile(".quake.yaml", first=SCENARIO)
    pytester.makepyfile(
        """
        def test_it(cachequake):
            assert cachequake.run("first.quake.yaml").lost_writes == 0
        """
    )

    done = pytester.runpytest_inprocess(*LOAD, "-k", "test_it")

    done.assert_outcomes(failed=1, deselected=1)
    done.stdout.fnmatch_lines(["*cachequake primary-partition-sample*", "*Broken: *", "*reproduce  cachequake replay*"])


def properties(report: Path) -> dict[str | None, dict[str | None, str | None]]:
    """Properties by test case."""
    return {
        case.get("name"): {entry.get("name"): entry.get("value") for entry in case.iter("property")}
        for case in ElementTree.parse(report).iter("testcase")
    }


def test_junitxml_carries_seed_and_run_directory(pytester: pytest.Pytester, runner: Runner) -> None:
    runner.claims(CLAIMS_HOLD, True)
    pytester.makefile(".quake.yaml", first=SCENARIO)
    pytester.makepyfile("def test_it(cachequake):\n    cachequake.run('first.quake.yaml', seed=9)\n")

    pytester.runpytest_inprocess(*LOAD, "--junitxml=junit.xml")

    found = properties(pytester.path / "junit.xml")
    where = str(pytester.path / "runs" / "primary-partition-sample")
    assert found["test_it"] == {"quake_seed": "9", "quake_run_dir": where}
    assert found["short"] == {"quake_seed": "7", "quake_run_dir": where}


WORKER = """
import sys

sys.path[:0] = {paths}

import chaos.run
from test_pytest_plugin import Runner

chaos.run.run_scenario = Runner()
"""
"""A conftest.py that puts the stand-in into a process of its own."""


@pytest.mark.usefixtures("importable")
def test_junitxml_carries_them_from_the_workers_of_xdist_too(pytester: pytest.Pytester) -> None:
    here = Path(__file__).parent
    pytester.makeconftest(WORKER.format(paths=[str(here), str(here.parent / "support")]))
    pytester.makepyfile(
        "import pytest\n"
        "@pytest.mark.parametrize('seed', [1, 2])\n"
        "def test_it(cachequake, seed):\n"
        "    cachequake.run('steady', seed=seed)\n"
    )

    done = pytester.runpytest_subprocess(*LOAD, "-n", "1", "--junitxml=junit.xml")

    done.assert_outcomes(passed=2)
    where = str(pytester.path / "runs" / "primary-partition-sample")
    assert properties(pytester.path / "junit.xml") == {
        f"test_it[{seed}]": {"quake_seed": str(seed), "quake_run_dir": where} for seed in (1, 2)
    }


def test_the_server_is_named_only_when_there_are_tests_of_ours(pytester: pytest.Pytester, runner: Runner) -> None:
    pytester.makepyfile("def test_it():\n    pass\n")
    pytester.runpytest_inprocess(*LOAD).stdout.no_fnmatch_line("*cachequake:*")

    pytester.makefile(".quake.yaml", first=SCENARIO)
    named = pytester.runpytest_inprocess(*LOAD, "--collect-only", "--quake-server=/nowhere/redis-server")
    named.stdout.fnmatch_lines(["cachequake: *--server names /nowhere/redis-server, which does not exist*"])


@pytest.mark.usefixtures("importable")
def test_a_session_without_tests_of_ours_imports_nothing_of_ours(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_it():
            heavy = {"numpy", "redis", "scipy", "checkers", "nemeses"}
            assert not heavy & set(sys.modules)
            assert sorted(name for name in sys.modules if name.startswith("chaos")) == ["chaos", "chaos.pytest_plugin"]
        """
    )

    pytester.runpytest_subprocess(*LOAD).assert_outcomes(passed=1)


def test_the_first_suite_of_the_readme_is_short_and_runs(pytester: pytest.Pytester, runner: Runner) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    suite = dict(re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", readme, re.DOTALL))
    assert sum(len(text.splitlines()) for text in suite.values()) < 40
    for name, text in suite.items():
        (pytester.path / name).write_text(text)

    done = pytester.runpytest_inprocess(*LOAD)

    # The made-up result loses writes, so the tests that claim a loss pass and the others fail.
    done.assert_outcomes(passed=2, failed=2)
    names = ["sessions", "graceful-failover", "primary-partition", "primary-partition"]
    assert [scenario.name for scenario, _ in runner.asked] == names
    assert [asked["seed"] for _, asked in runner.asked] == [None, None, 1, 2]


@pytest.mark.server
@pytest.mark.usefixtures("importable")
def test_a_real_run_from_a_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_nothing_is_lost_while_nothing_breaks(cachequake):
            result = cachequake.run("steady", seed=7, duration="2s")
            assert result.lost_writes == 0
            assert result.operations["ok"] > 100
            assert (result.run_dir / "report.html").is_file()
        """
    )

    done = pytester.runpytest_inprocess(*LOAD)

    done.assert_outcomes(passed=1)

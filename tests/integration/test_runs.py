"""Whole runs on real servers: what they find, what they say, and what they leave behind (nothing)."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from isolated import NOBODY, python_for_nobody
from leftovers import controllers, processes_of

from chaos.clean import clean_up
from chaos.cli import run_command
from chaos.judge import check_run
from chaos.run import run_scenario
from chaos.scenario import load_scenario
from chaos.store import HISTORY, read_executed
from checkers import load

pytestmark = pytest.mark.server
ROOT = Path(__file__).resolve().parents[2]


CUT = {"fault": "partition", "shape": "isolate", "target": "primary of k0", "with_clients": 2}
CUT_OFF = {"duration": "5s", "clients.rate": 100, "nemesis": [{**CUT, "at": "500ms", "for": "3s"}]}
"""Scenario `primary-partition`, but shorter: long enough for a failover."""


def run(name, out, seed=7, **overrides):
    return run_scenario(load_scenario(name, overrides), seed=seed, out=out)


def command(*arguments, python=sys.executable, **options):
    program = "from chaos.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", **options.pop("environment", {})}
    return subprocess.Popen(
        [python, "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def wait_for(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)
    return found


def test_without_faults_nothing_is_found_and_everything_is_checked(tmp_path):
    done = run("steady", tmp_path, duration="2s")
    assert done.result.claims_verdict == "hold", done.result.claims
    idle = {name for name, finding in done.result.findings.items() if not finding.metrics["checked"]}
    others = {"locks", "queue", "expiry", "visibility", "cachefill"}
    assert idle == others, "those whose workloads this scenario has not"
    assert not processes_of(done.run_dir)
    assert not (done.run_dir / "work").exists()
    assert sorted(path.name for path in (done.run_dir / "logs").glob("n?.log")) == [f"n{n}.log" for n in range(1, 7)]


def test_a_cut_off_primary_loses_what_it_acknowledged(tmp_path):
    done = run("primary-partition", tmp_path, **CUT_OFF)
    assert done.result.count("lost-write") > 0
    assert done.result.claims_verdict == "broken"
    (fault,) = read_executed(done.run_dir).faults
    assert fault.error is None
    assert fault.evidence["inject"]["views"], "the nodes themselves saw the cut"
    assert fault.injected_ns < fault.healed_ns
    worst = done.result.anomalies("lost-write")[0]
    assert worst.fault == 0
    assert worst.operations
    assert "acknowledged by" in worst.explanation
    assert (done.run_dir / "report.html").stat().st_size > 10_000


def test_replicas_that_lag_answer_with_old_values(tmp_path):
    done = run("replica-reads", tmp_path, **{"clients.rate": 100})
    assert done.result.count("stale-read") > 0
    assert done.result.findings["staleness"].metrics["max_ms"] > 500


def test_where_there_are_no_namespaces_a_proxy_cuts_the_links(tmp_path, monkeypatch):
    monkeypatch.setenv("CACHEQUAKE_ISOLATION", "proxy")
    done = run("primary-partition", tmp_path, **CUT_OFF)
    assert load(done.run_dir / HISTORY).header["isolation"] == "proxy"
    assert done.result.count("lost-write") > 0
    assert not processes_of(done.run_dir)


def test_json_stands_alone_on_standard_output(tmp_path):
    child = command("run", "steady", "--time", "1s", "--seed", "3", "--json", "--out", tmp_path)
    output, _ = child.communicate(timeout=60)
    results = json.loads(output)
    assert child.returncode == 0
    assert (results["seed"], results["claims_verdict"], results["scenario"]) == (3, "hold", "steady")
    assert results["reproduce"].startswith("cachequake replay ")


def test_ctrl_c_heals_stops_and_still_checks(tmp_path):
    child = command("run", "primary-partition", "--time", "30s", "--set", "clients.rate=100", "--out", tmp_path)
    run_dir = wait_for(lambda: (tmp_path / "latest").exists() and (tmp_path / "latest").resolve())
    parts = run_dir / "parts" / "controller.jsonl"
    wait_for(lambda: parts.exists() and '"f":"partition"' in parts.read_text())
    child.send_signal(signal.SIGINT)
    output, errors = child.communicate(timeout=60)
    assert child.returncode in (1, 2), (output, errors)
    assert "interrupted" in (run_dir / "results.json").read_text()
    (fault,) = read_executed(run_dir).faults
    assert fault.healed_ns is not None
    assert not processes_of(run_dir)


@pytest.mark.parametrize("isolation", ["namespace", "proxy"])
def test_a_killed_controller_leaves_nothing_and_its_history_can_be_checked(tmp_path, isolation):
    chosen = {"CACHEQUAKE_ISOLATION": isolation}
    child = command("run", "steady", "--time", "30s", "--out", tmp_path, environment=chosen)
    run_dir = wait_for(lambda: (tmp_path / "latest").exists() and (tmp_path / "latest").resolve())
    clients = run_dir / "parts" / "clients-0.jsonl"
    wait_for(lambda: clients.exists() and clients.stat().st_size > 100_000)
    for pid in controllers(run_dir):
        os.kill(pid, signal.SIGKILL)
    child.communicate(timeout=60)
    assert child.returncode == 255
    wait_for(lambda: clean_up(tmp_path) is not None and not processes_of(run_dir))
    assert not (run_dir / "work").exists()
    result = check_run(run_dir)
    assert result.operations["ok"] > 0
    assert "killed" in result.error
    assert not result.count("lost-write"), "without final reads nothing is called lost"


def test_a_restart_without_data_loses_the_shard_and_its_replay_says_what_came_back(tmp_path):
    restart = {"fault": "restart", "target": "primary of k0", "at": "1s", "for": "500ms", "keep_data": False}
    brief = {"duration": "3s", "clients.rate": 100, "nemesis": [restart]}
    first = run("kill-without-persistence", tmp_path, **brief)
    assert first.result.count("lost-write") > 50
    child = command("replay", first.run_dir, "--out", tmp_path, "--json")
    output, errors = child.communicate(timeout=90)
    outcome = json.loads(output)
    assert child.returncode == 0, errors
    assert outcome["came_back"]
    assert outcome["after"]["lost-write"] > 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_can_do_it_all(tmp_path):
    python = python_for_nobody()
    if python is None:
        pytest.skip("no Python that a user without rights may run")
    tmp_path.chmod(0o777)
    for parent in list(tmp_path.parents)[: -len(Path(tempfile.gettempdir()).parents) - 1]:
        parent.chmod(parent.stat().st_mode | 0o011)
    # redis-py imports this below Python 3.11.3, which that other Python may be; nothing of it is used here.
    (tmp_path / "async_timeout.py").write_text("from asyncio import timeout\n")
    packages = [str(ROOT), str(tmp_path), *(path for path in sys.path if path.endswith("-packages"))]
    brief = [f"--set={key}={json.dumps(value)}" for key, value in CUT_OFF.items()]
    child = command(
        *("run", "primary-partition", *brief, "--json", "--out", tmp_path / "runs"),
        python=python,
        environment={"PYTHONPATH": os.pathsep.join(packages), "HOME": str(tmp_path)},
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd=tmp_path,
    )
    output, errors = child.communicate(timeout=90)
    assert child.returncode == 1, errors
    results = json.loads(output)
    assert results["findings"]["durability"]["counts"]["lost-write"] > 0
    assert load(tmp_path / "runs" / results["run"] / HISTORY).header["isolation"] == "network namespace"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "stedy"], "did you mean 'steady'"),
        (["run", "steady", "--set", "clients.cuont=3"], "did you mean 'count'"),
        (["run", "steady", "--server", "/no/such/server"], "does not exist"),
        (["run", "steady", "--time", "3"], "write 3ms or 3s"),
        (["run"], "Missing argument"),
        (["check", "nothing-there"], "is not a run directory"),
        (["replay", "nothing-there"], "is not a run directory"),
    ],
)
def test_bad_input_is_one_message_and_254_and_starts_nothing(tmp_path, capsys, arguments, message):
    code = run_command([*arguments, "--out", str(tmp_path / "runs")])
    errors = capsys.readouterr().err
    assert code == 254, errors
    assert message in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "runs").exists()

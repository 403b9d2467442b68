"""Real servers in virtual time: the same seed gives the same bytes, faults are found, and nothing is left behind."""

import json
import os
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from leftovers import processes_of
from virtual_nodes import NEEDED, nodes

from chaos import member
from chaos.campaign import run_campaign
from chaos.deploy import preload, servers
from chaos.deploy.servers import Server
from chaos.deploy.virtual.deployment import VirtualDeployment
from chaos.deploy.virtual.shim_library import shim
from chaos.deploy.virtual.trace import TRACE
from chaos.errors import BadInput, RunFailed, ServerError
from chaos.run import run_scenario
from chaos.scenario import load_scenario
from chaos.store import HISTORY, read_executed
from chaos.verify import verify_run, verify_times
from checkers import load
from nemeses.system import Kill, Links, Pause, Unreachable

ROOT = Path(__file__).resolve().parents[2]
pytestmark = NEEDED


def run(name, out, seed=7, **overrides):
    return run_scenario(load_scenario(name, {"deploy": "virtual", **overrides}), seed=seed, out=out)


ODD = [
    {"fault": "loss", "percent": "30%", "at": "500ms", "for": "1s"},
    {"fault": "delay", "delay": "80ms", "jitter": "20ms", "at": "3s", "for": "1s"},
    {"fault": "bandwidth", "at": "5s", "for": "1s"},
    {"fault": "power-loss", "target": "a replica", "at": "6s", "for": "500ms"},
    {"fault": "skew", "offset": "5s", "direction": "behind", "at": "500ms", "for": "3s"},
]
CRASH = {"fault": "migrate-crash", "victim": "source", "target": "primary of k0", "at": "500ms", "for": "3s"}
CUT = {"fault": "partition", "shape": "isolate", "target": "primary of k0", "with_clients": 2}
BRIEF = {
    "migration-crash": {"duration": "5s", "nemesis": [CRASH]},
    "everything": {"duration": "8s"},
    "steady": {"duration": "7s", "nemesis": ODD, "cluster.config": {"appendonly": "yes", "save": "1 1"}},
}
CUT_OFF = {"duration": "5s", "nemesis": [{**CUT, "at": "500ms", "for": "3s"}]}
"""Scenario `primary-partition`, but shorter."""


def the_same_twice(name, out, **overrides):
    """Run a scenario twice, see that all files of bytes that time decides are equal, and return the first run."""
    first, second = (run(name, out / side, **overrides) for side in ("first", "second"))
    for file in (HISTORY, TRACE, *(f"logs/n{number}.log" for number in range(1, 7))):
        assert (first.run_dir / file).read_bytes() == (second.run_dir / file).read_bytes(), f"{file} of two runs differ"
    return first


@pytest.mark.parametrize(("name", "overrides"), BRIEF.items(), ids=BRIEF)
def test_the_same_seed_gives_the_same_bytes(tmp_path, name, overrides):
    done = the_same_twice(name, tmp_path, **overrides)
    assert read_executed(done.run_dir).error is None
    saved = "Background saving terminated with success" in (done.run_dir / "logs" / "n1.log").read_text()
    assert saved is ("cluster.config" in overrides)


def test_a_cut_off_primary_loses_what_it_acknowledged_and_the_same_every_time(tmp_path):
    done = the_same_twice("primary-partition", tmp_path, **CUT_OFF)
    assert done.result.count("lost-write") > 0
    (fault,) = read_executed(done.run_dir).faults
    assert fault.error is None
    assert fault.evidence["inject"]["views"], "the nodes themselves saw the cut"
    assert load(done.run_dir / HISTORY).header["isolation"] == "simulated network"


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    """A second without faults."""
    return run("steady", tmp_path_factory.mktemp("quiet"), duration="1s")


def test_another_seed_gives_another_history(tmp_path, quiet):
    other = run("steady", tmp_path, 8, duration="1s").run_dir
    assert (quiet.run_dir / HISTORY).read_bytes() != (other / HISTORY).read_bytes()


def test_verify_says_that_nothing_differs_and_names_what_does(tmp_path, quiet):
    first = shutil.copytree(quiet.run_dir, tmp_path / quiet.run_dir.name)
    same = verify_run(first, out=tmp_path)
    assert same.exit_code == 0, same.in_words()
    assert same.turns > 1_000
    assert sum(line.startswith("digest") for line in (first / TRACE).read_text().splitlines()) == 6
    lines = (first / TRACE).read_text().splitlines()
    lines[100] = lines[100].replace(" n", " x", 1)
    (first / TRACE).write_text("\n".join(lines))
    again = verify_times(first, 2, jobs=2, out=tmp_path)
    assert (again.identical, again.exit_code) == (0, 1)
    assert "identical in 0 of 2" in again.in_words()
    for one in again.each:
        (difference,) = one.differences
        assert (difference.file, difference.line, difference.before) == (TRACE, 101, lines[100])
        assert one.run_dir.is_dir(), "what differs is kept"


def test_a_campaign_runs_seeds_side_by_side_and_keeps_those_that_found_something(tmp_path):
    lossy = load_scenario("primary-partition", {"deploy": "virtual", **CUT_OFF})
    done = run_campaign(lossy, range(1, 3), jobs=2, out=tmp_path)
    assert [trial.seed for trial in done.trials] == [1, 2]
    assert done.exit_code == 1, done.in_words()
    assert all(trial.counts["lost-write"] and Path(trial.run).is_dir() for trial in done.trials)
    quiet = load_scenario("steady", {"deploy": "virtual", "duration": "500ms"})
    twice = run_campaign(quiet, range(1), verify=True, out=tmp_path / "quiet")
    assert "run twice: identical in 1 of 1" in twice.in_words()
    assert (twice.trials[0].run, twice.trials[0].counts) == (None, {})
    assert list((tmp_path / "quiet").iterdir()) == []


def test_without_faults_nothing_is_found_and_nothing_is_left(quiet):
    done = quiet
    assert done.result.claims_verdict == "hold", done.result.claims
    for checker in ("durability", "linearizability", "multikey", "sessions", "slots", "staleness", "transactions"):
        assert done.result.findings[checker].metrics["checked"] > 0, checker
    assert not processes_of(done.run_dir)
    assert not (done.run_dir / "work").exists()


def test_servers_end_with_a_controller_that_is_killed():
    program = (
        "import os, sys; sys.path[:0] = sys.argv[1:]\n"
        "from virtual_nodes import nodes\n"
        "with nodes(2) as system:\n"
        "    print(*(process.pid for process in system._processes.values()), flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    places = [ROOT, ROOT / "tests" / "support"]
    child = subprocess.run([sys.executable, "-c", program, *places], capture_output=True, text=True, check=False)
    pids = [int(word) for word in child.stdout.split()]
    assert len(pids) == 2, child.stderr
    for pid in pids:
        assert _gone(pid), f"process {pid} is still there"


def _gone(pid):
    """Whether a process has ended, or does so while we wait for it (at most ten seconds)."""
    try:
        file = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    with os.fdopen(file, "rb"):
        return bool(select.select([file], [], [], 10)[0])


def test_time_passes_only_for_who_waits():
    with nodes(1) as system:
        began = system.now_ns()
        system.sleep_until(began + 3_600_000_000_000)
        info = dict(line.split(":", 1) for line in system.call("n1", "INFO", "server").decode().splitlines()[1:])
        assert int(info["uptime_in_seconds"]) == pytest.approx(3_600, abs=1)
        assert info["process_id"] == "100000"


def test_the_capabilities_hold():
    config = {"cluster-enabled": False, "appendonly": True, "appendfsync": "always"}
    with nodes(2, config) as system:
        assert isinstance(system, Kill)
        assert isinstance(system, Pause)
        assert isinstance(system, Links)
        system.call("n1", "SET", "k0", "kept")
        system.kill("n1")
        assert not system.running("n1")
        with pytest.raises(Unreachable, match=r"refused|closed"):
            system.call("n1", "PING")
        system.start("n1")
        assert system.call("n1", "GET", "k0") == b"kept"
        system.pause("n1")
        with pytest.raises(Unreachable, match="no answer within 300 ms"):
            system.call("n1", "PING", timeout_ms=300)
        system.resume("n1")
        assert system.call("n1", "PING") == b"PONG"
        system.terminate("n1")
        assert not system.running("n1")
        system.start("n1", keep_data=False)
        assert system.call("n1", "GET", "k0") is None


@pytest.mark.parametrize(("fsync", "lost"), [("everysec", True), ("always", False)])
def test_a_power_failure_loses_what_was_not_synced(fsync, lost):
    with nodes(1, {"cluster-enabled": False, "appendonly": True, "appendfsync": fsync}) as system:
        system.call("n1", "SET", "early", "1")
        system.sleep_until(system.now_ns() + 2_500_000_000)
        system.call("n1", "SET", "between", "1")  # is synced at once, since the last time is long ago
        system.call("n1", "SET", "late", "1")
        system.kill("n1")
        dropped = system.drop_unsynced("n1")
        assert set(dropped) == ({"appendonly.aof.1.incr.aof"} if lost else set()), "what the start wrote was synced"
        system.start("n1")
        assert system.call("n1", "GET", "early") == b"1"
        assert (system.call("n1", "GET", "late") is None) is lost


def test_a_replica_gets_a_large_dataset_through_a_full_sync():
    with nodes(2, {"cluster-enabled": False}) as system:
        for number in range(20):
            system.call("n1", "SETRANGE", f"k{number}", 1 << 20, "x")
        system.call("n2", "REPLICAOF", system.nodes["n1"].host, system.nodes["n1"].port)
        system.wait("the replica has it all", lambda: system.call("n2", "DBSIZE") == 20, 60_000)
        assert system.call("n1", "DEBUG", "DIGEST") == system.call("n2", "DEBUG", "DIGEST")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"cluster.config": {"io-threads": "4"}}, "io-threads above 1"),
        ({"cluster.config": {"tls-port": "6380"}}, "virtual has no TLS"),
    ],
)
def test_what_it_cannot_do_is_refused_before_anything_starts(tmp_path, overrides, message):
    with pytest.raises(BadInput, match=message):
        run("steady", tmp_path, **overrides)
    assert not list(tmp_path.iterdir())


def test_a_call_that_the_library_does_not_know_ends_the_run(tmp_path):
    source = tmp_path / "server.c"
    source.write_text(
        "#include <sys/socket.h>\n#include <sys/syscall.h>\n#include <unistd.h>\n"
        "int main(void) { syscall(SYS_socket, AF_INET, SOCK_STREAM, 0); return 0; }\n"
    )
    program = tmp_path / "server"
    subprocess.run([preload.compiler(), "-o", program, source], check=True)
    system = VirtualDeployment(Server(program, "valkey", "9"), shim(), member.servers(1, {}), tmp_path / "work", seed=1)
    try:
        with pytest.raises(RunFailed, match="n1 made a system call that would let the real world in"):
            system.start_all()
    finally:
        system.stop_all()


def test_without_a_compiler_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(ServerError, match="install gcc or clang"):
        shim()


def test_a_script_cannot_be_preloaded_into(tmp_path):
    script = tmp_path / "server"
    script.write_text(f'#!/bin/sh\nexec {json.dumps(str(servers.find().path))} "$@"\n')
    script.chmod(0o755)
    with pytest.raises(BadInput, match="is a script"):
        run_scenario(load_scenario("steady", {"deploy": "virtual"}), seed=1, server=str(script), out=tmp_path / "runs")

"""An engine that is not on this machine: the controller and the clients run in a container on it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from containers import left_on_engine, require_engine
from docker.errors import NotFound
from leftovers import processes_of
from relay import relayed

from chaos.clean import clean_up
from chaos.deploy.docker.engine import UNIX, Engine, url
from chaos.deploy.docker.far import container_name
from chaos.judge import check_run
from chaos.run import run_scenario
from chaos.scenario import load_scenario
from chaos.store import HISTORY, PARTS, locked

pytestmark = [pytest.mark.server, pytest.mark.docker]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def images():
    """The big one takes a while to build, which is not the time of any test; by a process like that which needs it."""
    require_engine()
    build = "from chaos.deploy.docker import engine, images; images.controller_image(engine.Engine())"
    subprocess.run([sys.executable, "-c", build], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


@pytest.fixture(autouse=True)
def remote(monkeypatch):
    """The engine of this machine, by an address that does not say so."""
    if not url().startswith(UNIX):
        yield url()
        return
    with relayed(url().removeprefix(UNIX)) as port:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{port}")
        yield url()


@pytest.fixture
def begun(tmp_path):
    """The command of a run that goes on, with load, and its directory."""
    command = ["run", "steady", "--time", "60s", "--deploy", "docker", "--out", str(tmp_path)]
    child = subprocess.Popen(
        [sys.executable, "-c", "from chaos.cli import main; main()", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    run_dir = wait_for(lambda: (tmp_path / "latest").exists() and (tmp_path / "latest").resolve())
    wait_for(lambda: recorded(run_dir) > 100_000)
    yield child, run_dir
    child.kill()
    child.wait()


def wait_for(condition, seconds=120.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)
    return found


def recorded(run_dir):
    """Bytes of history that the controller has on the engine so far."""
    engine = Engine()
    try:
        name = container_name(run_dir)
        mounts = engine.api.inspect_container(name)["Mounts"]
        volume = next(mount["Destination"] for mount in mounts if mount["Type"] == "volume")
        _, stat = engine.api.get_archive(name, f"{volume}/{run_dir.name}/{PARTS}/clients-0.jsonl")
        return stat["size"]
    except NotFound:
        return 0
    finally:
        engine.close()


def running(run_dir):
    engine = Engine()
    try:
        return engine.api.containers(filters={"label": f"cachequake.run={run_dir}"})
    finally:
        engine.close()


def killed(child, run_dir):
    """First the command, which would clean up, then the process that stands for the controller."""
    child.kill()
    child.wait()
    for pid in processes_of(run_dir):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: unlocked(run_dir))


def unlocked(run_dir):
    with locked(run_dir) as ours:
        return ours


def nothing_is_left(run_dir):
    assert not left_on_engine(run_dir)
    assert not (run_dir / "work").exists()
    return True


def test_a_primary_is_cut_off_together_with_clients_that_run_on_the_engine(tmp_path, remote):
    said = []
    fault = {"fault": "partition", "target": "primary of k0", "at": "500ms", "for": "2500ms", "with_clients": 2}
    scenario = load_scenario("primary-partition", {"deploy": "docker", "nemesis": [fault], "duration": "4s"})
    done = run_scenario(scenario, seed=7, out=tmp_path, on_progress=said.append)
    assert done.result.error is None
    assert done.result.count("lost-write") > 0
    notes = [progress.note for progress in said if progress.note]
    assert any(note.startswith(f"the controller and the clients run on the engine at {remote}") for note in notes)
    assert any(note.startswith("tested is cachequake/server:") for note in notes)
    assert {"start", "load", "converge", "final reads"} <= {progress.phase for progress in said}
    header = (done.run_dir / HISTORY).read_text().partition("\n")[0]
    assert f'"run":"{done.run_dir.name}"' in header
    assert "tested is cachequake/server:" in header
    assert {path.name for path in (done.run_dir / "logs").glob("*.log")} >= {"n6.log", "clients-0.log"}
    assert nothing_is_left(done.run_dir)


@pytest.mark.soak
def test_nothing_is_found_on_route_cluster(tmp_path):
    overrides = {"deploy": "docker", "duration": "2s", "clients.route": "cluster"}
    done = run_scenario(load_scenario("steady", overrides), seed=7, out=tmp_path)
    assert done.result.claims_verdict == "hold", done.result.claims
    assert done.result.operations["ok"] > 100
    assert nothing_is_left(done.run_dir)


@pytest.mark.soak
def test_clocks_are_wrong_and_links_slow_there_as_well(tmp_path):
    faults = [
        {"fault": "skew", "target": "n1", "offset": "3s", "at": "300ms", "for": "1s"},
        {"fault": "delay", "target": "n2", "delay": "30ms", "at": "300ms", "for": "1s"},
    ]
    overrides = {"deploy": "docker", "duration": "2s", "nemesis": faults}
    done = run_scenario(load_scenario("steady", overrides), seed=7, out=tmp_path)
    assert done.result.error is None
    assert nothing_is_left(done.run_dir)


def test_what_is_wrong_there_is_told_here(tmp_path):
    scenario = load_scenario("steady", {"deploy": "docker", "cluster.config": {"maxmemory": "lots"}})
    with pytest.raises(Exception, match=r"n\d did not start: it refuses the directive 'maxmemory lots'"):
        run_scenario(scenario, out=tmp_path)
    assert nothing_is_left((tmp_path / "latest").resolve())


def test_without_the_socket_of_the_engine_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setenv("CACHEQUAKE_DOCKER_SOCKET", f"{tmp_path}/nothing.sock")
    with pytest.raises(Exception, match=r"making the container .*: .*nothing\.sock"):
        run_scenario(load_scenario("steady", {"deploy": "docker"}), out=tmp_path)
    assert nothing_is_left((tmp_path / "latest").resolve())


@pytest.mark.soak
def test_a_first_ctrl_c_ends_the_load_and_what_was_done_is_checked(begun):
    child, run_dir = begun
    os.kill(child.pid, signal.SIGINT)
    child.wait(timeout=60)
    result = check_run(run_dir)
    assert result.error == "the run was interrupted"
    assert result.operations["ok"] > 0
    assert nothing_is_left(run_dir)


def test_what_killed_processes_leave_there_is_fetched_and_removed(begun):
    child, run_dir = begun
    assert clean_up(run_dir.parent) == [], "a run that goes on is left alone"
    killed(child, run_dir)

    said = clean_up(run_dir.parent)

    assert f"{run_dir.name}: fetched what its controller had recorded on the engine" in said
    assert any("removed volume" in line for line in said)
    assert nothing_is_left(run_dir)
    assert check_run(run_dir).operations["ok"] > 0


@pytest.mark.soak
def test_a_controller_whose_sender_is_gone_ends_by_itself_and_is_fetched_from_the_engine_it_was_sent_to(
    begun, remote, monkeypatch
):
    child, run_dir = begun
    killed(child, run_dir)
    wait_for(lambda: not running(run_dir))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{run_dir}/nothing.sock")
    told = f"{run_dir.name}: what it made is on the engine {remote}: set DOCKER_HOST to that, and clean again"
    assert clean_up(run_dir.parent) == [told]
    monkeypatch.setenv("DOCKER_HOST", remote)
    clean_up(run_dir.parent)
    assert nothing_is_left(run_dir)
    assert check_run(run_dir).error == "the run was interrupted"

"""What only containers have: images, labels, confinement, and what is left of a killed controller (nothing)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from ipaddress import ip_network
from pathlib import Path

import pytest
from clusters import client
from containers import container_cluster, container_nodes, left_on_engine, require_engine
from leftovers import controllers

from chaos.clean import clean_up
from chaos.deploy.docker.engine import OWNER, RUN, Engine, owner
from chaos.deploy.docker.images import server_image
from chaos.deploy.docker.leftovers import remove_orphans
from chaos.errors import BadInput, ServerError
from chaos.judge import check_run
from chaos.run import run_scenario
from chaos.scenario import load_scenario
from chaos.store import HISTORY, LOCK
from checkers import load
from nemeses.system import InjectionFailed, Unreachable

pytestmark = [pytest.mark.server, pytest.mark.docker]
ROOT = Path(__file__).resolve().parents[2]
NOBODY_SERVES_HERE = "127.0.0.1:9/redis:8"
"""An image that no registry has: nothing listens on that port of this machine."""


@pytest.fixture(scope="module", autouse=True)
def engine():
    require_engine()
    found = Engine()
    yield found
    found.close()


@pytest.fixture
def foreign(engine):
    """A running container, with a network, of somebody who has nothing to do with us."""
    image = server_image(engine, None, None).name
    network = engine.api.create_network("somebody-elses", internal=True)["Id"]
    host = engine.api.create_host_config(network_mode="somebody-elses")
    container = engine.api.create_container(image, ["--save", ""], host_config=host, labels={"theirs": "yes"})["Id"]
    engine.api.start(container)
    yield container
    engine.remove_container(container)
    engine.remove_network(network)


def wait_for(condition, seconds=40.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)
    return found


# Images


def test_an_image_that_cannot_be_had_is_replaced_and_both_are_named(engine):
    image = server_image(engine, NOBODY_SERVES_HERE, None)
    assert image.name.startswith("cachequake/server:")
    assert image.note.startswith(f"{NOBODY_SERVES_HERE} is not on the engine and cannot be pulled (")
    assert image.name in image.note


def test_an_image_is_built_once(engine):
    first = server_image(engine, None, None)
    before = engine.api.inspect_image(first.name)
    assert before["Config"]["Labels"][OWNER] == owner()
    assert server_image(engine, None, None) == first
    assert engine.api.inspect_image(first.name)["Id"] == before["Id"]


def test_a_named_image_is_taken_as_it_is(engine):
    built = server_image(engine, None, None).name
    engine.api.tag(built, "somebody/redis", "8")
    try:
        image = server_image(engine, "somebody/redis:8", None)
        assert (image.name, list(image.command), image.note) == ("somebody/redis:8", [], None)
    finally:
        engine.api.remove_image("somebody/redis:8")


def test_an_image_without_an_entry_point_is_started_by_its_command(engine):
    (archive_of,) = engine.api.inspect_image(server_image(engine, None, None).name)["RepoTags"][:1]
    program = engine.api.inspect_image(archive_of)["Config"]["Entrypoint"][0]
    container = engine.api.create_container(archive_of)["Id"]
    try:
        content = b"".join(engine.api.export(container))
    finally:
        engine.remove_container(container)
    engine.api.import_image_from_data(content, "somebody/plain", "1", [f'CMD ["{program}"]'])
    engine.api.import_image_from_data(content, "somebody/mute", "1", [])
    try:
        assert list(server_image(engine, "somebody/plain:1", None).command) == [program]
        with pytest.raises(ServerError, match="somebody/mute:1 does not say how its server is started"):
            server_image(engine, "somebody/mute:1", None)
    finally:
        for name in ("somebody/plain:1", "somebody/mute:1"):
            engine.api.remove_image(name)


# Confinement


def addresses(container):
    return [network["IPAddress"] for network in container["NetworkSettings"]["Networks"].values()]


def unreachable():
    """Ranges that this machine has no way to."""
    told = subprocess.run(["ip", "route"], capture_output=True, text=True, check=False).stdout
    return [ip_network(line.split()[1]) for line in told.splitlines() if line.startswith("unreachable")]


def test_a_node_has_no_rights_no_way_out_and_nothing_published(engine):
    with container_nodes(1) as deployment:
        address = deployment.nodes["n1"].host
        (found,) = [each for each in engine.api.containers() if address in addresses(each)]
        seen = engine.api.inspect_container(found["Id"])
        host = seen["HostConfig"]
        assert (host["CapDrop"], host["CapAdd"], host["Privileged"]) == (["ALL"], None, False)
        assert host["SecurityOpt"] == ["no-new-privileges"]
        assert host["ReadonlyRootfs"]
        assert host["Memory"] > 0
        assert not any(seen["NetworkSettings"]["Ports"].values())
        assert seen["Config"]["User"].split(":")[0] not in ("", "0")
        (network,) = seen["NetworkSettings"]["Networks"]
        assert engine.api.inspect_network(network)["Internal"]
        assert deployment.nodes["n1"].host == seen["NetworkSettings"]["Networks"][network]["IPAddress"]
    assert not left_on_engine(seen["Config"]["Labels"][RUN])


def test_a_server_that_does_not_start_is_quoted():
    with (
        pytest.raises(ServerError, match="n1 did not start: it refuses the directive 'maxmemory lots'"),
        container_nodes(1, {"maxmemory": "lots"}),
    ):
        pass
    with (
        pytest.raises(ServerError, match="config sets 'bind', which the docker deployment decides"),
        container_nodes(1, {"bind": "0.0.0.0"}),
    ):
        pass


# Links


@pytest.mark.parametrize("enter", [True, False])
def test_what_is_cut_stays_cut_when_a_node_is_started_anew(enter):
    if enter and os.geteuid() != 0:
        pytest.skip("only root can enter a network namespace")
    with container_cluster(enter=enter) as (deployment, _), client(deployment, 1) as c1:
        assert deployment.isolation.endswith("host" if enter else "helper container")
        deployment.cut(["c1"], ["n4"])
        deployment.kill("n4")
        dead = deployment.cut(["n1"], ["n4"]), deployment.cut(["n4"], ["n1"])
        deployment.start("n4")
        with pytest.raises(Unreachable):
            c1.call("n4", "PING", timeout_ms=300)
        for handle in dead:
            deployment.heal(handle)
        deployment.heal_all()
        deployment.heal_all()
        assert c1.call("n4", "PING") == b"PONG"


def test_a_link_that_cannot_be_cut_is_an_error():
    with container_nodes(1) as deployment:
        with pytest.raises(InjectionFailed, match="no node or client 'n9'"):
            deployment.cut(["n9"], ["n1"])
        with pytest.raises(InjectionFailed, match="between clients there is no link"):
            deployment.cut(["c0"], ["c1"])
        with pytest.raises(InjectionFailed, match="0 % is no share"):
            deployment.lose(["c0"], ["n1"], percent=0)
        deployment.heal("nothing")


def test_without_root_helpers_cut_the_links(tmp_path, monkeypatch):
    monkeypatch.setenv("CACHEQUAKE_ISOLATION", "helper")
    fault = {"fault": "partition", "target": "primary of k0", "at": "500ms", "for": "3s", "with_clients": 2}
    scenario = load_scenario("primary-partition", {"deploy": "docker", "duration": "5s", "nemesis": [fault]})
    done = run_scenario(scenario, seed=7, image=NOBODY_SERVES_HERE, out=tmp_path)
    header = load(done.run_dir / HISTORY).header
    assert header["isolation"] == "container network, nftables from a helper container"
    assert NOBODY_SERVES_HERE in header["notes"][0]
    assert "image cachequake/server:" in done.result.server.version
    assert done.result.count("lost-write") > 0
    assert sorted(path.name for path in (done.run_dir / "logs").glob("n?.log")) == [f"n{n}.log" for n in range(1, 7)]


# What is left


def test_runs_beside_each_other_do_not_meet(engine):
    alone = {"cluster-enabled": False}
    with container_nodes(1, alone) as one, container_nodes(1, alone) as other:
        assert one.nodes["n1"].host != other.nodes["n1"].host
        one.call("n1", "SET", "k", "mine")
        assert other.call("n1", "GET", "k") is None


def test_a_killed_controller_leaves_nothing_and_others_are_untouched(engine, foreign, tmp_path):
    command = ["run", "steady", "--time", "30s", "--deploy", "docker", "--out", str(tmp_path)]
    child = subprocess.Popen(
        [sys.executable, "-c", "from chaos.cli import main; main()", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    run_dir = wait_for(lambda: (tmp_path / "latest").exists() and (tmp_path / "latest").resolve())
    clients = run_dir / "parts" / "clients-0.jsonl"
    wait_for(lambda: clients.exists() and clients.stat().st_size > 100_000)
    assert clean_up(tmp_path) == [], "a run that goes on is left alone"
    os.kill(child.pid, signal.SIGKILL)  # first the parent, which would clean up
    (controller,) = controllers(run_dir)
    os.kill(controller, signal.SIGKILL)
    child.communicate(timeout=30)
    wait_for(lambda: not controllers(run_dir))
    assert len(left_on_engine(run_dir)) >= 7
    networks = engine.api.networks(filters={"label": f"{RUN}={run_dir}"})
    subnets = [ip_network(each["Subnet"]) for network in networks for each in network["IPAM"]["Config"]]
    assert subnets

    said = clean_up(tmp_path)

    assert sum("removed container" in line for line in said) == 6
    assert not left_on_engine(run_dir)
    assert not (run_dir / "work").exists()
    assert not [subnet for subnet in subnets if any(subnet.subnet_of(way) for way in unreachable())]
    assert engine.api.inspect_container(foreign)["State"]["Running"]
    assert engine.api.inspect_container(foreign)["State"]["Pid"] > 0
    result = check_run(run_dir)
    assert result.operations["ok"] > 0
    assert "killed" in result.error


def test_the_next_run_removes_what_is_left_of_runs_whose_controller_is_gone(engine, tmp_path):
    living, gone = tmp_path / "living", tmp_path / "gone"
    names = {}
    for run in (living, gone):
        names[run] = engine.api.create_network(
            run.name, internal=True, labels={OWNER: owner(), RUN: str(run)}, check_duplicate=True
        )["Id"]
    theirs = engine.api.create_network("theirs", labels={OWNER: "somebody@elsewhere", RUN: str(gone)})["Id"]
    living.mkdir()
    hold = "import fcntl, sys; f = open(sys.argv[1], 'ab'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(living / LOCK)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        holder.stdout.readline()
        said = remove_orphans(engine)
        ids = {network["Id"] for network in engine.api.networks()}
        assert said == ["gone: removed network gone"]
        assert names[living] in ids
        assert names[gone] not in ids
        assert theirs in ids
    finally:
        holder.communicate(b"\n")
        for network in (*names.values(), theirs):
            engine.remove_network(network)


@pytest.mark.docker(alone=True)
@pytest.mark.timeout(600)  # others have to be done first
def test_images_stay_for_the_next_run_and_go_when_nobody_runs(engine, tmp_path):
    image = server_image(engine, None, None).name
    with container_nodes(1):
        assert image not in json.dumps(clean_up(tmp_path))
    assert f"removed image {image}" in clean_up(tmp_path)


def test_an_image_on_processes_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(BadInput, match="--image redis:8: local runs no containers"):
        run_scenario(load_scenario("steady"), image="redis:8", out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_without_an_engine_the_reason_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    with pytest.raises(BadInput, match=r"the Docker engine does not answer: .*--deploy local"):
        run_scenario(load_scenario("steady", {"deploy": "docker"}), out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()

"""Server processes of a local deployment: ended, stopped, started again, and never left behind."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from clusters import client, cluster, load, nodes
from isolated import ROOT, run_isolated

from chaos import member
from chaos.deploy import namespace, servers
from chaos.deploy.local import LocalDeployment
from chaos.deploy.processes import PIDS, kill_left
from chaos.errors import ServerError
from chaos.topologies.cluster import IN_CLUSTER
from chaos.topologies.observer import Observer
from chaos.topologies.rest import RESET, clients_gone
from nemeses.system import InjectionFailed, Kill, Links, Loss, Pause, Unreachable
from nemeses.undoing import undo_all
from nemeses.view import View

pytestmark = pytest.mark.server

needs_namespaces = pytest.mark.skipif(namespace.available() is not None, reason="no namespaces here")
ALONE = {"cluster-enabled": False}
ATTEMPTS = 20


def test_a_node_is_killed_and_started_with_its_data_and_without():
    config = ALONE | {"appendonly": True, "appendfsync": "always"}
    with nodes(1, config, "proxy") as deployment:
        assert isinstance(deployment, Kill)
        deployment.call("n1", "SET", "k0", "kept")
        deployment.kill("n1")
        assert not deployment.running("n1")
        with pytest.raises(Unreachable, match="n1: PING: "):
            deployment.call("n1", "PING")
        deployment.start("n1")
        load(deployment, "n1")
        assert deployment.call("n1", "GET", "k0") == b"kept"
        deployment.terminate("n1")
        assert not deployment.running("n1")
        deployment.start("n1", keep_data=False)
        load(deployment, "n1")
        assert deployment.call("n1", "GET", "k0") is None


def test_a_node_that_stores_nothing_forgets_and_stays_who_it_is():
    with nodes(1, isolation="proxy") as deployment:
        before = deployment.call("n1", "CLUSTER", "MYID")
        assert deployment.call("n1", "CONFIG", "GET", "save") == [b"save", b""]
        assert deployment.call("n1", "CONFIG", "GET", "appendonly") == [b"appendonly", b"no"]
        deployment.kill("n1")
        deployment.start("n1", keep_data=False)
        assert deployment.call("n1", "CLUSTER", "MYID") == before


def test_a_paused_node_is_there_and_does_not_answer():
    with nodes(1, ALONE, "proxy") as deployment:
        assert isinstance(deployment, Pause)
        deployment.pause("n1")
        assert deployment.paused("n1")
        assert deployment.running("n1")
        with pytest.raises(Unreachable, match="no answer within 100 ms"):
            deployment.call("n1", "PING", timeout_ms=100)
        deployment.resume("n1")
        assert not deployment.paused("n1")
        assert deployment.call("n1", "PING") == b"PONG"
        deployment.resume("n1")
        deployment.pause("n1")
        deployment.kill("n1")
        assert not deployment.running("n1")
        with pytest.raises(Unreachable, match="n1 does not run"):
            deployment.pause("n1")


def test_a_connection_that_was_reset_may_still_be_a_clients():
    """The server accepts it in the turn in which it is asked for its clients, and cannot say who it was."""
    with nodes(1, ALONE, "proxy") as deployment:
        assert isinstance(deployment, Pause)
        said = (_clients_after_a_reset(deployment, "n1") for _ in range(ATTEMPTS))
        reply = next(reply for reply in said if any(b" addr=%b " % end.encode() in reply for end in RESET))
    with_reset = SimpleNamespace(call=lambda *_: reply, is_client=lambda *_: False)
    assert clients_gone(with_reset, {"n1": None}) == "1 connections of clients are left on n1"
    cannot_tell = SimpleNamespace(call=lambda *_: reply)
    assert clients_gone(cannot_tell, {"n1": None}) is None


def _clients_after_a_reset(deployment, name):
    behind_its_proxy = (deployment.call(name, "CONFIG", "GET", "bind")[1], deployment.nodes[name].port)
    with socket.create_connection(behind_its_proxy, timeout=5) as watcher:
        watcher.sendall(b"PING\r\n")
        assert watcher.recv(100) == b"+PONG\r\n"
        deployment.pause(name)
        with socket.create_connection(behind_its_proxy) as reset:
            reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        watcher.sendall(b"CLIENT LIST\r\n")
        deployment.resume(name)
        return watcher.recv(1 << 16).partition(b"\r\n")[2].strip()


def test_everything_is_undone_also_after_an_interrupt():
    with nodes(3, ALONE, "proxy") as deployment:
        assert isinstance(deployment, Links)
        deployment.pause("n1")
        deployment.kill("n2")
        deployment.cut(["c0"], ["n3"])
        deployment.interrupt()
        undo_all(deployment)
        assert [deployment.call(node, "PING") for node in deployment.nodes] == [b"PONG"] * 3


def test_what_nodes_said_is_collected(tmp_path):
    with nodes(2, isolation="proxy") as deployment:
        deployment.collect_logs(tmp_path / "logs")
    collected = {path.name for path in (tmp_path / "logs").iterdir()}
    assert collected == {f"{node}.{kind}" for node in ("n1", "n2") for kind in ("log", "conf", "nodes.conf")}
    assert "appendonly no" in (tmp_path / "logs" / "n1.conf").read_text()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"cluster-nod-timeout": 5}, "n1 did not start: it refuses the directive 'cluster-nod-timeout 5': "),
        ({"appendfsync": "perhaps"}, "n1 did not start: it refuses the directive 'appendfsync perhaps': "),
        ({"port": 7000}, "config sets 'port', which the local deployment decides"),
    ],
)
def test_a_bad_directive_is_named_in_the_words_of_the_server(config, message):
    with pytest.raises(ServerError, match=message), nodes(1, config, "proxy"):
        pass


def test_two_runs_share_a_host():
    with nodes(1, ALONE, "proxy") as first, nodes(1, ALONE, "proxy") as second:
        assert first.nodes["n1"].host != second.nodes["n1"].host
        first.call("n1", "SET", "k0", "first")
        assert second.call("n1", "GET", "k0") is None
        assert first.translate(first.nodes["n1"].host, first.nodes["n1"].port) == "n1"
        assert first.translate(second.nodes["n1"].host, second.nodes["n1"].port) is None


def test_the_proxy_cannot_lose_packets():
    with nodes(1, ALONE, "proxy") as deployment:
        assert "loss" not in deployment.capabilities
        with pytest.raises(InjectionFailed, match="cannot lose packets"):
            deployment.lose(["c0"], ["n1"], percent=20)


def lose_all_packets():
    with nodes(2, ALONE) as deployment:
        if "loss" not in deployment.capabilities:
            return "this kernel cannot lose packets"
        assert isinstance(deployment, Loss)
        deployment.call("n1", "REPLICAOF", deployment.nodes["n2"].host, deployment.nodes["n2"].port)

        def linked():
            return b"master_link_status:up" in deployment.call("n1", "INFO", "replication")

        deployment.wait("n1 is linked", linked)
        handle = deployment.lose(["n1", "n2"], ["n1", "n2"], percent=100)
        deployment.call("n2", "SET", "k0", 1)
        deployment.wait("n2 misses n1", lambda: not _lag_below_2(deployment), 20_000)
        assert deployment.call("n1", "GET", "k0") is None
        deployment.heal(handle)
        deployment.wait("n1 catches up", lambda: deployment.call("n1", "GET", "k0") == b"1", 30_000)
        for percent in (0, 101):
            with pytest.raises(InjectionFailed, match=f"{percent} % is no share"):
                deployment.lose(["n1"], ["n2"], percent=percent)
    return None


def _lag_below_2(deployment):
    lines = deployment.call("n2", "INFO", "replication").decode().splitlines()
    return any(line.startswith("slave0:") and int(line.rpartition("lag=")[2].split(",")[0]) < 2 for line in lines)


@needs_namespaces
def test_lost_packets_arrive_when_the_loss_is_healed():
    if reason := run_isolated(lose_all_packets):
        pytest.skip(reason)


def watch_a_cluster():
    seen = []
    with cluster() as (deployment, topology), Observer(deployment, seen.append):
        ready_ns = deployment.now_ns()
        deployment.wait("all are seen", lambda: len({value["node"] for value in seen}) == 6)
        deployment.pause("n1")
        deployment.wait("n1 is seen to be down", lambda: {"node": "n1", "state": "down"} in seen)
        deployment.wait("n4 takes over", lambda: View.fetch(deployment, "n4").owner(0) == "n4")
        deployment.wait("n4 is seen", lambda: any(v["node"] == "n4" and v.get("role") == "primary" for v in seen))
        assert topology.converge(deployment, 200) is not None
        deployment.resume("n1")
        assert topology.converge(deployment, 20_000) is None
        assert topology.maps(deployment)["n1"] == [(0, 5460, "n4"), (5461, 10921, "n2"), (10922, 16383, "n3")]
        deployment.call("n4", "SET", "k2", 1)
        deployment.call("n3", "SET", "k1", 1)
        assert topology.holds(deployment, ["k[0-9]"]) == {"n2": [], "n3": ["k1"], "n4": ["k2"]}
        deployment.call("n2", "CLIENT", "SETNAME", "cq-7")
        assert "1 connections of clients are left on n2" in str(topology.converge(deployment, 200))
        deployment.call("n2", "CLIENT", "SETNAME", "")
        assert topology.converge(deployment, 10_000) is None
        with client(deployment, 0) as c0:
            c0.call("n3", "PING")
            assert "1 connections of clients are left on n3" in str(topology.converge(deployment, 200))
    return seen, ready_ns


@needs_namespaces
def test_the_observer_tells_what_nodes_say_of_themselves():
    seen, _ = run_isolated(watch_a_cluster)
    of_n1 = [value for value in seen if value["node"] == "n1"]
    assert of_n1[0] == {
        "node": "n1",
        "state": "up",
        "role": "primary",
        "primary": None,
        "epoch": 1,
        "slots": [[0, 5460]],
        "cluster": "ok",
    }
    assert of_n1[-1]["primary"] == "n4"
    assert all(earlier != later for earlier, later in pairwise(of_n1))


def start_and_wait(directory, isolation):
    """Run in a process that will be killed."""
    with LocalDeployment(
        servers.find(),
        member.servers(3, IN_CLUSTER),
        Path(directory),
        began_ns=time.monotonic_ns(),
        clients=0,
        isolation=isolation,
    ) as deployment:
        deployment.start_all()
        Path(directory, "ready").touch()
        deployment.wait("the end", lambda: None, 60_000)


def _descendants(parent: int) -> set[int]:
    children = {
        int(entry.name) for entry in Path("/proc").glob("[0-9]*") if _stat(int(entry.name))[1:2] == [str(parent)]
    }
    return children.union(*map(_descendants, children))


def _alive(pid: int) -> bool:
    return _stat(pid)[:1] not in ([], ["Z"])


def _stat(pid: int) -> list[str]:
    """State, parent and more of a process; empty when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _processes_in(directory: Path) -> set[int]:
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "cwd").readlink().is_relative_to(directory):
                found.add(int(entry.name))
    return found


def _until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("isolation", [pytest.param(None, marks=needs_namespaces), "proxy"])
def test_nothing_is_left_of_a_controller_that_was_killed(tmp_path, isolation):
    prefix = [] if isolation == "proxy" else namespace.prefix()
    code = f"from {Path(__file__).stem} import start_and_wait as f; f({str(tmp_path)!r}, {isolation!r})"
    here = [str(ROOT), str(Path(__file__).parent), str(ROOT / "tests" / "support")]
    controller = subprocess.Popen(
        [*prefix, sys.executable, "-c", code],
        env=os.environ | namespace.environment() | {"PYTHONPATH": os.pathsep.join(here)},
    )
    try:
        _until((tmp_path / "ready").exists)
        started = _processes_in(tmp_path)
        assert len(started) == 3
        started |= _descendants(controller.pid)
        assert len(started) > 3, "the proxy, or the first process of the namespaces"
    finally:
        controller.kill()
        controller.wait()
    _until(lambda: not any(map(_alive, started)))
    assert not _processes_in(tmp_path)
    assert kill_left(tmp_path) == []


def test_what_a_run_left_is_killed_by_its_list_and_nobody_else(tmp_path):
    with nodes(1, ALONE, "proxy") as deployment:
        (tmp_path / PIDS).write_text((deployment.directory / PIDS).read_text())
        assert len(kill_left(tmp_path)) == 1
        deployment.wait("it is gone", lambda: not deployment.running("n1"))
        assert kill_left(tmp_path) == []
    listed = (tmp_path / PIDS).read_text()
    (tmp_path / PIDS).write_text(listed.replace('"started": "', '"started": "1'))
    assert kill_left(tmp_path) == []

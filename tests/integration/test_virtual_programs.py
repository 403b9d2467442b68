"""Unmodified programs as machines of the simulated world: redis-cli, Python with redis-py, and redis-py's routes."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from virtual_nodes import NEEDED, nodes

from chaos.deploy.virtual.trace import TRACE
from chaos.errors import BadInput
from chaos.run import run_scenario
from chaos.scenario import load_scenario
from chaos.store import HISTORY
from chaos.verify import verify_run
from checkers import load

pytestmark = NEEDED
CLI = shutil.which("redis-cli") or shutil.which("valkey-cli")
SCRIPT = """
import random, socket, struct, sys, time
from redis.cluster import RedisCluster

host, port = sys.argv[1], int(sys.argv[2])
began = time.monotonic()
client = RedisCluster(host=host, port=port, socket_timeout=0.5, protocol=2)
for number in range(50):
    assert client.set(f"k{number}", number)
    assert client.get(f"k{number}") == str(number).encode()
print("redis-py", round(time.monotonic() - began, 6), random.random())

blocking = socket.create_connection((host, port))
blocking.sendall(b"PING\\r\\n")
print("blocking", blocking.recv(100))
blocking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@qq", 2, 0))
try:
    blocking.recv(100)
except BlockingIOError:
    print("gave up", round(time.monotonic() - began, 6))
time.sleep(10)
print("slept", round(time.monotonic() - began, 6), time.time())
"""


def python(system, *arguments):
    """A Python program that finds the packages which this one has."""
    return system.program(0, [sys.executable, *arguments], {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))})


def test_a_python_program_is_the_same_every_time_and_its_waiting_takes_no_real_time(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    said, traces = [], []
    for _ in range(2):
        with nodes(1, {"cluster-node-timeout": 1_000}) as system:
            system.call("n1", "CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            system.wait("it serves", lambda: b"cluster_state:ok" in system.call("n1", "CLUSTER", "INFO"))
            node = system.nodes["n1"]
            program = python(system, script, node.host, str(node.port))
            assert program.wait(60_000) == 0, program.output.read_text()
            said.append(program.output.read_text())
            system.trace.close()
            traces.append((system.directory.parent / TRACE).read_bytes())
    assert said[0] == said[1]
    assert traces[0] == traces[1]
    words = [line.split() for line in said[0].splitlines()]
    assert [line[0] for line in words] == ["redis-py", "blocking", "gave", "slept"]
    assert "PONG" in said[0]
    assert float(words[2][2]) - float(words[0][1]) >= 2, "SO_RCVTIMEO"
    assert float(words[3][1]) - float(words[2][2]) >= 10


@pytest.mark.skipif(CLI is None, reason="neither redis-cli nor valkey-cli is on PATH")
def test_redis_cli_creates_a_cluster():
    with nodes(6) as system:
        hosts = [f"{node.host}:{node.port}" for node in system.nodes.values()]
        wanted = ["--cluster", "create", *hosts, "--cluster-replicas", "1", "--cluster-yes"]
        program = system.program(0, [str(CLI), *wanted])
        assert program.wait(60_000) == 0
        assert "All 16384 slots covered" in program.output.read_text()
        assert b"cluster_state:ok" in system.call("n1", "CLUSTER", "INFO")


def test_redis_py_is_cut_off_and_repeats_and_the_run_is_the_same_every_time(tmp_path):
    cut = {"fault": "partition", "target": "primary of k0", "with_clients": 1, "at": "500ms", "for": "2s"}
    changes = {"deploy": "virtual", "clients.route": "cluster", "clients.count": 3, "duration": "3500ms"}
    changes |= {"nemesis": [cut], "cluster.config": {"cluster-node-timeout": "500ms", "appendonly": "no"}}
    run_dir = run_scenario(load_scenario("steady", changes), seed=7, out=tmp_path).run_dir
    operations = load(run_dir / HISTORY).operations
    clients = {int(process) % 3 for process in operations.process[~operations.final]}
    assert clients == {0, 1, 2}
    assert any("attempts" in details for details in operations.details.values()), "redis-py tried again"
    same = verify_run(run_dir, out=tmp_path)
    assert same.exit_code == 0, same.in_words()


def test_what_nothing_can_be_preloaded_into_is_refused(tmp_path):
    script = Path(tmp_path / "script")
    script.write_text("#!/bin/sh\nexit 0\n")
    script.chmod(0o755)
    with nodes(1) as system:
        with pytest.raises(BadInput, match="is a script"):
            system.program(0, [script])
        with pytest.raises(BadInput, match="cannot be started"):
            system.program(0, [tmp_path / "nothing"])


def test_a_program_that_does_not_end_can_be_told_to(tmp_path):
    with nodes(1) as system:
        program = python(system, "-c", "import time; time.sleep(1e6)")
        with pytest.raises(TimeoutError, match="c0 has not ended within 100 ms"):
            program.wait(100)
        assert program.running
        program.terminate()
        assert program.wait(1_000) == -15

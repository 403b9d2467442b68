"""The clients on real servers: redirections, transactions in a migration, silence, and redis-py seen from below."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from plain_cluster import PlainCluster
from redis.crc import key_slot

import checkers
from chaos.crew import Crew
from chaos.drive import RunClock, make_crew
from chaos.recorder import Recorder
from checkers.events import FAIL, INFO, OK, Event
from checkers.history import load

pytestmark = pytest.mark.server
ROOT = Path(__file__).parents[2]
K0 = key_slot(b"k0")
G0 = key_slot(b"{g0}")
GROUP = ("{g0}:a", "{g0}:b", "{g0}:c")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with PlainCluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(autouse=True)
def _as_formed(cluster):
    """Each test finds the slots where they were, no slot open, and no keys."""
    yield
    for name in cluster.nodes:
        cluster.resume(name)
    for name in cluster.topology.primaries:
        cluster.wait(f"{name} answers", lambda name=name: cluster.call(name, "FLUSHALL"))
    for slot in (K0, G0):
        owner = cluster.node_id(formed_owner(cluster, slot))
        for name in cluster.topology.primaries:
            cluster.call(name, "CLUSTER", "SETSLOT", slot, "STABLE")
            cluster.call(name, "CLUSTER", "SETSLOT", slot, "NODE", owner)


def formed_owner(cluster, slot):
    return next(name for first, last, name in cluster.topology.initial_map() if first <= slot <= last)


def other_than(cluster, owner):
    return next(name for name in cluster.topology.primaries if name != owner)


def open_slot(cluster, slot):
    source = formed_owner(cluster, slot)
    target = other_than(cluster, source)
    cluster.call(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", cluster.node_id(source))
    cluster.call(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", cluster.node_id(target))
    return source, target


def move_keys(cluster, source, target, *keys):
    node = cluster.nodes[target]
    cluster.call(source, "MIGRATE", node.host, node.port, "", 0, 1000, "REPLACE", "KEYS", *keys)


def hand_over(cluster, slot, target):
    for name in (target, *cluster.topology.primaries):
        cluster.call(name, "CLUSTER", "SETSLOT", slot, "NODE", cluster.node_id(target))


class Run:
    """Clients at work in this process until their duration is over, and what they recorded."""

    def __init__(self, cluster, tmp_path, workloads, clients=1, **more):
        self.part = tmp_path / "part.jsonl"
        job = cluster.job(self.part, clients, workloads, **more)
        clock = RunClock()
        clock.began_ns = time.monotonic_ns()
        recorder = Recorder(self.part)
        self.crew: Crew = make_crew(job, recorder, clock)
        self.crew.run(job.duration_ms * 1_000_000, lambda: False, lambda: None)
        recorder.close()
        decoder = msgspec.json.Decoder(Event)
        self.events = [decoder.decode(line) for line in self.part.read_bytes().splitlines()]

    def ended(self, *types):
        return [event for event in self.events if event.type in types]


WRITE_K0 = {"register": {"keys": 1, "writes": 1.0}}
GROUPS = {"multikey": {"groups": 1, "cross_slot": 0.0}}


def test_moved_is_followed_once_and_remembered(cluster, tmp_path):
    source = formed_owner(cluster, K0)
    hand_over(cluster, K0, other_than(cluster, source))
    done = Run(cluster, tmp_path, WRITE_K0, duration_ms=100).ended("ok", "fail", "info")
    assert done[0].hops == [source, other_than(cluster, source)]
    assert {(event.type, event.node) for event in done} == {("ok", other_than(cluster, source))}
    assert all(event.hops is None for event in done[1:])


def test_ask_is_followed_on_the_connection_that_said_asking(cluster, tmp_path):
    source, target = open_slot(cluster, K0)
    done = Run(cluster, tmp_path, WRITE_K0, duration_ms=100).ended("ok", "fail", "info")
    assert {(event.type, event.node, tuple(event.hops), event.asking) for event in done} == {
        ("ok", target, (source, target), True)
    }
    assert cluster.call(source, "CLUSTER", "COUNTKEYSINSLOT", K0) == 0
    assert cluster.call(target, "CLUSTER", "COUNTKEYSINSLOT", K0) == 1


def test_every_way_of_writing_a_group_works_on_both_sides_of_a_migration(cluster, tmp_path):
    for name in GROUP:
        cluster.call(formed_owner(cluster, G0), "SET", name, 1)
    source, target = open_slot(cluster, G0)
    move_keys(cluster, source, target, *GROUP)
    run = Run(cluster, tmp_path, GROUPS, duration_ms=300)
    ways = {(event.f, event.via) for event in run.ended("invoke")}
    assert ways == {(f, via) for f in ("mset", "mget") for via in (None, "multi", "script")}
    assert {(event.type, event.node, event.asking) for event in run.ended("ok", "fail", "info")} == {
        ("ok", target, True)
    }
    assert anomalies(run.part) <= {"phantom-value"}  # what this test wrote before the run


def anomalies(part):
    return {kind for finding in checkers.check(load(part)).values() for kind in finding.counts}


def test_a_group_on_both_sides_is_refused_with_tryagain_and_never_torn(cluster, tmp_path):
    for name in GROUP:
        cluster.call(formed_owner(cluster, G0), "SET", name, 1)
    source, target = open_slot(cluster, G0)
    move_keys(cluster, source, target, GROUP[0])
    run = Run(cluster, tmp_path, GROUPS, clients=4, duration_ms=700)
    failed = run.ended("fail")
    assert {event.error.split()[0] for event in failed} == {"TRYAGAIN"}
    assert len(failed[0].hops) > 5
    assert not run.ended("info")
    assert not anomalies(run.part)


def test_crossing_slots_is_refused_by_the_server(cluster, tmp_path):
    run = Run(cluster, tmp_path, {"multikey": {"cross_slot": 1.0}}, duration_ms=300)
    via = [event.via for event in run.ended("invoke")]
    outcomes = list(zip(via, [event.type for event in run.ended("ok", "fail", "info")], strict=True))
    assert {outcome for outcome in outcomes if outcome[0] == "cross-slot"} == {("cross-slot", "fail")}
    assert ("undeclared", "ok") in outcomes
    assert {event.error.split()[0] for event in run.ended("fail")} == {"CROSSSLOT"}


def test_an_error_from_within_a_script_is_marked_and_leaves_the_outcome_open(cluster, tmp_path):
    node = formed_owner(cluster, G0)
    cluster.call(node, "CONFIG", "SET", "maxmemory", "1")
    try:
        run = Run(cluster, tmp_path, {"multikey": {"groups": 1, "cross_slot": 0.0, "reads": 0.0}}, duration_ms=300)
    finally:
        cluster.call(node, "CONFIG", "SET", "maxmemory", "0")
    ways = [event.via for event in run.ended("invoke")]
    ended = run.ended("ok", "fail", "info")
    assert {(via, event.type) for via, event in zip(ways, ended, strict=True)} == {
        (None, "fail"), ("multi", "fail"), ("script", "info"),
    }  # fmt: skip
    assert {event.error.split()[0] for event in ended} == {"OOM"}


def test_wait_is_answered_on_the_connection_of_the_write(cluster, tmp_path):
    workload = {"register": {"keys": 1, "writes": 1.0, "wait": {"replicas": 1, "timeout_ms": 400}}}
    done = Run(cluster, tmp_path, workload, duration_ms=200).ended("ok", "fail", "info")
    assert {(event.type, event.acked) for event in done} == {("ok", 1)}


def test_reads_go_to_replicas_when_asked_to(cluster, tmp_path):
    run = Run(cluster, tmp_path, {"register": {}}, clients=2, route="replica", duration_ms=200)
    readers = {event.node for event in run.ended("ok") if event.f == "read"}
    assert readers == set(cluster.topology.names) - set(cluster.topology.primaries)
    assert {event.node for event in run.ended("ok") if event.f == "write"} <= set(cluster.topology.primaries)


@pytest.mark.parametrize("route", ["bare", "cluster"])
def test_a_write_to_a_stopped_node_has_an_open_outcome_and_may_happen_later(cluster, tmp_path, route):
    owner = formed_owner(cluster, K0)
    options = {"retries": 0} if route == "cluster" else {}
    job = cluster.job(
        tmp_path / "part.jsonl", 1, WRITE_K0, route=route, route_options=options, timeout_ms=300, duration_ms=60_000
    )
    job.save(tmp_path / "job.json")
    with driver(tmp_path / "job.json") as process:
        process.stdin.write(b"go %d\n" % time.monotonic_ns())
        process.stdin.flush()
        cluster.wait("the driver has written", lambda: msgspec.json.decode(process.stdout.readline())["ok"])
        cluster.pause(owner)
        cluster.wait("an operation has no outcome", lambda: b'"info"' in (tmp_path / "part.jsonl").read_bytes())
        process.send_signal(signal.SIGTERM)
        last = msgspec.json.decode(process.stdout.read().splitlines()[-1])
        assert process.wait() == 0
    operations = load(tmp_path / "part.jsonl").operations
    assert last["done"] is True
    assert last["executed"] == {"0": len(operations)}
    unknown = operations.type == INFO
    assert unknown.sum() == last["info"] >= 1
    attempts = operations.details[int(unknown.nonzero()[0][0])]["attempts"]
    assert [attempt["node"] for attempt in attempts if attempt["sent"]] == [owner]
    assert set(operations.type[~unknown]) <= {OK, FAIL}
    cluster.resume(owner)
    written = cluster.wait("the server answers", lambda: cluster.call(owner, "GET", "k0"))
    assert int(written) in {operations.value[row] for row in range(len(operations)) if operations.type[row] != FAIL}


class driver:  # noqa: N801 - used like a function
    """A driver process, from `ready` to its end."""

    def __init__(self, job):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "chaos.drive", str(job)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        )

    def __enter__(self):
        assert self.process.stdout.readline() == b"ready\n"
        return self.process

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def test_a_driver_whose_controller_is_gone_finishes_its_history(cluster, tmp_path):
    cluster.job(tmp_path / "part.jsonl", 3, {"register": {}}, duration_ms=60_000).save(tmp_path / "job.json")
    with driver(tmp_path / "job.json") as process:
        process.stdin.write(b"go %d\n" % time.monotonic_ns())
        process.stdin.flush()
        cluster.wait("the driver has written", lambda: msgspec.json.decode(process.stdout.readline())["ok"])
        process.stdin.close()
        assert process.wait(timeout=10) == 0
    operations = load(tmp_path / "part.jsonl").operations
    assert set(operations.type) == {OK}


def test_a_bad_job_is_refused_with_one_message(tmp_path):
    (tmp_path / "job.json").write_text('{"part": "x"}')
    done = subprocess.run(
        [sys.executable, "-m", "chaos.drive", str(tmp_path / "job.json")],
        capture_output=True, text=True, cwd=ROOT, check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == 254
    assert "not a job" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_redis_py_is_seen_following_a_redirection(cluster, tmp_path):
    source, target = open_slot(cluster, K0)
    done = Run(cluster, tmp_path, WRITE_K0, route="cluster", duration_ms=200).ended("ok", "fail", "info")
    assert {(event.type, event.node, event.asking) for event in done} == {("ok", target, True)}
    first, second = done[0].attempts
    assert (first["node"], first["sent"], first["error"].split()[0]) == (source, True, "ASK")
    assert (second["node"], second["sent"], "error" in second) == (target, True, False)


def test_redis_py_does_every_workload(cluster, tmp_path):
    workloads = {"register": {}, "set": {}, "counter": {}, "append": {}, "multikey": {}}
    run = Run(cluster, tmp_path, workloads, clients=3, route="cluster", duration_ms=500)
    assert not run.ended("info")
    assert all("slot" in event.error for event in run.ended("fail"))
    assert len(run.ended("ok")) > 50
    assert not anomalies(run.part)

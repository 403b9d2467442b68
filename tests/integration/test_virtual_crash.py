"""Machines that crash and connections that overtake each other, in runs of real servers in virtual time."""

from __future__ import annotations

import pytest
from virtual_nodes import NEEDED, nodes

from chaos.run import run_scenario
from chaos.scenario import load_scenario
from chaos.store import read_executed
from nemeses.system import CrashPlan, Unreachable

pytestmark = NEEDED
CRASHES = [
    {"fault": "crash", "target": "primary of k0", "to_clients": "all", "at": "500ms", "for": "2500ms"},
    {"fault": "reorder", "target": "a primary", "between": "clients", "at": "3500ms", "for": "500ms"},
]


def test_a_reply_that_arrived_of_a_write_whose_replication_did_not_is_a_lost_write(tmp_path):
    changes = {
        "deploy": "virtual",
        "duration": "4500ms",
        "nemesis": CRASHES,
        "clients.count": 5,
        "cluster.config": {"cluster-node-timeout": "1s", "appendonly": "no"},
    }
    done = run_scenario(load_scenario("steady", changes), seed=3, out=tmp_path)
    crash, reorder = read_executed(done.run_dir).faults
    assert (crash.error, reorder.error) == (None, None)
    under_way = crash.evidence["inject"]["under_way_bytes"]
    assert any(name.startswith("c") for name in under_way)
    assert any(name.startswith("n") for name in under_way)
    assert "no answer" in crash.evidence["inject"]["silent"], "a machine that is off refuses nothing"
    to_clients = sum(count for name, count in under_way.items() if name.startswith("c"))
    assert crash.evidence["heal"]["arrived_bytes"] == {crash.nodes[0]: to_clients}
    assert done.result.count("lost-write") == 1, "the write that was under way, and no other"
    assert reorder.evidence["heal"]["overtaking"] >= reorder.evidence["inject"]["overtaking"] > 0


def test_a_replica_gets_as_many_bytes_of_the_stream_as_are_let_through():
    with nodes(2, {"cluster-enabled": False, "repl-timeout": 5}) as system:
        system.call("n2", "REPLICAOF", system.nodes["n1"].host, system.nodes["n1"].port)

        def value():
            return system.call("n2", "GET", "a")

        system.call("n1", "SET", "a", "before")
        system.wait("the replica follows", lambda: value() == b"before")
        system.crash("n1", CrashPlan("replication", 20, 0))
        with pytest.raises(Unreachable, match="no answer"):
            system.call("n1", "SET", "a", "after")
        seen = system.crash_seen("n1")
        assert seen.under_way["n2"] > 20
        assert seen.arrived == 20
        assert value() == b"before", "half of a command is none"
        assert not system.running("n1")
        system.start("n1")
        system.wait("the replica has seen that its primary is empty", lambda: value() is None, 20_000)


@pytest.mark.parametrize(("fsync", "loses"), [("everysec", True), ("always", False)])
def test_a_primary_that_loses_its_power_loses_the_second_that_it_had_not_synced(tmp_path, fsync, loses):
    changes = {
        "deploy": "virtual",
        "duration": "2200ms",
        "clients.count": 4,
        "nemesis": [{"fault": "power-loss", "target": "primary of k0", "at": "1500ms", "for": "200ms"}],
        "cluster.config": {"appendonly": "yes", "appendfsync": fsync},
    }
    done = run_scenario(load_scenario("steady", changes), seed=7, out=tmp_path)
    (fault,) = read_executed(done.run_dir).faults
    assert fault.error is None
    assert (sum(fault.evidence["inject"]["dropped_bytes"][fault.nodes[0]].values()) > 0) == loses
    assert (done.result.count("lost-write") > 0) == loses

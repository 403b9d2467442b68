"""One primary, its replicas and Sentinels on real servers: faults and their proofs, whole runs, what replicas show."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from isolated import run_isolated
from schedules import run_schedule

from chaos.deploy import namespace, servers
from chaos.deploy.local import LocalDeployment
from chaos.run import run_scenario
from chaos.scenario import load_scenario
from chaos.store import HISTORY, read_executed
from chaos.topologies import ClusterSpec, make_topology
from checkers import load
from nemeses import validate_options
from nemeses.fault import PlannedFault
from nemeses.sentinels import newest

pytestmark = pytest.mark.server
isolated = pytest.mark.skipif(namespace.available() is not None, reason=f"no namespaces: {namespace.available()}")


def run(name: str, out: Path, **overrides: Any) -> Any:
    return run_scenario(load_scenario(name, overrides), seed=7, out=out)


def strike(*specs: tuple[str, str, int, dict[str, Any]]) -> dict[str, Any]:
    """Faults one after the other on real servers; what became of each, and how all was in the end."""
    topology = make_topology(ClusterSpec(topology="replication", primaries=1, replicas=2))
    with tempfile.TemporaryDirectory(prefix="cachequake-test-") as directory:
        members = topology.members
        with LocalDeployment(
            servers.find(), members, Path(directory), began_ns=time.monotonic_ns(), clients=2
        ) as system:
            system.start_all()
            topology.form(system)
            told = []
            for number, (kind, target, for_ms, options) in enumerate(specs):
                at_ms = system.now_ns() // 1_000_000
                planned = PlannedFault(number, kind, target, at_ms, for_ms, 7, validate_options(kind, options))
                (done,) = run_schedule(system, [planned], 2, lambda kind, value: None)
                told.append((done.error, done.nodes, done.roles, done.evidence))
            unrest = topology.converge(system, topology.patience_ms)
            return {"faults": told, "unrest": None if unrest is None else str(unrest), "named": newest(system)}


@isolated
def test_faults_of_servers_and_sentinels_are_seen_to_hold_and_healed() -> None:
    found = run_isolated(
        strike,
        ("pause", "s1", 200, {}),
        ("restart", "s2", 10, {}),
        ("restart", "a replica", 10, {}),
        ("partition", "a replica", 300, {"shape": "isolate", "with_clients": 1}),
        ("partition", "n1", 300, {"shape": "one-way-in"}),
        ("partition", "a primary", 300, {"shape": "replication"}),
        ("failover", "a primary", 10, {"mode": "force"}),
    )
    assert [error for error, *_ in found["faults"]] == [None] * 7
    assert found["unrest"] is None
    by_kind = [(nodes, evidence["inject"]) for _, nodes, _, evidence in found["faults"]]
    assert len(by_kind[3][1]["no_round_trip"]) == 5
    promoted = by_kind[6][1]["promoted"]["n1"]
    assert found["named"] == (promoted["to"], promoted["epoch"])
    assert next(roles for *_, roles, _ in found["faults"]) == {"s1": "Sentinel"}


@isolated
def test_what_a_cut_off_primary_acknowledged_is_found_lost(tmp_path: Path) -> None:
    done = run("sentinel-partition", tmp_path, duration="5s", **{"clients.count": 4})
    (fault,) = read_executed(done.run_dir).faults
    assert fault.error is None
    assert fault.roles == {"n1": "primary"}
    assert done.result.findings["durability"].counts["lost-write"] > 0
    views = [event.value for event in load(done.run_dir / HISTORY).context if event.f == "view"]
    named = {view["primary"] for view in views if view.get("role") == "sentinel"}
    assert "n1" in named
    assert len(named) == 2, "the Sentinels went over to another"
    assert any(view["node"] == "n1" and view.get("role") == "replica" for view in views), "in the end it follows"


def test_a_read_that_begins_after_wait_counted_all_replicas_sees_the_write(tmp_path: Path) -> None:
    done = run(
        "replication-lag", tmp_path, duration="1s", **{"workload.register.wait": {"replicas": 2, "timeout": "1s"}}
    )
    assert done.result.claims_verdict == "hold", done.result.claims
    seen = done.result.findings["visibility"].metrics
    assert seen["checked"] > 100
    assert seen["by_wait"]["2 replicas"]["missed"] == 0


def test_redis_pys_own_client_finds_the_primary_and_its_successor(tmp_path: Path) -> None:
    done = run("sentinel-failover", tmp_path, duration="4s", **{"clients.route": "sentinel", "clients.count": 3})
    assert done.result.error is None
    assert done.result.operations["ok"] > 100
    assert done.result.findings["durability"].verdict != "unknown"

"""The whole pipeline without a server: plan, controller, clients, history, checkers, claims, on a system in memory."""

import pytest
from fake_cluster import FakeCluster
from memory_system import MemoryTopology, run

from chaos.errors import RunFailed
from chaos.judge import check_run
from chaos.store import HISTORY, read_executed
from chaos.topologies.rest import Unrest
from checkers import load


def test_a_healthy_system_keeps_every_claim(tmp_path):
    run_dir, told = run(tmp_path, FakeCluster())
    result = check_run(run_dir)
    assert result.claims_verdict == "hold", result.findings
    assert all(result.findings[name].metrics["checked"] > 50 for name in ("durability", "multikey", "linearizability"))
    assert [progress.phase for progress in told] == ["load", "heal", "converge", "final reads"]
    assert sum(read_executed(run_dir).operations.values()) == sum(result.operations.values()) - len(finals(run_dir))
    start = load(run_dir / HISTORY).context[0].value
    assert (start["phase"], start["wall"][:11]) == ("start", "1970-01-01T")  # by the clock of the system in memory


def finals(run_dir):
    operations = load(run_dir / HISTORY).operations
    return operations.final.nonzero()[0]


@pytest.mark.parametrize("lost", [1, 5, 20])
def test_writes_that_a_primary_acknowledges_and_forgets_are_found_lost(tmp_path, lost):
    cluster = FakeCluster()
    for name in ("n1", "n2", "n3"):
        cluster.nodes[name].loses = lost
    run_dir, _ = run(tmp_path, cluster, workload={"set": {"keys": 10}})
    result = check_run(run_dir)
    assert result.count("lost-write") == 3 * lost
    assert result.claims_verdict == "broken"


def test_without_convergence_nothing_is_called_lost(tmp_path):
    cluster = FakeCluster()
    cluster.nodes["n1"].loses = 5
    run_dir, _ = run(tmp_path, cluster, unrest=Unrest("n1 and n2 disagree"), workload={"set": {"keys": 10}})
    result = check_run(run_dir)
    assert result.count("lost-write") == 0
    assert result.claims_verdict == "unknown"
    assert "n1 and n2 disagree" in result.claims[0].reason


def test_the_same_seed_gives_the_same_history(tmp_path):
    first, _ = run(tmp_path, FakeCluster())
    again, _ = run(tmp_path, FakeCluster())
    assert (first / HISTORY).read_bytes() == (again / HISTORY).read_bytes()
    other, _ = run(tmp_path, FakeCluster(), seed=8)
    assert (first / HISTORY).read_bytes() != (other / HISTORY).read_bytes()


def test_a_system_that_does_not_form_is_stopped_and_leaves_a_run_that_can_be_read(tmp_path):
    class Broken(MemoryTopology):
        def form(self, system):
            raise RunFailed("no quorum")

    cluster = FakeCluster()
    with pytest.raises(RunFailed, match="no quorum"):
        run(tmp_path, cluster, topology=Broken(cluster))
    run_dir = (tmp_path / "latest").resolve()
    assert read_executed(run_dir).error == "RunFailed: no quorum"
    assert len(load(run_dir / HISTORY).operations) == 0
    assert (run_dir / "logs" / "n1.log").exists()

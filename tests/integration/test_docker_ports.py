"""Containers whose addresses cannot be reached: clients and the controller come by published ports."""

from __future__ import annotations

import pytest
from clusters import load
from containers import container_cluster, container_nodes, left_on_engine, require_engine

from chaos.deploy.docker.engine import RUN, Engine
from chaos.deploy.namespace import CHOICE
from chaos.errors import BadInput
from chaos.run import run_scenario
from chaos.scenario import load_scenario
from chaos.store import HISTORY

pytestmark = [pytest.mark.server, pytest.mark.docker]
CUT_OFF = {"fault": "partition", "target": "primary of k0", "at": "500ms", "for": "2500ms"}


@pytest.fixture(autouse=True)
def by_ports(monkeypatch):
    require_engine()
    monkeypatch.setenv(CHOICE, "published")


def run(tmp_path, name, **overrides):
    done = run_scenario(load_scenario(name, {"deploy": "docker", **overrides}), seed=7, out=tmp_path)
    assert done.result.error is None
    assert not left_on_engine(done.run_dir)
    return done


def test_ports_are_published_on_the_loopback_only_and_each_leads_to_its_node():
    engine = Engine()
    with container_nodes(2, published=True) as deployment:
        assert deployment.isolation.endswith("nodes reached by published ports")
        for name, (host, port) in deployment.published.items():
            (holder,) = engine.api.containers(filters={"name": f"{name}-links", "publish": str(port)})
            seen = engine.api.inspect_container(holder["Id"])
            (binding,) = seen["NetworkSettings"]["Ports"]["6379/tcp"]
            assert (binding["HostIp"], int(binding["HostPort"])) == (host, port) == ("127.0.0.1", port)
            run_dir = seen["Config"]["Labels"][RUN]
        assert len(set(deployment.published.values())) == 2
        identities = {deployment.call(name, "CLUSTER", "MYID") for name in deployment.nodes}
        assert len(identities) == 2
        deployment.kill("n1")
        deployment.start("n1")
        load(deployment, "n1")
        assert deployment.call("n1", "CLUSTER", "MYID") in identities, "the same port leads to it after a restart"
    engine.close()
    assert not left_on_engine(run_dir)


@pytest.mark.soak
def test_nodes_know_each_other_by_addresses_of_the_network_that_leads_nowhere():
    with container_cluster(published=True) as (deployment, _):
        seen = deployment.call("n2", "CLUSTER", "NODES").decode()
        assert all(f" {node.host}:" in seen for node in deployment.nodes.values())
        assert "127.0.0.1" not in seen


def test_writes_are_lost_and_redirections_followed_on_route_bare(tmp_path):
    done = run(tmp_path, "primary-partition", nemesis=[CUT_OFF], duration="4s")
    assert done.result.count("lost-write") > 0
    history = (done.run_dir / HISTORY).read_text()
    assert "nodes reached by published ports" in history.partition("\n")[0]
    assert '"hops":' in history
    assert "no node of this run" not in history


def test_nothing_is_found_on_route_cluster(tmp_path):
    done = run(tmp_path, "steady", duration="2s", **{"clients.route": "cluster"})
    assert done.result.claims_verdict == "hold", done.result.claims
    assert done.result.operations["ok"] > 100


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("primary-partition", {**CUT_OFF, "with_clients": 1}),
        ("slow-links", {"fault": "delay", "target": "n1", "delay": "50ms", "at": "500ms", "for": "1s"}),
    ],
)
def test_what_would_cut_one_client_from_one_node_is_refused_before_anything_starts(tmp_path, name, fault):
    with pytest.raises(BadInput, match=r"links between single clients and nodes, .*: clients reach the containers by"):
        run(tmp_path, name, nemesis=[fault], duration="4s")
    (run_dir,) = (path for path in tmp_path.iterdir() if not path.is_symlink())
    assert not left_on_engine(run_dir)
    assert not (run_dir / HISTORY).exists()

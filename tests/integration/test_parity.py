"""The same suite on processes and on containers: every capability, and every built-in scenario.

The scenarios are the built-in ones with their faults moved close to the beginning, at a modest rate; one run of each
on both deployments goes on at the same time.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import product

import pytest
from clusters import client, cluster, load, nodes
from containers import container_cluster, container_nodes, require_engine
from engine_turns import engine_for
from isolated import run_isolated

from chaos.deploy.local import ON_DEMAND
from chaos.run import run_scenario
from chaos.scenario import builtin_names, load_scenario, read_scenario
from chaos.store import read_executed
from nemeses.bandwidth import SHARE
from nemeses.link_evidence import Cut, late, standing_still
from nemeses.system import Bandwidth, Delay, Kill, Links, Loss, Pause, ReplyError, Skew, Unreachable
from nemeses.targets import Survey
from nemeses.view import View

pytestmark = [pytest.mark.server, pytest.mark.docker]

DEPLOYMENTS = ["local", "docker"]
PUBLISHED = "docker by published ports"
"""As where the addresses of containers cannot be reached."""
CLUSTERS = {
    "local": cluster,
    "docker": container_cluster,
    PUBLISHED: partial(container_cluster, published=True),
}
NODES = {"local": nodes, "docker": container_nodes, PUBLISHED: partial(container_nodes, published=True)}
BRIEFLY_MS = 300


# Capabilities. The functions that take the name of a deployment run where its links can be cut.


def processes_end_and_come_back(deployment_name):
    config = {"cluster-enabled": False, "appendonly": True, "appendfsync": "always"}
    with NODES[deployment_name](1, config) as deployment:
        assert isinstance(deployment, Kill)
        deployment.call("n1", "SET", "k0", "kept")
        deployment.kill("n1")
        assert not deployment.running("n1")
        assert _unreachable(deployment, "n1")
        deployment.start("n1")
        load(deployment, "n1")
        assert deployment.call("n1", "GET", "k0") == b"kept"
        deployment.terminate("n1")
        assert not deployment.running("n1")
        deployment.start("n1", keep_data=False)
        load(deployment, "n1")
        assert deployment.call("n1", "GET", "k0") is None


def processes_stop_and_go_on(deployment_name):
    with NODES[deployment_name](1) as deployment:
        assert isinstance(deployment, Pause)
        identity = deployment.call("n1", "CLUSTER", "MYID")
        deployment.pause("n1")
        assert deployment.paused("n1")
        assert deployment.running("n1")
        assert _unreachable(deployment, "n1")
        deployment.resume("n1")
        assert not deployment.paused("n1")
        assert deployment.call("n1", "PING") == b"PONG"
        deployment.resume("n1")
        deployment.pause("n1")
        deployment.kill("n1")
        assert not deployment.running("n1")
        with pytest.raises(Unreachable, match="n1 does not run"):
            deployment.pause("n1")
        deployment.start("n1", keep_data=False)
        load(deployment, "n1")
        assert deployment.call("n1", "CLUSTER", "MYID") == identity


def links_are_cut_between_nodes_and_clients(deployment_name):
    with (
        CLUSTERS[deployment_name]() as (deployment, topology),
        client(deployment, 0) as c0,
        client(deployment, 1) as c1,
    ):
        assert isinstance(deployment, Links)
        inside, outside = ["n1", "c0"], ["n2", "n3", "n4", "n5", "n6", "c1", "c2"]
        handles = [deployment.cut(inside, outside), deployment.cut(outside, inside)]
        assert c0.call("n1", "SET", "k2", "lost") == b"OK"
        assert _reached(c0, deployment) == {"n1"}
        assert _reached(c1, deployment) == {"n2", "n3", "n4", "n5", "n6"}
        deployment.wait("n4 takes over", lambda: "n4" in View.fetch(deployment, "n4").primaries())
        assert View.fetch(deployment, "n4").row("n1").failing
        assert topology.converge(deployment, 100) is not None
        for handle in handles:
            deployment.heal(handle)
        c0.close()
        c1.close()
        assert topology.converge(deployment, 20_000) is None
        assert not View.fetch(deployment, "n1").myself.is_primary


def links_are_cut_one_way_and_by_port_and_lossy(deployment_name):
    with CLUSTERS[deployment_name](config={"cluster-node-timeout": 5000}) as (deployment, _):
        assert isinstance(deployment, Loss)
        one_way = deployment.cut(["n1"], ["n2"])
        deployment.wait("n1 is not heard", lambda: late(deployment, ["n1"], ["n2"], 100) == ["n2"])
        assert late(deployment, ["n1"], ["n3"], 500) == []
        deployment.heal(one_way)
        data = [Cut(("n1",), ("n4",), "data"), Cut(("n4",), ("n1",), "data")]
        survey = Survey.take(deployment)
        handles = [deployment.cut(cut.sources, cut.destinations, port=cut.port) for cut in data]
        assert standing_still(deployment, data, survey, 5_000)["behind"]
        assert late(deployment, ["n1"], ["n4"], 500) == [], "the bus goes on"
        for handle in handles:
            deployment.heal(handle)
        deployment.lose(["n1"], ["n3"], percent=60)
        deployment.wait("a message is lost", lambda: late(deployment, ["n1"], ["n3"], 50))
        deployment.heal_all()
        deployment.wait("messages get through", lambda: not late(deployment, ["n1"], ["n2", "n3"], 500))


def links_become_slow_and_clocks_wrong(deployment_name):
    with NODES[deployment_name](2, {"cluster-enabled": False}, wanted=ON_DEMAND) as deployment:
        assert isinstance(deployment, Delay)
        assert isinstance(deployment, Bandwidth)
        assert isinstance(deployment, Skew)
        before = [deployment.round_trip_ms(source, "n1") for source in ("n2", "c0")]
        slow = deployment.delay(["n2", "c0"], ["n1"], ms=150, jitter_ms=0)
        assert min(deployment.round_trip_ms(source, "n1") for source in ("n2", "c0")) >= 150 > max(before)
        if deployment_name == "docker":  # the network, and what is held in it, may be another one then
            deployment.kill("n1")
            deployment.start("n1")
            assert deployment.round_trip_ms("c0", "n1") >= 150
        deployment.limit(["c0"], ["n1"], kbit=400)
        deployment.heal(slow)
        assert deployment.round_trip_ms("c0", "n1", payload=20_000) >= SHARE * 400
        deployment.heal_all()
        assert deployment.round_trip_ms("c0", "n1", payload=20_000) < 400
        deployment.skew("n1", -90_000)
        deployment.wait("n1 is behind", lambda: abs(deployment.skew_of("n1") + 90_000) < 1_000)
        assert abs(deployment.skew_of("n2")) < 1_000


def _unreachable(deployment, node):
    with pytest.raises(Unreachable):
        deployment.call(node, "PING", timeout_ms=100)
    return True


def _reached(control, deployment):
    """The nodes that answer a client, be it with an error."""
    found = set()
    for node in deployment.nodes:
        try:
            control.call(node, "GET", "k", timeout_ms=BRIEFLY_MS)
        except Unreachable:
            continue
        except ReplyError:
            pass
        found.add(node)
    return found


OF_NODES = [processes_end_and_come_back, processes_stop_and_go_on, links_are_cut_one_way_and_by_port_and_lossy]
OF_CLIENTS = [links_are_cut_between_nodes_and_clients, links_become_slow_and_clocks_wrong]
"""They need links of single clients."""


@pytest.mark.parametrize(
    ("capability", "deployment"),
    [*product([*OF_NODES, *OF_CLIENTS], DEPLOYMENTS), *((capability, PUBLISHED) for capability in OF_NODES)],
)
def test_capability(capability, deployment):
    if deployment == "local":
        run_isolated(capability, deployment)
    else:
        require_engine()
        capability(deployment)


# Scenarios


def nothing_is_found(result):
    assert result.claims_verdict == "hold", result.claims


def writes_are_lost(result):
    assert result.count("lost-write") > 0


def replicas_lag(result):
    assert result.count("stale-read") > 0


def a_group_may_be_torn(result):
    """Unless somebody writes it anew before anybody reads it."""
    assert not result.count("phantom-value", "failed-write-visible", "cross-slot-accepted")
    assert result.error is None


def entries_outlive_their_time(result):
    assert result.count("expired-read") > 0
    assert result.count("early-expiry") > 0


def only_what_is_documented(result):
    assert not result.count("torn-read", "phantom-value", "failed-write-visible", "cross-slot-accepted")


SCENARIOS = {
    "steady": ("2s", [], nothing_is_found),
    "graceful-failover": ("3s", [("300ms", "300ms"), ("1500ms", "300ms")], nothing_is_found),
    "slot-migration": ("5s", [("300ms", "300ms"), ("3s", "300ms")], nothing_is_found),
    "replica-reads": ("3s", [("500ms", "1500ms")], replicas_lag),
    "primary-partition": ("5s", [("500ms", "3s")], writes_are_lost),
    "kill-without-persistence": ("3s", [("1s", "500ms")], writes_are_lost),
    "primary-kill": ("4s", [("500ms", "3s")], only_what_is_documented),
    "primary-pause": ("4s", [("500ms", "3s")], only_what_is_documented),
    "forced-failover": ("3s", [("300ms", "500ms"), ("1500ms", "500ms")], only_what_is_documented),
    "clock-skew": ("4s", [("500ms", "2500ms"), ("1500ms", "300ms")], entries_outlive_their_time),
    "slow-links": ("5s", [("300ms", "1s"), ("3s", "1s")], nothing_is_found),
    "migration-crash": ("4s", [("300ms", "3s")], only_what_is_documented),
    "migration-torn-group": ("5s", [("1500ms", "500ms")], a_group_may_be_torn),
    "hotkey-l1": ("4s", [("500ms", "3s")], only_what_is_documented),
    "hotkey-split": ("4s", [("500ms", "3s")], only_what_is_documented),
    "cluster-resize": ("4s", [("500ms", "1s")], nothing_is_found),
    "shards-kill": ("3s", [("500ms", "1s")], only_what_is_documented),
    "replication-lag": ("2s", [], only_what_is_documented),
    "everything": ("4s", None, only_what_is_documented),
}
"""How long, when its faults strike and for how long (None: as they are drawn), and what must come of it."""


def test_every_scenario_of_a_cluster_is_here_and_every_topology_that_both_can_run():
    scenarios = {name: load_scenario(name) for name in builtin_names()}
    of_clusters = {name for name, scenario in scenarios.items() if scenario.cluster.topology == "cluster"}
    assert of_clusters - SCENARIOS.keys() == {"hotkey-tracking"}, "not every server lets clients track"
    topologies = {scenario.cluster.topology for scenario in scenarios.values()}
    here = {scenarios[name].cluster.topology for name in SCENARIOS}
    assert topologies - here == {"proxied"}, "docker runs no proxies"


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Runs a scenario on one deployment, and on the other at the same time, for the test that asks next."""
    runs: dict[tuple[str, str], Future] = {}
    with engine_for(), ThreadPoolExecutor(len(DEPLOYMENTS)) as pool:

        def ask(scenario, deployment):
            for name in DEPLOYMENTS:
                if (scenario, name) not in runs:
                    out = tmp_path_factory.mktemp(f"{scenario}-{name}")
                    runs[scenario, name] = pool.submit(_run, scenario, name, out)
            return runs[scenario, deployment].result()

        yield ask


def _run(scenario, deployment, out):
    duration, times, _ = SCENARIOS[scenario]
    overrides = {"duration": duration, "deploy": deployment, "clients.rate": 100}
    if times is not None:
        faults = read_scenario(scenario).data.get("nemesis", [])
        overrides["nemesis"] = [
            {**fault, "at": at, "for": for_} for fault, (at, for_) in zip(faults, times, strict=True)
        ]
    return run_scenario(load_scenario(scenario, overrides), seed=7, out=out)


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario, deployment, outcome):
    require_engine()
    done = outcome(scenario, deployment)
    executed = read_executed(done.run_dir)
    assert done.result.error is None
    assert done.result.deployment == deployment
    assert done.result.operations["ok"] > 100
    assert all(fault.injected_ns is not None and fault.healed_ns is not None for fault in executed.faults)
    SCENARIOS[scenario][2](done.result)

"""Servers behind real proxies: all goes well without faults, and each proxy's own way of failing is found."""

import json

import pytest
from proxy_programs import require

from chaos.deploy import envoy, twemproxy
from chaos.run import run_scenario
from chaos.scenario import validate
from chaos.sharding import locator
from chaos.store import HISTORY, read_executed
from chaos.yaml_source import parse_yaml
from checkers import load
from checkers.events import OK

pytestmark = pytest.mark.server
REGISTERS = "{register: {keys: 30}, set: {keys: 5}}"


@pytest.fixture
def _twemproxy():
    require(twemproxy.find)


@pytest.fixture
def _envoy():
    require(envoy.find)


def run(out, cluster, *faults, workload=REGISTERS, duration="2500ms"):
    text = (
        f"name: proxied\nduration: {duration}\ncluster: {{topology: proxied, primaries: 3, {cluster}}}\n"
        f"clients: {{count: 6, timeout: 600ms}}\nworkload: {workload}\n"
        f"nemesis: [{', '.join(f'{{{fault}}}' for fault in faults)}]\n"
    )
    done = run_scenario(validate(parse_yaml(text, "proxied.quake.yaml")), seed=7, out=out)
    assert read_executed(done.run_dir).error is None
    return done


def events(done):
    return [json.loads(line) for line in (done.run_dir / HISTORY).read_text().splitlines()[1:]]


def errors(done):
    return {event["error"] for event in events(done) if event.get("error")}


def kinds(done):
    return {anomaly.kind for finding in done.result.findings.values() for anomaly in finding.anomalies}


@pytest.mark.usefixtures("_twemproxy")
def test_without_faults_twemproxy_shares_the_keys_and_keeps_every_promise(tmp_path):
    workload = "{register: {}, set: {}, counter: {}, append: {}, ttl: {}}"
    done = run(tmp_path, "proxies: 2, proxy: twemproxy", workload=workload, duration="1500ms")
    assert not kinds(done)
    assert not errors(done), "no connection was closed for its greeting"
    held = {e["value"]["node"]: e["value"]["keys"] for e in events(done) if e["f"] == "holds"}
    place = locator("ring", ["n1", "n2", "n3"])
    assert all(held.values()), "each server has keys"
    assert {key: node for node, keys in held.items() for key in keys} == {
        key: place(key) for keys in held.values() for key in keys
    }, "Twemproxy's ketama is that of route ring"
    assert {e["node"] for e in events(done) if e["type"] == "ok" and not e.get("final")} == {"p1", "p2"}
    assert (done.run_dir / "logs" / "p1.nutcracker.yml").exists()


@pytest.mark.usefixtures("_twemproxy")
def test_an_ejected_server_that_returns_has_missed_what_the_others_acknowledged(tmp_path):
    config = 'auto_eject: true, config: {appendonly: "yes", appendfsync: always}'
    done = run(tmp_path, f"proxy: twemproxy, {config}", "fault: kill, target: n1, at: 1s, for: 1s")
    assert done.result.count("lost-write") > 0
    assert any("final read" in anomaly.explanation for anomaly in done.result.anomalies("lost-write"))


@pytest.mark.usefixtures("_twemproxy")
def test_twemproxy_can_be_cut_off_from_a_server_although_it_binds_no_address(tmp_path):
    done = run(
        tmp_path,
        "proxy: twemproxy",
        "fault: partition, target: n1, at: 500ms, for: 700ms",
        "fault: pause, target: p1, at: 1700ms, for: 400ms",
    )
    assert not kinds(done)
    cut, paused = read_executed(done.run_dir).faults
    assert ["p1", "n1"] in cut.evidence["inject"]["no_round_trip"]
    assert paused.evidence["inject"]["paused"] == {"p1": True}
    span = [e for e in events(done) if e.get("node") == "p1" and cut.injected_ns < e["time"] < cut.healed_ns]
    assert {"ok", "info"} <= {e["type"] for e in span}, "the other servers were served meanwhile"
    assert any(error.startswith("ERR ") for error in errors(done)), "the proxy said so, not the socket"


@pytest.mark.usefixtures("_envoy")
def test_a_dead_server_behind_envoy_is_unavailable_and_nothing_else(tmp_path):
    config = 'hashing: maglev, config: {appendonly: "yes", appendfsync: always}'
    done = run(tmp_path, f"proxy: envoy, {config}", "fault: kill, target: n1, at: 1s, for: 700ms")
    assert not kinds(done)
    assert "upstream failure" in errors(done)


@pytest.mark.usefixtures("_envoy")
def test_envoy_follows_the_failover_of_a_cluster_behind_it(tmp_path):
    done = run(
        tmp_path,
        "replicas: 1, proxy: envoy, behind: cluster, config: {cluster-node-timeout: 500ms}",
        "fault: pause, target: primary of k0, at: 500ms, for: 3s",
        duration="4s",
    )
    views = [e["value"] for e in events(done) if e["f"] == "view"]
    (fault,) = read_executed(done.run_dir).faults
    successors = {v["node"] for v in views if v["node"] not in ("n1", "n2", "n3") and v.get("role") == "primary"}
    assert len(successors) == 1
    late = [e for e in events(done) if e.get("key") == "k0" and e["type"] == "ok" and e["time"] > fault.healed_ns - 5e8]
    assert late, "k0 was served again before its first primary came back"
    assert not done.result.anomalies("split-ownership"), "what a proxy answers is no ownership"


@pytest.mark.usefixtures("_envoy")
def test_a_dead_proxy_takes_its_own_clients_out_of_service_only(tmp_path):
    done = run(tmp_path, "proxy: envoy, proxies: 2", "fault: kill, target: p1, at: 700ms, for: 700ms", duration="2s")
    assert not kinds(done)
    (fault,) = read_executed(done.run_dir).faults
    operations = load(done.run_dir / HISTORY).operations
    began, ended = operations.start > fault.injected_ns, operations.end < fault.injected_ns + 700_000_000
    served = operations.node[began & ended & (operations.type == OK)]
    assert {operations.nodes[node] for node in served.tolist()} == {"p2"}

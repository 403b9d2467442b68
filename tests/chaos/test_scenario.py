"""A scenario is validated before anything runs; every refusal names file, line and the nearest valid choice."""

import pytest

from chaos.errors import BadInput
from chaos.scenario import FaultSpec, MixtureSpec, builtin_names, load_scenario, read_summary, validate
from chaos.yaml_source import parse_yaml


def scenario(text):
    return validate(parse_yaml(text, "x.quake.yaml"))


def test_every_key_but_the_name_has_a_default():
    made = scenario("name: least")
    assert (made.duration_ms, made.deploy, made.clients.count, made.clients.route) == (10_000, "local", 10, "bare")
    assert made.cluster.config["appendonly"] == "no", "persistence is always stated"
    assert set(made.workload) == {"register"}


def test_units_become_what_the_code_and_the_server_use():
    made = scenario("""
name: units
duration: 1m
cluster: {config: {cluster-node-timeout: 2s, repl-timeout: 10s, appendonly: no, maxmemory: 100mb}}
clients: {timeout: 250ms, rate: 50}
workload: {register: {keys: 5, writes: 30%}}
nemesis:
  - {fault: partition, target: primary of k0, at: 3s, for: 500ms, with_clients: 2}
  - {random: [kill, pause], every: 5s}
""")
    assert made.duration_ms == 60_000
    assert made.cluster.config["cluster-node-timeout"] == "2000"
    assert made.cluster.config["repl-timeout"] == "10", "this directive counts seconds"
    assert made.cluster.config["appendonly"] == "no"
    assert made.cluster.config["maxmemory"] == "100mb"
    assert (made.clients.timeout_ms, made.clients.rate) == (250, 50.0)
    assert made.workload["register"]["writes"] == pytest.approx(0.3)
    fault, mixture = made.nemesis
    assert isinstance(fault, FaultSpec)
    assert (fault.at_ms, fault.for_ms, fault.options["with_clients"]) == (3_000, 500, 2)
    assert mixture == MixtureSpec(["kill", "pause"], 5_000)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("nam: x", 1, "unknown key 'nam'; did you mean 'name'"),
        ("duration: 3s", 1, "needs a `name`"),
        ("name: x\nduration: 10", 2, "duration: 10 is not a duration like 500ms, 3s or 2m; write 10ms or 10s"),
        ("name: x\nduration: -3s", 2, "never negative"),
        ("name: x\nseed: -1", 2, "whole number from 0"),
        ("name: x\nnemesis:\n  - fault: kill\n    seed: -1", 4, "whole number from 0"),
        ("name: x\ncluster:\n  primarys: 3", 3, "did you mean 'primaries'"),
        ("name: x\ncluster: {primaries: 0}", 2, "primaries: 0 is not a whole number from 1"),
        ("name: x\ndeploy: lokal", 2, "did you mean 'local'"),
        ("name: x\nclients:\n  route: bear", 3, "did you mean 'bare'"),
        ("name: x\nclients:\n  rate: slow", 3, "neither max nor a number"),
        ("name: x\nworkload:\n  registers: {}", 3, "unknown workload 'registers'; did you mean 'register'"),
        ("name: x\nworkload:\n  register: {key: 5}", 3, "unknown option of workload register 'key'"),
        ("name: x\nworkload:\n  register: {writes: 120%}", 3, "more than 100%"),
        ("name: x\nnemesis:\n  - {fault: kil}", 3, "did you mean 'kill'"),
        ("name: x\nnemesis:\n  - {fault: kill, at: 3}", 3, "write 3ms or 3s"),
        ("name: x\nnemesis:\n  - {fault: kill, at: 30s}", 3, "not before the end"),
        ("name: x\nnemesis:\n  - {fault: kill, target: n9}", 3, "nodes are n1, n2, n3, n4, n5, n6"),
        ("name: x\nnemesis:\n  - {fault: kill, target: the big one}", 3, "target"),
        ("name: x\ncluster: {replicas: 0}\nnemesis:\n  - {fault: kill, target: a replica}", 4, "no replicas"),
        ("name: x\nnemesis:\n  - {fault: partition, with_clients: 40}", 3, "there are 10 clients"),
        ("name: x\nnemesis:\n  - {fault: partition, shap: ring}", 3, "did you mean 'shape'"),
        ("name: x\nnemesis:\n  - {fault: partition, shape: rign}", 3, "ring"),
        (
            "name: x\ncluster: {topology: replication}\nnemesis:\n  - {fault: failover, mode: takeover}",
            4,
            "topology replication has no failover of mode takeover: use graceful or force",
        ),
        ("name: x\nclaims:\n  lost_write: 0", 3, "did you mean 'lost_writes'"),
        ("name: x\nname: y", 2, "twice"),
        ("name: [x", 1, "not YAML"),
    ],
)
def test_bad_input_names_the_line_and_the_nearest_valid_choice(text, line, message):
    with pytest.raises(BadInput) as refused:
        scenario(text)
    assert message in str(refused.value)
    assert (refused.value.file, refused.value.line) == ("x.quake.yaml", line), str(refused.value)


def test_an_unknown_scenario_names_the_nearest_built_in():
    with pytest.raises(BadInput, match="did you mean 'steady'"):
        load_scenario("stedy")


def test_overrides_go_over_the_file():
    made = load_scenario("steady", {"clients.count": 3, "cluster.config.cluster-node-timeout": "5s", "duration": "1s"})
    assert (made.clients.count, made.cluster.config["cluster-node-timeout"], made.duration_ms) == (3, "5000", 1_000)


@pytest.mark.parametrize("name", builtin_names())
def test_every_built_in_scenario_is_valid_claims_something_and_survives_being_written(name):
    made = load_scenario(name)
    assert made.name == name
    assert made.claims
    assert len(read_summary(name)) > 20
    assert validate(parse_yaml(made.to_yaml(), "again")) == made

"""Parts of the deployment `endpoint` that need no server: what is accepted, what is refused, how keys are spelled."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.access import HIDDEN, PASSWORD, USER, Access
from chaos.claims import parse_claim
from chaos.deploy.endpoint import discovery
from chaos.deploy.endpoint.deployment import EndpointDeployment
from chaos.deploy.endpoint.profiles import described, profiles
from chaos.deploy.endpoint.spec import EndpointSpec
from chaos.errors import BadInput, RunFailed
from chaos.keyspace import KeySpace
from chaos.operation import Operation
from chaos.plan import make_plan
from chaos.routes import ROUTES
from chaos.run import run_plan
from chaos.scenario import load_scenario, read_scenario, validate
from chaos.topologies import FOUND
from chaos.workloads import WORKLOADS
from chaos.yaml_source import parse_yaml
from checkers.keyslot import key_slot
from nemeses import FAULTS
from nemeses.stream import Stream
from nemeses.system import InjectionFailed, ReplyError

SECRET = "n0body-may-read-this"


def scenario(endpoint, **more):
    """A scenario with deploy: endpoint."""
    source = parse_yaml("name: x\n", "x.quake.yaml")
    source.data |= {"deploy": "endpoint", "endpoint": endpoint} | more
    return validate(source)


def refusal(endpoint, **more):
    with pytest.raises(BadInput) as refused:
        scenario(endpoint, **more)
    return str(refused.value)


# Key space


@given(st.from_regex(r"\A(\{[a-z0-9]+\}:)?[a-z0-9]+\Z"), st.from_regex(r"\A[A-Za-z0-9_.-]+\Z"))
def test_a_prefix_changes_no_slot_and_can_be_taken_off(key, prefix):
    keys = KeySpace(f"cq-{prefix}-")
    assert keys.stored(key).startswith(keys.prefix)
    assert key_slot(keys.stored(key)) == key_slot(key)
    assert keys.plain(keys.stored(key)) == key


@pytest.mark.parametrize("name", [name for name in WORKLOADS if name not in ("hotkey", "cachefill")])
def test_every_key_of_every_operation_has_the_prefix_and_the_history_does_not(name):
    workload = WORKLOADS[name]({})
    keys = KeySpace("cq-x-")
    for n in range(500):
        planned = workload.operation(1, n, Stream(n))
        stored = keys.operation(planned)
        assert stored._replace(commands=planned.commands) == planned
        for before, after in zip(planned.commands, stored.commands, strict=True):
            for word, now in zip(before, after, strict=True):
                is_key = isinstance(word, str) and re.fullmatch(r"(\{[a-z]\d+\}:[a-z])|([a-z]\d+)", word)
                assert now == (keys.stored(word) if is_key else word)


def test_a_command_whose_keys_are_unknown_is_not_sent():
    planned = Operation("x", "x", "k0", 1, (("SORT", "k0", "STORE", "k1"),), "k0", True, lambda replies: None)
    with pytest.raises(RunFailed, match="SORT is not sent"):
        KeySpace("cq-x-").operation(planned)
    assert KeySpace("").operation(planned) is planned


def test_a_prefix_with_a_hash_tag_is_none():
    with pytest.raises(ValueError, match="braces"):
        KeySpace("cq-{x}-")


# Profiles


@pytest.mark.parametrize("name", profiles())
def test_profiles_name_what_exists_and_link_what_they_say(name):
    profile = profiles()[name]
    assert profile.topology in FOUND
    assert set(profile.routes) <= set(FOUND[profile.topology].routes) & ROUTES.keys()
    assert set(profile.faults) <= FAULTS.keys()
    for claim in profile.claims:
        parse_claim(claim.about, {"longest": "1s"} if claim.about == "unavailable" else 0)
    assert all(link.startswith("https://") for link in [*profile.links.values(), *(c.link for c in profile.claims)])
    assert all(command == command.upper() for command in profile.refuses)
    assert name in next(described(name))


# Scenarios


def test_a_password_in_a_url_is_refused_and_not_repeated():
    said = refusal({"urls": [f"rediss://app:{SECRET}@cache.example.com:6379"]})
    assert "CACHEQUAKE_PASSWORD" in said
    assert SECRET not in said


@pytest.mark.parametrize(
    ("endpoint", "says"),
    [
        (None, "needs {endpoint:"),
        ({"urls": []}, "name at least one"),
        ({"urls": ["https://cache.example.com"]}, "write redis://HOST:PORT"),
        ({"urls": ["redis://h:1/3"]}, "nothing may stand behind the port"),
        ({"urls": ["redis://h:99999"]}, "out of range"),
        ({"urls": ["redis://h:1", "rediss://h:2"]}, "either all with TLS"),
        ({"urls": ["redis://h"], "profile": "elasticache"}, "unknown profile"),
        ({"urls": ["redis://h"], "user": "me"}, "unknown key of endpoint"),
        ({"urls": ["redis://h"], "ca_file": "/nowhere/ca.pem"}, "there is no file"),
        ({"urls": ["redis://h"], "verify": "no"}, "say true or false"),
        ({"urls": ["redis://h"], "faults": {"kill": "reboot"}}, "only failover can"),
        ({"urls": ["redis://h"], "faults": {"failover": "aws 'x"}}, "is no command"),
        ({"urls": ["redis://h"], "profile": "elasticache-serverless", "faults": {"failover": "x"}}, "no fault can"),
    ],
)
def test_what_is_wrong_about_an_endpoint_is_said_in_one_sentence(endpoint, says):
    assert says in refusal(endpoint)


def test_a_profile_decides_topology_and_route_whatever_the_scenario_forms():
    found = scenario({"urls": "rediss://h", "profile": "memorystore-standard"}, cluster={"primaries": 5})
    assert found.cluster.topology == "endpoint-replication"
    assert found.clients.route == "bare"
    assert "does not lead to" in refusal(
        {"urls": "redis://h", "profile": "memorystore-standard"}, clients={"route": "cluster"}
    )


def test_a_scenario_of_an_endpoint_is_written_as_it_is_read(tmp_path):
    given_ = {"urls": ["rediss://h:1"], "profile": "elasticache-cluster-enabled", "faults": {"failover": "aws x"}}
    first = scenario(given_, nemesis=[{"fault": "failover", "at": "1s"}])
    path = tmp_path / "again.quake.yaml"
    path.write_text(first.to_yaml())
    assert load_scenario(path) == first


def test_a_topology_that_is_found_cannot_be_formed():
    source = read_scenario("steady")
    source.data["cluster"] = {"topology": "endpoint-cluster"}
    with pytest.raises(BadInput, match="is found, not formed"):
        validate(source)


def test_routes_to_readers_need_one(tmp_path):
    wanted = scenario({"urls": "redis://h", "profile": "memorystore-standard"}, clients={"route": "replica"})
    with pytest.raises(BadInput, match="the endpoint of readers"):
        run_plan(make_plan(wanted, 1), out=tmp_path)
    with pytest.raises(BadInput, match="run already"):
        run_plan(make_plan(wanted, 1), out=tmp_path, server="/bin/true")
    serverless = scenario({"urls": "redis://h", "profile": "elasticache-serverless"}, clients={"route": "redirect"})
    with pytest.raises(BadInput, match="redirect does not lead to elasticache-serverless"):
        run_plan(make_plan(serverless, 1), out=tmp_path)


# Access


def test_credentials_come_from_the_environment_or_a_file_and_show_themselves_to_nobody(tmp_path, monkeypatch):
    monkeypatch.delenv(USER, raising=False)
    monkeypatch.delenv(PASSWORD, raising=False)
    assert Access(open=False).credentials() is None
    monkeypatch.setenv(PASSWORD, SECRET)
    found = Access(open=False).credentials()
    assert found.command == ("AUTH", SECRET)
    assert SECRET not in f"{found!r} {found}"
    monkeypatch.setenv(USER, "app")
    secret = tmp_path / "secret"
    secret.write_text("another\n")
    assert Access(open=False, password_file=str(secret)).credentials().command == ("AUTH", "app", "another")
    assert Access(open=False).redacted(f"no {SECRET}") == f"no {HIDDEN}"
    monkeypatch.delenv(PASSWORD)
    with pytest.raises(BadInput, match="there is no password"):
        Access(open=False).credentials()


def test_servers_that_are_open_are_told_no_password_that_is_meant_for_others(monkeypatch):
    monkeypatch.setenv(USER, "app")
    monkeypatch.setenv(PASSWORD, SECRET)
    assert Access().credentials() is None


def test_commands_are_offered_unless_they_or_their_first_argument_are_refused():
    access = Access(refused=frozenset({"CONFIG", "CLIENT LIST"}))
    assert not access.offers("config", "get")
    assert not access.offers("CLIENT", "list")
    assert access.offers("CLIENT", "SETNAME")
    assert access.offers("GET", "LIST")


# Deployment


@pytest.fixture
def names(tmp_path):
    """A primary and a reader, of which nobody is asked anything."""

    def made(**more):
        spec = EndpointSpec(urls=["redis://primary:1", "redis://reader:2"], profile="memorystore-standard", **more)
        deployment = EndpointDeployment(spec, tmp_path, began_ns=time.monotonic_ns())
        deployment.discover()
        return deployment

    return made


def test_what_an_offering_refuses_is_not_sent(names):
    deployment = names()
    with pytest.raises(ReplyError, match="CONFIG GET is not sent: memorystore-standard does not offer it"):
        deployment.call("n1", "CONFIG", "GET", "save")
    with pytest.raises(ReplyError, match="cluster support disabled"):
        deployment.call("n1", "CLUSTER", "NODES")
    assert deployment.translate("reader", 2) == "n2"
    assert deployment.translate("elsewhere", 2) is None


def test_a_command_gets_the_node_and_its_failure_is_told_without_the_password(names, monkeypatch):
    monkeypatch.setenv(PASSWORD, SECRET)
    said = names(faults={"failover": "sh -c 'echo {node} at {host}:{port} $CACHEQUAKE_PASSWORD; exit 3'"})
    assert said.commanded("failover")
    with pytest.raises(InjectionFailed, match=re.escape(f"sh ended with status 3: n2 at reader:2 {HIDDEN}")):
        said.command("failover", "n2")
    with pytest.raises(InjectionFailed, match="cannot be started"):
        names(faults={"failover": "/nowhere/aws"}).command("failover", "n1")
    with pytest.raises(InjectionFailed, match="sleep ends: not within 20 ms"):
        names(faults={"failover": "sleep 60"}, patience_ms=20).command("failover", "n1")
    assert names(faults={"failover": "true"}).command("failover", "n1") == {"command": "true", "status": 0}


# Discovery


def test_nodes_of_a_cluster_are_named_by_slots_and_reached_by_the_names_that_they_announce():
    slots = [
        [8192, 16383, [b"b.example", 7, b"id-b", [b"ip", b"10.0.0.2"]], [b"d.example", 7, b"id-d", []]],
        [0, 100, [b"a.example", 7, b"id-a", []], [b"c.example", 7, b"id-c", []]],
        [101, 8191, [b"", 7, b"id-e", []]],
    ]
    nodes = b"id-a 10.0.0.1:7@17,a.example master\nid-b 10.0.0.2:7@17,b.example master\nid-e :0@0 myself,master\n"
    replies = {"SLOTS": slots, "NODES": nodes}
    found = discovery.of_cluster(lambda *words: replies[words[1]], ("seed.example", 6379))
    assert [(each.node.name, each.node.host, each.reached) for each in found] == [
        ("n1", "10.0.0.1", ("a.example", 7)),
        ("n2", "seed.example", ("seed.example", 7)),
        ("n3", "10.0.0.2", ("b.example", 7)),
        ("n4", "c.example", ("c.example", 7)),
        ("n5", "d.example", ("d.example", 7)),
    ]


@pytest.mark.parametrize("slots", [[], [[0, 1]], b"what?"])
def test_a_cluster_that_names_no_nodes_is_none(slots):
    with pytest.raises(ReplyError):
        discovery.of_cluster(lambda *words: slots if words[1] == "SLOTS" else b"", ("h", 1))

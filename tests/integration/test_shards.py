"""Servers in no cluster and clients that shard by themselves; and clients that know no map at all: on real servers."""

import random

import hiredis
import pytest
from clusters import nodes
from redis import Redis

from chaos.deploy import preload
from chaos.run import run_scenario
from chaos.scenario import load_scenario
from chaos.store import HISTORY, read_executed
from checkers import load
from checkers.keyslot import key_slot

pytestmark = pytest.mark.server
FOUR, FIVE = ["n1", "n2", "n3", "n4"], ["n1", "n2", "n3", "n4", "n5"]
RESIZE = {"fault": "resize", "add": 1, "at": "1s", "for": "800ms"}
SMALL = {"register": {"keys": 300, "writes": "40%"}, "set": {"keys": 20}, "multikey": {"groups": 5}}


def run(name, out, seed=7, **overrides):
    return run_scenario(load_scenario(name, overrides), seed=seed, out=out)


def balance(done):
    return done.result.findings["balance"].metrics


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    return run(
        "shards-resize-ring",
        tmp_path_factory.mktemp("ring"),
        duration="3s",
        workload=SMALL,
        nemesis=[RESIZE],
        claims={},
    )


def test_a_node_that_joins_a_ring_moves_a_fifth_of_the_keys_there_and_back(ring):
    there, back = balance(ring)["resizes"]
    assert (there["from"], there["to"]) == (back["to"], back["from"]) == (FOUR, FIVE)
    for resize in (there, back):
        assert resize["keys"] > 200
        assert 0.1 < resize["moved_share"] < 0.3
    assert there["missed"] > 0
    assert balance(ring)["hops_mean"] == 1.0


def test_every_process_of_clients_says_when_it_heard(ring):
    (fault,) = read_executed(ring.run_dir).faults
    assert fault.nodes == ["n5"]
    assert fault.error is None
    for phase in ("inject", "heal"):
        evidence = fault.evidence[phase]
        assert set(evidence["heard_ns"]) == {"0", "1"}
        assert all(heard >= evidence["since_ns"] for heard in evidence["heard_ns"].values())


def test_what_was_written_on_the_node_that_left_is_lost_and_the_sentence_says_where_it_is(ring):
    lost = ring.result.anomalies("lost-write")
    assert lost
    assert all("moved from n5 to" in anomaly.explanation for anomaly in lost)
    assert "slot" not in " ".join(anomaly.explanation for anomaly in lost)
    assert ring.result.findings["slots"].counts == {}
    assert ring.result.findings["multikey"].counts == {}


def test_only_keys_that_moved_are_accused(ring):
    """Whatever is found, it is about a key that two nodes answered for."""
    operations = load(ring.run_dir / HISTORY).operations
    nodes_of = {}
    for key, node in zip(operations.key.tolist(), operations.node.tolist(), strict=True):
        nodes_of.setdefault(operations.keys[key], set()).add(node)
    for checker in ("durability", "staleness", "linearizability"):
        for anomaly in ring.result.findings[checker].anomalies:
            assert len(nodes_of[anomaly.key]) > 1, anomaly


def test_a_modulus_moves_four_fifths_and_a_resize_that_outlasts_the_load_stays(tmp_path):
    nemesis = [{"fault": "resize", "add": 1, "at": "1s", "for": "1m"}]
    done = run("shards-resize-modulo", tmp_path, duration="2s", workload=SMALL, nemesis=nemesis)
    (resize,) = balance(done)["resizes"]
    assert 0.7 < resize["moved_share"] < 0.9
    assert resize["hit_rate_after"] < resize["hit_rate_before"]
    operations = load(done.run_dir / HISTORY).operations
    answered = {operations.nodes[node] for node in set(operations.node[operations.final].tolist())}
    assert answered == set(FIVE), "the final reads go where the clients look in the end"


def test_a_shard_that_is_killed_comes_back_empty_and_nobody_serves_its_keys_in_between(tmp_path):
    kill = {"fault": "kill", "target": "primary of k0", "at": "800ms", "for": "600ms"}
    done = run("shards-kill", tmp_path, duration="2s", nemesis=[kill])
    (fault,) = read_executed(done.run_dir).faults
    assert fault.error is None
    assert done.result.operations["fail"] > 0
    lost = done.result.anomalies("lost-write")
    assert lost
    assert all(f"acknowledged by {fault.nodes[0]}" in anomaly.explanation for anomaly in lost)
    assert not done.result.anomalies("phantom-value")


def test_a_cluster_moves_slots_and_keys_instead_and_nothing_is_missed(tmp_path):
    resize = {"fault": "resize", "add": 1, "at": "600ms", "for": "200ms"}
    done = run("cluster-resize", tmp_path, duration="3s", nemesis=[resize], workload={"register": {"keys": 300}})
    assert done.result.claims_verdict == "hold", done.result.claims
    (resize,) = balance(done)["resizes"]
    assert 0.1 < resize["moved_share"] < 0.3
    assert resize["missed"] == 0
    assert balance(done)["slots_moved"] == 16384 // 5


@pytest.mark.skipif(preload.compiler() is None, reason="no C compiler to make the preloaded library with")
def test_in_virtual_time_a_resize_repeats_itself_byte_for_byte(tmp_path):
    runs = [
        run("shards-resize-ring", tmp_path / name, deploy="virtual", duration="2s", workload=SMALL, nemesis=[RESIZE])
        for name in ("one", "two")
    ]
    assert balance(runs[0])["resizes"][0]["keys_moved"] > 0
    one, two = ((done.run_dir / HISTORY).read_bytes() for done in runs)
    assert one == two


def test_a_client_without_a_map_is_redirected_and_reaches_every_key_while_slots_move(tmp_path):
    migrate = {"fault": "migrate", "target": "primary of k0", "slots": 4, "at": "500ms", "for": "500ms"}
    done = run(
        "steady", tmp_path, duration="2s", nemesis=[migrate], claims={"anomalies": 0}, **{"clients.route": "redirect"}
    )
    assert done.result.claims_verdict == "hold", done.result.claims
    metrics = balance(done)
    assert 1.3 < metrics["hops_mean"] < 2.2, "two of three keys are elsewhere"
    assert metrics["hops_most"] >= 2
    assert metrics["slots_moved"] == 4
    operations = load(done.run_dir / HISTORY).operations
    redirected = ((row, detail) for row, detail in operations.details.items() if "hops" in detail)
    first = {detail["hops"][0] for row, detail in redirected if not operations.final[row]}
    assert first == {"n1"}, "whatever it learned, it begins at its own node again"


def test_our_slots_of_a_hundred_thousand_keys_are_those_of_the_server():
    draw = random.Random(7)
    parts = [b"{", b"}", b"{}", b"{{", b"}}", b"a", b"user1000", b"\x00", b"\xff\r\n", "é".encode()]
    keys = [draw.randbytes(draw.randrange(24)) for _ in range(50_000)]
    keys += [b"".join(draw.choices(parts, k=draw.randrange(1, 8))) for _ in range(50_000)]
    with nodes(1) as deployment:
        node = deployment.nodes["n1"]
        with Redis(node.host, node.port, protocol=2) as client:
            connection = client.connection_pool.get_connection()
            theirs = []
            for begin in range(0, len(keys), 5_000):
                chunk = keys[begin : begin + 5_000]
                connection.send_packed_command([hiredis.pack_command(("CLUSTER", "KEYSLOT", key)) for key in chunk])
                theirs += [connection.read_response() for _ in chunk]
            client.connection_pool.release(connection)
    assert theirs == [key_slot(key) for key in keys]

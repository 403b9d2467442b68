"""Hot keys: how often each is wanted, what a client's cache keeps and for how long, and what became of split writes."""

from collections import Counter

import pytest
from fake_cluster import FakeCluster, Scene
from redis.crc import key_slot

from chaos.errors import BadInput
from chaos.routes import ROUTES
from chaos.routes.bare import Bare
from chaos.routes.near import Near
from chaos.routes.slotmap import SlotMap
from chaos.routes.split import Copies, Split
from chaos.scenario import load_scenario, validate
from chaos.topologies import TOPOLOGIES
from chaos.workloads import WORKLOADS, Mixture
from chaos.workloads.hotkey import VIRAL
from chaos.yaml_source import parse_yaml
from checkers import check
from checkers.events import FAIL, INFO, OK
from checkers.finding import Verdict
from nemeses.stream import Stream, word


def hotkey(**options):
    return Mixture([(WORKLOADS["hotkey"](options), 1.0)])


def one_key(**options):
    """Every operation is on `h0`."""
    return hotkey(keys=1, viral=0.0, **options)


def registers(**options):
    return Mixture([(WORKLOADS["register"](options), 1.0)])


# Popularity


def test_keys_are_wanted_in_proportion_to_their_rank():
    workload = WORKLOADS["hotkey"]({"keys": 100, "skew": 1.0, "viral": 0.25})
    count = 40_000
    wanted = Counter(workload.operation(0, n, Stream(word(5, n))).key for n in range(count))
    harmonic = sum(1 / rank for rank in range(1, 101))
    expected = {VIRAL: 0.25} | {f"h{rank}": 0.75 / (rank + 1) / harmonic for rank in range(100)}
    assert sum(expected.values()) == pytest.approx(1)
    for key, share in expected.items():
        deviation = (count * share * (1 - share)) ** 0.5
        assert abs(wanted[key] - count * share) < 5 * deviation, key


def test_without_skew_all_keys_are_alike():
    workload = WORKLOADS["hotkey"]({"keys": 4, "skew": 0.0, "viral": 0.0})
    wanted = Counter(workload.operation(0, n, Stream(word(1, n))).key for n in range(8_000))
    assert set(wanted) == {"h0", "h1", "h2", "h3"}
    assert max(wanted.values()) < 1.2 * min(wanted.values())


def test_operation_n_is_the_same_whatever_came_before():
    first, second = hotkey(), hotkey()
    assert [first.operation(1, n, 9)[:6] for n in (30, 5)] == [second.operation(1, n, 9)[:6] for n in (30, 5)]


def test_every_key_is_read_in_the_end():
    assert {op.key for op in hotkey(keys=3).finals({})} == {"h0", "h1", "h2", VIRAL}


# A cache in each client


def read(key="h0"):
    return next(op for op in hotkey(keys=1).finals({}) if op.key == key)


def write(value=7):
    return one_key(writes=1.0).operation(0, value - 1, 1)


def test_an_entry_lives_for_its_time_and_no_longer():
    near = Near(ttl_ns=100, entries=2)
    near.learn(read(), "ok", 41, now=1_000)
    assert near.answer(read(), 1_099) == 41
    assert near.answer(read(), 1_100) is None
    assert near.answer(read(), 1_050) is None, "what has expired is gone"


def test_answering_does_not_prolong_the_life_of_an_entry():
    near = Near(ttl_ns=100, entries=2)
    near.learn(read(), "ok", 41, now=0)
    assert [near.answer(read(), now) for now in (60, 99, 100)] == [41, 41, None]


def test_the_least_recently_used_entry_makes_room():
    near = Near(ttl_ns=100, entries=2)
    finals = {op.key: op for op in hotkey(keys=3).finals({})}
    for key in ("h0", "h1"):
        near.learn(finals[key], "ok", key, now=0)
    assert near.answer(finals["h0"], 1) == "h0"
    near.learn(finals["h2"], "ok", "h2", now=2)
    assert [near.answer(finals[key], 3) for key in ("h0", "h1", "h2")] == ["h0", None, "h2"]


@pytest.mark.parametrize(("outcome", "kept"), [("ok", 7), ("fail", 41), ("info", None)])
def test_an_own_write_is_kept_when_it_happened_and_forgotten_when_nobody_knows(outcome, kept):
    near = Near(ttl_ns=100, entries=2)
    near.learn(read(), "ok", 41, now=0)
    near.learn(write(7), outcome, 7, now=1)
    assert near.answer(read(), 2) == kept


def test_an_absent_key_is_asked_for_each_time():
    near = Near(ttl_ns=100, entries=2)
    near.learn(read(), "ok", None, now=0)
    assert near.answer(read(), 1) is None


def test_what_expires_on_the_server_is_not_kept_after_a_write():
    near = Near(ttl_ns=100, entries=2)
    entry = WORKLOADS["ttl"]({"writes": 1.0}).operation(0, 0, Stream(1))
    near.learn(entry, "ok", entry.value, now=0)
    get = WORKLOADS["ttl"]({"writes": 0.0}).operation(0, 0, Stream(1))._replace(routing=entry.routing)
    assert near.answer(get, 1) is None


def cached(ttl_ms, entries=100):
    def make(client, seed, terms, slots, effects):
        return Bare(client, seed, terms, slots(), effects, Near(ttl_ms * 1_000_000, entries))

    return make


def test_a_hit_asks_no_node_and_is_told_apart():
    scene = Scene(one_key(writes=0.2), make=cached(50))
    history = scene.run(100)
    operations = history.operations
    hits = [row for row, detail in operations.details.items() if detail.get("via") == "cache"]
    assert {operations.node_name(row) for row in hits} == {"l1"}
    reads = (operations.f == operations.code("read")).sum()
    asked = sum(command[0] == b"GET" for node in scene.cluster.nodes.values() for command in node.commands)
    assert asked == reads - len(hits) < reads / 2
    assert sum(scene.effects.counts.values()) == len(operations) == scene.machines[0].executed


def test_a_cache_of_its_own_never_shows_a_client_less_than_it_wrote():
    history = Scene(one_key(writes=0.2), make=cached(50)).run(200)
    assert check(history, ["staleness"])["staleness"].counts == {}


def test_what_others_write_is_missed_for_as_long_as_an_entry_lives():
    history = Scene(one_key(writes=0.01), 3, make=cached(30)).run(300)
    findings = check(history, ["staleness", "linearizability", "durability", "slots"])
    stale = findings["staleness"].metrics["by_answerer"]
    assert set(stale) == {"local cache"}
    assert 5 < stale["local cache"]["max_ms"] < 32
    assert findings["linearizability"].verdict is Verdict.INVALID, "the client passes its cache off as the register"
    assert not findings["durability"].counts
    assert not findings["slots"].counts


# Several copies


def split(copies=3):
    def make(client, seed, terms, slots, effects):
        return Split(client, seed, terms, [slots() for _ in range(copies)], Copies(copies, slots()), effects)

    return make


def test_copies_lie_on_different_nodes():
    cluster = FakeCluster()
    copies = Copies(3, SlotMap(cluster.ranges, {}))
    for key in ("h0", "h1", "viral"):
        names = copies.of(key)
        assert names[0] == key
        assert names == Copies(3, SlotMap(cluster.ranges, {})).of(key)
        assert {cluster.owners[key_slot(name.encode())] for name in names} == {"n1", "n2", "n3"}


def test_more_copies_than_nodes_are_spread_evenly():
    cluster = FakeCluster()
    names = Copies(6, SlotMap(cluster.ranges, {})).of("viral")
    assert len(set(names)) == 6
    assert Counter(cluster.owners[key_slot(name.encode())] for name in names) == {"n1": 2, "n2": 2, "n3": 2}


def test_a_write_reaches_all_copies_and_reads_are_spread():
    scene = Scene(one_key(writes=0.3), make=split())
    history = scene.run(200)
    operations = history.operations
    assert set(operations.type) == {OK}
    written = {key: node.data[key] for node in scene.cluster.nodes.values() if not node.primary for key in node.data}
    assert len(written) == 3
    assert len(set(written.values())) == 1
    readers = Counter(
        operations.node_name(row) for row in range(len(operations)) if operations.f[row] == operations.code("read")
    )
    assert set(readers) == {"n1", "n2", "n3"}
    writes = operations.rows("write").tolist()
    assert {tuple(sorted(operations.details[row]["hops"])) for row in writes} == {("n1", "n2", "n3")}
    findings = check(history, ["linearizability", "staleness", "sessions", "durability", "slots"])
    assert not any(finding.counts for finding in findings.values())


def test_a_write_is_in_the_history_before_its_bytes_leave():
    scene = Scene(one_key(writes=1.0), make=split())
    order = []
    record, send = scene.memory.write, scene.cluster.send
    scene.memory.write = lambda *found: (order.extend(event.value for event in found), record(*found))
    scene.cluster.send = lambda link, data: (order.append(data), send(link, data))
    scene.run(20)
    for place, entry in enumerate(order):
        if isinstance(entry, bytes) and b"SET\r\n$" in entry and b"SETNAME" not in entry:
            assert int(entry.split(b"\r\n")[-2]) in order[:place]


@pytest.mark.parametrize(("dead", "outcome"), [(1, INFO), (3, FAIL)])
def test_a_write_that_some_copies_refused_has_no_known_outcome(dead, outcome):
    scene = Scene(one_key(writes=1.0), make=split())
    for name in ("n1", "n2", "n3")[:dead]:
        scene.cluster.nodes[name].error = "MISCONF cannot write"
    operations = scene.run(50).operations
    assert set(operations.type) == {outcome}
    assert "copies took it" in operations.details[0]["error"]
    assert len(set(operations.process.tolist())) == (len(operations) if outcome == INFO else 1)


def test_a_copy_that_does_not_answer_leaves_the_write_open():
    scene = Scene(one_key(writes=1.0), timeout_ms=20, make=split())
    scene.cluster.pause("n2")
    operations = scene.run(100).operations
    assert INFO in set(operations.type)
    assert OK not in set(operations.type)


def test_redirections_are_followed_by_each_copy_for_itself():
    scene = Scene(one_key(writes=0.5), make=split())
    scene.cluster.owners[key_slot(b"h0")] = next(
        name for name in ("n1", "n2", "n3") if name != scene.cluster.owners[key_slot(b"h0")]
    )
    assert set(scene.run(100).operations.type) == {OK}


def test_other_operations_go_where_they_would_go_anyway():
    parts = {name: kind({"cross_slot": 0.0} if name == "multikey" else {}) for name, kind in WORKLOADS.items()}
    del parts["cachefill"]  # its operations are done in steps, by another machine
    mixture = Mixture([(part, 1) for part in parts.values()])
    scene = Scene(mixture, 3, make=split())
    history = scene.run(400)
    assert set(history.operations.type) == {OK}
    keys = {key for node in scene.cluster.nodes.values() for key in node.data if b"~" in key}
    assert keys
    assert all(key.startswith((b"k", b"h", b"viral", b"t")) for key in keys)


def test_the_same_seed_splits_alike():
    runs = [Scene(hotkey(), 3, make=split()) for _ in range(2)]
    for scene in runs:
        scene.run(50)
    assert runs[0].memory.events == runs[1].memory.events


def test_a_lost_copy_is_found():
    scene = Scene(one_key(writes=0.3), 2, make=split(2))
    names = Copies(2, SlotMap(scene.cluster.ranges, {})).of("h0")
    forgetful = scene.cluster.nodes[scene.cluster.owners[key_slot(names[1].encode())]]
    scene.cluster.after(50_000_000, lambda: setattr(forgetful, "loses", 2))
    findings = check(scene.run(200), ["staleness", "linearizability"])
    assert set(findings["staleness"].metrics["by_answerer"]) == {"copy of the key"}
    assert findings["linearizability"].verdict is Verdict.INVALID


# Reads fanned over replicas


@pytest.mark.parametrize("primary", [False, True])
def test_reads_are_fanned_over_all_replicas_and_the_primary_if_wanted(primary):
    cluster = FakeCluster(primaries=1, replicas=3)
    scene = Scene(registers(keys=1, writes=0.1), cluster=cluster, from_replicas=True, from_primaries=primary)
    operations = scene.run(300).operations
    reads = operations.rows("read").tolist()
    answered = Counter(operations.node_name(row) for row in reads)
    assert set(answered) == {"n2", "n3", "n4"} | ({"n1"} if primary else set())
    assert max(answered.values()) < 1.5 * min(answered.values())
    marked = {operations.node_name(row) for row in reads if operations.details.get(row, {}).get("via") == "replica"}
    assert marked == {"n2", "n3", "n4"}


# As scenarios name them


def scenario(**clients):
    return load_scenario("steady", {"clients": clients, "workload": {"hotkey": {}}})


def test_options_of_a_route_stand_among_the_clients():
    made = scenario(route="l1", ttl="250ms", entries=10)
    assert made.clients.options == {"over": "bare", "ttl_ms": 250, "entries": 10}
    assert made.clients.way == "bare"
    assert "ttl: 250ms" in made.to_yaml()


@pytest.mark.parametrize(
    ("clients", "message"),
    [
        ({"route": "l1", "tll": "1s"}, "did you mean 'ttl'"),
        ({"route": "l1", "ttl": 5}, "ttl"),
        ({"route": "l1", "entries": 0}, "must be above 0"),
        ({"route": "split", "copies": 1}, "copies: 1 is not from 2 to 8"),
        ({"route": "split", "over": "replica"}, "'replica' cannot be wrapped"),
        ({"route": "l1", "over": "ring"}, "ring does not lead to topology cluster"),
        ({"route": "bare", "ttl": "1s"}, "unknown key of clients with route bare"),
        ({"route": "cluster", "retries": -1}, "retries: -1"),
    ],
)
def test_wrong_options_are_refused_before_anything_runs(clients, message):
    with pytest.raises(BadInput, match=message):
        scenario(**clients)


@pytest.mark.parametrize("route", ["l1", "split"])
def test_what_is_wrapped_is_by_default_what_leads_to_the_topology(route):
    overrides = {"cluster": {"topology": "shards"}, "clients": {"route": route}, "workload": {"hotkey": {}}}
    made = load_scenario("steady", overrides)
    assert made.clients.way == TOPOLOGIES["shards"].routes[0]
    assert validate(parse_yaml(made.to_yaml(), "again")) == made


@pytest.mark.parametrize(
    ("server", "fits"),
    [
        ("redis 8.2.3", True),
        ("redis 7.4.0 (image redis:7.4)", True),
        ("redis 7.2.4", False),
        ("valkey 9.1.2", False),
        ("unknown", False),
    ],
)
def test_redis_py_caches_with_newer_redis_only(server, fits):
    reason = ROUTES["tracking"].unfit(server)
    assert (reason is None) is fits
    assert fits or f"this is {server}; name one with --server" in reason

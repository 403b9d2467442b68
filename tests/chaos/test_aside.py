"""Cache-aside: what is asked of the cache and of the database for one operation, and what the history says of it."""

import re
from collections import Counter

import pytest
from fake_cluster import FakeCluster, Scene

from chaos.databases import Row, connect, spec_of, wrong
from chaos.errors import BadInput
from chaos.operation import Doubtful, Refused
from chaos.routes import ROUTES
from chaos.routes.aside import Aside
from chaos.routes.bare import Bare
from chaos.routes.filling import Shared
from chaos.scenario import load_scenario
from chaos.workloads import WORKLOADS, Mixture
from chaos.workloads.cachefill import CacheFill, Entry, entry_of
from checkers import check
from checkers.events import FAIL, INFO, OK
from nemeses.stream import Stream, word


class Fragile:
    """A database in memory. It fails when told to, and remembers what it was asked."""

    def __init__(self, items, seen=lambda value: True):
        """`seen` says whether the history has heard of a value."""
        self.rows = dict.fromkeys(items, Row(None, 0))
        self.loads = Counter()
        self.error = None
        self.unheard = 0
        self._seen = seen

    def load(self, item):
        self.loads[item] += 1
        if self.error:
            raise self.error
        return self.rows.get(item)

    def store(self, item, value):
        self.unheard += not self._seen(value)
        if self.error:
            raise self.error
        self.rows[item] = Row(value, self.rows[item].version + 1)
        return self.rows[item].version

    def close(self):
        pass


class Aisle:
    """Clients of a fake cluster in front of a fragile database."""

    def __init__(self, clients=1, others=(), cluster=None, **options):
        self.workload = CacheFill({"keys": 1, "writes": 0.2, "ttl_ms": 50, **options})
        self.database = Fragile(self.workload.items, self._recorded)
        self.flights = {}
        shared = Shared(self.workload, self.database, self.flights)

        def make(client, seed, terms, slots, effects):
            def bare(told_terms, told):
                return Bare(client, seed, told_terms, slots(), told)

            return Aside(client, seed, terms, effects, shared, bare)

        mixture = Mixture([(self.workload, 1.0), *((WORKLOADS[name]({}), 1.0) for name in others)])
        self.scene = Scene(mixture, clients, make=make, cluster=cluster)
        self.cluster = self.scene.cluster

    def _recorded(self, value):
        return any(event.value == value for event in self.scene.memory.events)

    def run(self, ms=200):
        self.history = self.scene.run(ms)
        self.operations = self.history.operations
        return self.operations

    def fills(self, f):
        rows = self.operations.rows(f).tolist()
        return [self.operations.details[row]["fill"] for row in rows if "fill" in self.operations.details[row]]

    def vias(self):
        return Counter(detail["via"] for detail in self.operations.details.values() if "via" in detail)

    def commands(self):
        return Counter(str(c[0], "ascii") for node in self.cluster.nodes.values() for c in node.commands)

    def measured(self):
        return check(self.history, ["cachefill"])["cachefill"].metrics


def test_a_miss_is_loaded_once_and_kept_for_its_time():
    aisle = Aisle(writes=0.0)
    operations = aisle.run(200)
    assert set(operations.type) == {OK}
    vias = aisle.vias()
    assert vias["load"] == aisle.database.loads["i0"] == aisle.commands()["SET"]
    assert 3 <= vias["load"] <= 5, "an entry lives for 50 of 200 ms"
    assert vias["hit"] > 50
    assert aisle.commands()["GET"] == vias.total()


def test_a_write_changes_the_database_and_takes_the_entry_away():
    aisle = Aisle(writes=0.3, ttl_ms=0)
    operations = aisle.run(300)
    writes = operations.rows("write")
    assert [fill["version"] for fill in aisle.fills("write")] == list(range(1, len(writes) + 1))
    assert {fill["entry"] for fill in aisle.fills("write")} == {"ok"}
    assert aisle.commands()["DEL"] == len(writes) == aisle.database.rows["i0"].version
    findings = check(aisle.history, ["linearizability", "staleness", "sessions"])
    assert not any(finding.counts for finding in findings.values()), "one client sees what it wrote"


def test_nothing_happens_in_the_database_before_the_history_knows():
    aisle = Aisle(clients=3)
    aisle.run()
    assert aisle.database.rows["i0"].version > 10
    assert aisle.database.unheard == 0


def test_the_moment_of_a_commit_lies_in_the_interval_that_is_recorded():
    aisle = Aisle(clients=3)
    operations = aisle.run()
    for row, fill in zip(operations.rows("write").tolist(), aisle.fills("write"), strict=True):
        assert operations.start[row] <= fill["commit"][0] < fill["commit"][1] < operations.end[row]


def test_without_single_flight_all_who_miss_load_and_with_it_one_does():
    everybody = Aisle(clients=8, writes=0.0, load_ms=10)
    everybody.run()
    assert everybody.measured()["stampede"]["largest"] == 8
    one = Aisle(clients=8, writes=0.0, load_ms=10, single_flight=True)
    one.run()
    assert one.measured()["stampedes"] == 0
    assert one.vias()["flight"] >= 7
    assert one.database.loads.total() < everybody.database.loads.total() / 4
    assert not one.flights, "all have landed"


def test_an_old_load_may_be_put_into_the_cache_after_the_write_that_removed_the_entry():
    aisle = Aisle(clients=4, load_ms=20, ttl_ms=100)
    aisle.run(1_000)
    stale = aisle.measured()["stale"]
    assert stale["reads"] > 50
    assert 10 < stale["max_ms"] < 130, "as long as an entry lives, and its load took"
    finding = check(aisle.history, ["staleness"])["staleness"]
    assert set(finding.metrics["by_answerer"]) == {"entry of the cache"}
    assert finding.metrics["max_ms"] <= stale["max_ms"], "clients can prove less than versions tell"


@pytest.mark.parametrize(("on_write", "longest_ms"), [("set", 5), ("nothing", 60)])
def test_what_a_write_does_to_the_entry_decides_how_old_it_gets(on_write, longest_ms):
    aisle = Aisle(on_write=on_write, writes=0.1)
    aisle.run(500)
    stale = aisle.measured()["stale"]
    assert stale["max_ms"] < longest_ms
    assert (stale["reads"] > 10) == (on_write == "nothing")
    assert aisle.commands()["DEL"] == 0


def test_what_does_not_exist_is_loaded_each_time_unless_that_is_remembered():
    forgetful = Aisle(missing=1.0, writes=0.0)
    forgetful.run()
    assert forgetful.measured()["penetration"] == 1.0
    assert forgetful.commands()["SET"] == 0
    mindful = Aisle(missing=1.0, writes=0.0, negative_ttl_ms=100)
    mindful.run()
    assert mindful.measured()["absent"]["kept_off"] > 50
    assert mindful.database.loads["m0"] <= 3
    assert {mindful.operations.value[row] for row in mindful.operations.rows("read").tolist()} == {None}


def dead():
    cluster = FakeCluster()
    for name in cluster.nodes:
        cluster.kill(name)
    return cluster


def test_without_a_cache_the_database_answers_and_writes_are_acknowledged():
    aisle = Aisle(cluster=dead())
    operations = aisle.run(500)
    assert set(operations.type) == {OK}
    assert set(aisle.vias()) == {"database"}
    assert aisle.measured()["fallbacks"] == aisle.database.loads.total() > 0
    assert {fill["entry"] for fill in aisle.fills("write")} == {"fail"}
    assert all(fill["error"] for fill in [*aisle.fills("read"), *aisle.fills("write")])
    assert check(aisle.history, ["staleness"])["staleness"].counts == {}


def test_without_fallback_a_read_fails_with_the_cache():
    aisle = Aisle(cluster=dead(), fallback=False)
    operations = aisle.run(500)
    assert set(operations.type[operations.rows("read")]) == {FAIL}
    assert aisle.database.loads.total() == 0


@pytest.mark.parametrize(("error", "outcome"), [(Refused("full"), FAIL), (Doubtful("gone"), INFO)])
def test_a_write_is_what_the_database_says(error, outcome):
    aisle = Aisle(clients=2, writes=1.0)
    aisle.database.error = error
    operations = aisle.run(1)
    assert set(operations.type) == {outcome}
    assert len(operations) > 10
    assert aisle.commands()["DEL"] == 0
    assert len(set(operations.process.tolist())) == (len(operations) if outcome == INFO else 2)


@pytest.mark.parametrize("single_flight", [False, True])
def test_a_load_that_fails_fails_the_reads_that_wait_for_it(single_flight):
    aisle = Aisle(clients=4, writes=0.0, single_flight=single_flight, load_ms=5)
    aisle.database.error = Refused("the database is locked")
    operations = aisle.run(100)
    assert set(operations.type) == {FAIL}
    assert {detail["error"] for detail in operations.details.values()} == {"the database is locked"}
    assert aisle.commands()["SET"] == 0


def test_jitter_gives_entries_different_times_and_never_longer_ones():
    aisle = Aisle(writes=0.0, jitter=0.5, keys=30, skew=0.0)
    aisle.run(400)
    times = [fill["ttl_ms"] for fill in aisle.fills("read") if "ttl_ms" in fill]
    assert len(set(times)) > 10
    assert 25 <= min(times) < max(times) <= 50


def test_operations_of_other_workloads_pass_through():
    aisle = Aisle(clients=3, others=["register"])
    operations = aisle.run(500)
    assert set(operations.type) == {OK}
    keys = {operations.key_name(row) for row in range(len(operations))}
    assert {"i0", "k0"} < keys
    findings = check(aisle.history, ["linearizability", "balance"])
    assert not findings["linearizability"].counts
    asked = aisle.commands()
    counted = sum(findings["balance"].metrics["requests"].values())
    assert counted == asked["GET"] + asked["SET"] + asked["DEL"], "every command is a request"


@pytest.mark.parametrize("row", [None, Row(None, 0), Row(41, 3)])
def test_an_entry_says_what_the_database_said(row):
    entry = Entry(row)
    assert entry_of(entry.text(0).encode()) == entry
    assert entry_of(entry.text(100).encode()) == entry


def test_what_no_client_wrote_is_no_entry():
    assert entry_of(None) is None
    for reply in (b"41", b"a:b:", 7, [b"1:2:"]):
        with pytest.raises(Doubtful, match="expected an entry"):
            entry_of(reply)


def test_items_are_asked_for_by_rank_and_some_do_not_exist():
    workload = CacheFill({"keys": 50, "missing": 0.2, "writes": 0.0})
    wanted = Counter(workload.operation(0, n, Stream(word(3, n))).key for n in range(20_000))
    assert wanted["i0"] > wanted["i1"] > wanted["i5"] > wanted["i40"]
    missing = sum(count for key, count in wanted.items() if key.startswith("m"))
    assert 0.18 < missing / wanted.total() < 0.22


def test_sqlite_counts_versions_and_shares_them_between_processes(tmp_path):
    spec = spec_of("sqlite", tmp_path)
    first, second = connect(spec), connect(spec)
    first.create(["i0", "i1"])
    assert second.load("i0") == Row(None, 0)
    assert second.load("m0") is None
    assert [first.store("i0", 41), second.store("i0", 42)] == [1, 2]
    assert first.load("i0") == Row(42, 2)
    with pytest.raises(Refused, match="no item m0"):
        first.store("m0", 1)
    first.close()
    first.close()
    assert second.load("i1") == Row(None, 0)
    with pytest.raises(Refused, match="SQLite"):
        first.load("i0")
    second.close()


def test_tables_of_runs_with_long_names_differ(tmp_path):
    one, other = (spec_of("sqlite", tmp_path / f"{'Ä very long name; ' * 9}-seed{seed}").table for seed in (1, 2))
    assert one != other
    assert re.fullmatch(r"cachequake_[a-z0-9_]{50}", one)


def test_a_database_has_no_password_in_its_name():
    assert wrong("sqlite") is None
    assert wrong("postgresql:///items?host=/run/postgresql") is None
    for url in ("postgresql://me:secret@host/items", "postgresql://host/items?password=secret", "mysql://host/items"):
        reason = wrong(url)
        assert reason is not None
        assert "secret" not in reason


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keys": 0}, "keys must be above 0"),
        ({"on_write": "forget"}, "on_write: 'forget' is none of delete, set, nothing"),
        ({"database": "mysql://x/y"}, "write sqlite, or postgresql://HOST/NAME"),
    ],
)
def test_options_that_no_run_could_use_are_refused_by_the_scenario(options, message):
    with pytest.raises(BadInput, match=message):
        load_scenario("cachefill-stampede", {"workload": {"cachefill": options}})


@pytest.mark.parametrize("route", sorted(set(ROUTES) - {"tracking", "l1", "split"}))
def test_every_route_that_keeps_nothing_itself_can_be_told_what_to_ask(route):
    topologies = {"modulo": "shards", "ring": "shards", "proxy": "proxied", "sentinel": "replication"}
    topology = topologies.get(route, "cluster")
    load_scenario("cachefill-stampede", {"clients": {"route": route}, "cluster": {"topology": topology}, "nemesis": []})


@pytest.mark.parametrize("route", ["tracking", "l1", "split"])
def test_other_routes_are_refused(route):
    overrides = {"clients": {"route": route}, "cluster": {}, "nemesis": []}
    with pytest.raises(BadInput, match="use one of bare, replica, redirect, modulo, ring, proxy, cluster, sentinel"):
        load_scenario("cachefill-stampede", overrides)

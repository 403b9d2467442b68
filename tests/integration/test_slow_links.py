"""Slow links and wrong clocks on real servers: what adds up, what is left, and what becomes of keys that expire."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from clusters import cluster, load, nodes
from isolated import run_isolated

from chaos.deploy import local_kind, namespace, probe
from chaos.deploy.endpoints import Endpoint, Shape
from chaos.deploy.holding import PacketHolder
from chaos.deploy.local import ON_DEMAND
from chaos.deploy.shaping import reason_against
from chaos.deploy.traffic import TrafficControl
from chaos.run import run_scenario
from chaos.scenario import load_scenario
from nemeses.bandwidth import SHARE
from nemeses.system import InjectionFailed
from nemeses.undoing import undo_all

pytestmark = pytest.mark.server

WAYS = pytest.mark.parametrize("way", ["network namespace", "proxy"])
WITHOUT_NAMESPACES = namespace.available()


def _run(way: str, function):
    if way == "proxy":
        return run_isolated(function, "proxy", prefix=[])
    if WITHOUT_NAMESPACES is not None or probe.reasons_against()["delay"] is not None:
        pytest.skip(f"this kernel does not slow links: {WITHOUT_NAMESPACES or probe.reasons_against()['delay']}")
    return run_isolated(function, None)


# What runs inside


def slow_links(isolation):
    """The shortest round trips, in ms, under one delay, two, one again and none; and to another node all the while."""
    with nodes(2, {"cluster-enabled": "no"}, isolation, ON_DEMAND) as deployment:

        def measured(source="c0", destination="n1"):
            return min(deployment.round_trip_ms(source, destination) for _ in range(5))

        told = [measured()]
        first = deployment.delay(["c0"], ["n1"], ms=20, jitter_ms=0)
        told.append(measured())
        second = deployment.delay(["n1"], ["c0", "n2"], ms=30, jitter_ms=0)
        told += [measured(), measured("c1"), measured("c0", "n2"), measured("n2", "n1")]
        deployment.heal(first)
        deployment.heal(first)
        told.append(measured())
        deployment.heal_all()
        deployment.heal(second)
        return [*told, measured()]


def narrow_link(isolation):
    """Milliseconds that 60,000 bytes take there and back: before, at 2 and at 1 Mbit/s one way, and afterwards."""
    with nodes(1, {"cluster-enabled": "no"}, isolation, ON_DEMAND) as deployment:
        told = [deployment.round_trip_ms("c0", "n1", payload=60_000)]
        deployment.limit(["c0"], ["n1"], kbit=2_000)
        told.append(deployment.round_trip_ms("c0", "n1", payload=60_000))
        deployment.limit(["c0"], ["n1"], kbit=1_000)
        told.append(deployment.round_trip_ms("c0", "n1", payload=60_000))
        deployment.heal_all()
        return [*told, deployment.round_trip_ms("c0", "n1", payload=60_000)]


def replicas_get_everything_late(isolation):
    with cluster(1, 1, isolation=isolation, wanted=ON_DEMAND) as (deployment, topology):
        deployment.delay(["n1"], ["n2"], ms=100, jitter_ms=50)
        for number in range(200):
            deployment.call("n1", "SET", f"k{number}", bytes(1_000))
        assert deployment.call("n2", "DBSIZE") < 200
        deployment.wait("the replica has all", lambda: deployment.call("n2", "DBSIZE") == 200)
        deployment.heal_all()
        assert topology.converge(deployment, 20_000) is None


def clock_of_one_node(isolation):
    with nodes(2, {"cluster-enabled": "no"}, isolation, ON_DEMAND) as deployment:

        def reads(node, offset_ms):
            deployment.wait("TIME", lambda: abs(deployment.skew_of(node) - offset_ms) < 50)

        deployment.skew("n1", 60_000)
        reads("n1", 60_000)
        reads("n2", 0)
        deployment.call("n1", "SET", "k", "v", "PX", 30_000)
        assert deployment.call("n1", "PTTL", "k") > 29_000, "the clock was wrong before, and the time to live is right"
        deployment.kill("n1")
        deployment.start("n1")
        load(deployment, "n1")
        reads("n1", 60_000)
        deployment.call("n1", "SET", "k", "v", "PX", 30_000)
        deployment.skew("n1", -60_000)
        reads("n1", -60_000)
        assert deployment.call("n1", "PTTL", "k") > 100_000
        undo_all(deployment)
        reads("n1", 0)
        assert deployment.call("n1", "GET", "k") == b"v"
        deployment.skew("n1", 120_000)
        reads("n1", 120_000)
        assert deployment.call("n1", "GET", "k") is None


def what_was_not_wanted_is_refused(isolation):
    with nodes(1, {"cluster-enabled": "no"}, isolation) as deployment:
        assert not deployment.capabilities & ON_DEMAND
        with pytest.raises(InjectionFailed, match="skew was not asked for"):
            deployment.skew("n1", 5)
        with pytest.raises(InjectionFailed, match="delay was not asked for"):
            deployment.delay(["c0"], ["n1"], ms=5, jitter_ms=0)


def each_way_of_slowing_by_itself():
    """By way: what trying it out said, and whether a second one can be made when the first was closed."""
    ends = {"a": Endpoint("127.0.77.1"), "b": Endpoint("127.0.77.2")}
    for make in (TrafficControl, PacketHolder):
        for _ in range(2):
            with ExitStack() as undo:
                shaper = make(ends)
                undo.callback(shaper.close)
                handle = shaper.shape(["a"], ["b"], Shape(kbit=1_000))
                shaper.shape(["b"], ["a"], Shape(kbit=1_000))
                shaper.heal(handle)
                with pytest.raises(InjectionFailed, match="no node or client 'x'"):
                    shaper.shape(["a"], ["x"], Shape(kbit=1_000))
    return {
        (what, way): reason_against(what, way)
        for what in ("delay", "bandwidth")
        for way in ("traffic control", "NFQUEUE")
    }


@WAYS
def test_delays_add_up_and_concern_nobody_else(way):
    before, one, both, other_client, other_node, of_nodes, second, after = _run(way, slow_links)
    assert one >= 20
    assert both >= 50
    assert second >= 30
    assert of_nodes >= 30
    assert max(before, other_client, other_node, after) < both


@WAYS
def test_the_least_bandwidth_counts(way):
    before, wide, narrow, after = _run(way, narrow_link)
    assert wide >= SHARE * 240
    assert narrow >= SHARE * 480
    assert max(before, after) < wide


@WAYS
def test_replication_over_a_slow_link_is_late_and_complete(way):
    _run(way, replicas_get_everything_late)


@WAYS
def test_the_clock_of_a_server_is_wrong_over_restarts_until_it_is_set_right(way):
    if (reason := local_kind.reason_against("skew")) is not None:
        pytest.skip(reason)
    _run(way, clock_of_one_node)


def test_what_was_not_asked_for_beforehand_is_refused():
    _run("network namespace", what_was_not_wanted_is_refused)


@pytest.mark.skipif(WITHOUT_NAMESPACES is not None, reason=f"no namespaces: {WITHOUT_NAMESPACES}")
def test_each_way_of_slowing_works_or_says_why_not():
    reasons = run_isolated(each_way_of_slowing_by_itself)
    assert all(reason is None or reason.startswith("the kernel does not") for reason in reasons.values()), reasons
    assert None in reasons.values()


def test_entries_outlive_their_time_after_a_failover_from_a_clock_that_is_ahead(tmp_path):
    """And those that were there when the clock jumped are gone too early."""
    if (reason := local_kind.reason_against("skew")) is not None:
        pytest.skip(reason)
    faults = [
        {"fault": "skew", "target": "primary of t0", "offset": "3s", "at": "1s", "for": "3s"},
        {"fault": "failover", "target": "primary of t0", "at": "2s", "for": "300ms"},
    ]
    scenario = load_scenario("clock-skew", {"duration": "5s", "nemesis": faults, "clients.rate": 300})
    result = run_scenario(scenario, seed=7, out=tmp_path).result
    assert result.error is None
    found = result.findings["expiry"]
    assert found.counts["expired-read"] > 0
    assert found.counts["early-expiry"] > 0
    assert found.metrics["max_late_ms"] < 3_100
    assert {name for name, finding in result.findings.items() if finding.counts} == {"expiry"}


def test_entries_keep_their_time_where_clocks_are_right(tmp_path):
    overrides = {"duration": "3s", "nemesis": [], "clients.rate": 300}
    result = run_scenario(load_scenario("clock-skew", overrides), seed=7, out=tmp_path).result
    assert result.claims_verdict == "hold", result.claims
    assert result.findings["expiry"].metrics["checked"] > 1_000

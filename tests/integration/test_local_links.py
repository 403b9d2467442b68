"""Links of a real cluster, cut in the kernel as root and as anybody, and by the proxy."""

from __future__ import annotations

import os

import pytest
from clusters import client, cluster
from isolated import NOBODY, python_for_nobody, run_isolated

from chaos.deploy import namespace
from chaos.topologies.rest import info
from nemeses.system import ReplyError, Unreachable
from nemeses.view import View

pytestmark = pytest.mark.server

BRIEFLY_MS = 300


def _run(way: str, function, *arguments):
    """Run a function in one of the ways a run may be isolated."""
    if way == "proxy":
        return run_isolated(function, *arguments, "proxy", prefix=[])
    if way == "nobody":
        if os.geteuid() != 0:
            pytest.skip("only root can become somebody else")
        python = python_for_nobody()
        if python is None:
            pytest.skip("no Python that a user without rights may run")
        return run_isolated(function, *arguments, None, prefix=_prefix("user"), user=NOBODY, python=python)
    return run_isolated(function, *arguments, None, prefix=_prefix(way))


def _prefix(kind: str) -> list[str]:
    reason = namespace.reason_against(kind)
    if reason is not None:
        pytest.skip(f"no namespaces as {kind}: {reason}")
    return ["unshare", *namespace.KINDS[kind]]


def _best() -> str:
    return next((kind for kind in namespace.KINDS if namespace.reason_against(kind) is None), "proxy")


def _others(deployment, *names):
    return [name for name in deployment.nodes if name not in names]


def _took_over(deployment, replica):
    deployment.wait(f"{replica} takes over", lambda: View.fetch(deployment, replica).primaries().count(replica))


def _reaches(control, node):
    """Whether a client gets an answer from a node, also when that is an error."""
    try:
        control.call(node, "GET", "k", timeout_ms=BRIEFLY_MS)
    except ReplyError:
        return True
    except Unreachable:
        return False
    return True


# What runs inside; "k2" is in a slot of n1 (0 to 5460), "k0" of n2 (5461 to 10922)


def isolate_a_primary_with_a_client(isolation):
    with (
        cluster(isolation=isolation) as (deployment, topology),
        client(deployment, 0) as c0,
        client(deployment, 1) as c1,
    ):
        slot = deployment.call("n1", "CLUSTER", "KEYSLOT", "k2")
        assert View.fetch(deployment, "n1").owner(slot) == "n1"
        c0.call("n1", "SET", "k2", "before")
        c1.call("n1", "GET", "k2")
        inside, outside = ["n1", "c0"], [*_others(deployment, "n1"), "c1", "c2"]
        handles = [deployment.cut(inside, outside), deployment.cut(outside, inside)]
        assert c0.call("n1", "SET", "k2", "written to the primary that is cut off") == b"OK"
        assert not _reaches(c1, "n1")
        assert not _reaches(c0, "n2")
        assert _reaches(c1, "n2")
        _took_over(deployment, "n4")
        assert View.fetch(deployment, "n4").row("n1").failing
        assert View.fetch(deployment, "n1").owner(slot) == "n1", "n1 does not know that it was deposed"
        assert topology.converge(deployment, 100) is not None
        for handle in handles:
            deployment.heal(handle)
        c0.close()
        c1.close()
        assert topology.converge(deployment, 20_000) is None
        assert View.fetch(deployment, "n1").owner(slot) == "n4"
        assert deployment.call("n4", "GET", "k2") == b"before"
        assert _reaches(c1, "n1")
        return deployment.isolation


def cut_one_way(isolation):
    with cluster(isolation=isolation) as (deployment, topology):
        deployment.cut(["n1"], _others(deployment, "n1"))
        _took_over(deployment, "n4")
        deployment.heal_all()
        assert topology.converge(deployment, 20_000) is None
        deployment.cut(_others(deployment, "n2"), ["n2"])
        _took_over(deployment, "n5")
        deployment.heal_all()
        assert topology.converge(deployment, 20_000) is None
        assert topology.current_replicas(deployment) == {"n3": ["n6"], "n4": ["n1"], "n5": ["n2"]}


def cut_only_the_bus(isolation):
    with cluster(isolation=isolation) as (deployment, topology), client(deployment, 0) as c0:
        others = [*_others(deployment, "n1"), "c0"]
        for source, destination in ((["n1"], others), (others, ["n1"])):
            deployment.cut(source, destination, port="bus")
        assert _reaches(c0, "n1")
        _took_over(deployment, "n4")
        assert _reaches(c0, "n1")
        c0.close()
        deployment.heal_all()
        assert topology.converge(deployment, 20_000) is None


def cut_only_the_data(isolation):
    with cluster(isolation=isolation, config={"repl-timeout": 2}) as (deployment, topology):
        deployment.cut(["n1"], ["n4"], port="data")
        deployment.cut(["n4"], ["n1"], port="data")

        def link_down():
            return info(deployment, "n4", "replication")["master_link_status"] == "down"

        deployment.wait("the replica's link goes down", link_down, 20_000)
        view = View.fetch(deployment, "n4")
        assert view.myself.primary == "n1"
        assert view.row("n1").link_up
        assert not view.row("n1").failing
        assert topology.converge(deployment, 300) is not None
        deployment.heal_all()
        assert topology.converge(deployment, 20_000) is None


def cut_a_client_from_a_node(isolation):
    with (
        cluster(1, 0, isolation=isolation) as (deployment, _),
        client(deployment, 0) as c0,
        client(deployment, 1) as c1,
    ):
        assert _reaches(c0, "n1")
        both = [deployment.cut(["c0"], ["n1"]), deployment.cut(["c0"], ["n1"]), deployment.cut(["n1"], ["c0"])]
        assert not _reaches(c0, "n1")
        assert not _reaches(c0, "n1"), "a new connection is cut as well"
        assert _reaches(c1, "n1")
        deployment.heal(both[2])
        deployment.heal(both[0])
        deployment.heal(both[0])
        assert not _reaches(c0, "n1"), "one of two cuts is left"
        deployment.heal(both[1])
        deployment.wait("the client gets through", lambda: _reaches(c0, "n1"))


def write_into_a_cut(isolation):
    """What a client sent before and after its connection was cut, and gave up; what is left when all is at rest."""
    with cluster(1, 0, isolation=isolation) as (deployment, topology):
        with client(deployment, 0) as old, client(deployment, 1) as new:
            old.call("n1", "PING")
            handle = deployment.cut(["c0", "c1"], ["n1"])
            for control, key in ((old, "sent on an open connection"), (new, "sent on a new connection")):
                with pytest.raises(Unreachable):
                    control.call("n1", "SET", key, 1, timeout_ms=BRIEFLY_MS)
        assert deployment.call("n1", "DBSIZE") == 0
        deployment.heal(handle)
        assert topology.converge(deployment, 60_000) is None
        return topology.holds(deployment, ["*"])["n1"]


def migrate_keys(isolation):
    with cluster(2, 0, isolation=isolation) as (deployment, _):
        ids = {name: deployment.call(name, "CLUSTER", "MYID") for name in deployment.nodes}
        slot = deployment.call("n1", "CLUSTER", "KEYSLOT", "k2")
        deployment.call("n1", "SET", "k2", 1)
        deployment.call("n2", "CLUSTER", "SETSLOT", slot, "IMPORTING", ids["n1"])
        deployment.call("n1", "CLUSTER", "SETSLOT", slot, "MIGRATING", ids["n2"])
        assert View.fetch(deployment, "n1").myself.migrating == {slot: "n2"}
        assert View.fetch(deployment, "n2").myself.importing == {slot: "n1"}
        target = deployment.nodes["n2"]
        migrate = ("MIGRATE", target.host, target.port, "", 0, 300, "REPLACE", "KEYS", "k2")
        handle = deployment.cut(["n1"], ["n2"], port="data")
        with pytest.raises(ReplyError, match="IOERR"):
            deployment.call("n1", *migrate, timeout_ms=5_000)
        deployment.heal(handle)
        assert deployment.call("n1", *migrate, timeout_ms=5_000) == b"OK"
        assert deployment.call("n2", "CLUSTER", "COUNTKEYSINSLOT", slot) == 1


@pytest.mark.parametrize("way", ["root", "user", "nobody", "proxy"])
def test_an_isolated_primary_serves_its_side_until_it_is_deposed(way):
    expected = "proxy" if way == "proxy" else "network namespace"
    assert _run(way, isolate_a_primary_with_a_client) == expected


WAYS = pytest.mark.parametrize("way", sorted({_best(), "proxy"}))


@WAYS
def test_a_cut_in_one_direction_is_enough_for_a_failover(way):
    _run(way, cut_one_way)


@WAYS
def test_a_cut_bus_ends_in_a_failover_while_clients_get_through(way):
    _run(way, cut_only_the_bus)


@WAYS
def test_a_cut_data_port_leaves_the_cluster_as_it_is(way):
    _run(way, cut_only_the_data)


@WAYS
def test_cuts_between_a_client_and_a_node_add_up(way):
    _run(way, cut_a_client_from_a_node)


@WAYS
def test_migrate_which_binds_no_address_is_cut_too_and_works_without_a_cut(way):
    _run(way, migrate_keys)


@WAYS
def test_the_end_of_a_run_waits_for_what_a_network_would_still_deliver(way):
    assert _run(way, write_into_a_cut) == ["sent on an open connection"]

"""The topology of shards: what it refuses, who its members are, and how clients hear of others."""

import io
import json
import os
import sys

import pytest

from chaos.drive import Orders
from chaos.errors import BadInput
from chaos.plan import make_plan
from chaos.scenario import load_scenario
from chaos.topologies import ClusterSpec, make_topology
from chaos.topologies.base import Shared
from chaos.topologies.shards import Members

FOUR, FIVE = ["n1", "n2", "n3", "n4"], ["n1", "n2", "n3", "n4", "n5"]


def shards(**options):
    given = {"spare": 1, "virtual_nodes": 160, **options}
    return make_topology(ClusterSpec(topology="shards", primaries=4, replicas=0, options=given))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"cluster.replicas": 1}, "topology shards has none"),
        ({"cluster.virtual_nodes": 0}, "at least one point"),
        ({"clients.route": "bare"}, "does not lead to topology shards"),
        ({"nemesis": [{"fault": "resize", "add": 2}]}, "write `spare: 2`"),
        ({"nemesis": [{"fault": "migrate"}]}, "fault migrate needs slots"),
        ({"nemesis": [{"fault": "kill", "target": "replica of k0"}]}, "shards have no replicas"),
    ],
)
def test_what_shards_cannot_be_is_refused_up_front(overrides, message):
    with pytest.raises(BadInput, match=message):
        load_scenario("shards-resize-ring", overrides)


def test_who_follows_sentinels_has_nothing_to_resize():
    with pytest.raises(BadInput, match="fault resize needs resize"):
        load_scenario("steady", {"cluster": {"topology": "replication"}, "nemesis": [{"fault": "resize"}]})


def test_a_cluster_without_a_spare_node_has_none_to_join():
    with pytest.raises(BadInput, match="write `spare: 1`"):
        load_scenario("steady", {"nemesis": [{"fault": "resize"}]})


def test_spare_nodes_run_from_the_start_and_are_no_members():
    topology = shards(spare=2)
    assert [member.name for member in topology.members] == [*FIVE, "n6"]
    assert topology.groups == {"shards": FOUR, "spares": ["n5", "n6"]}
    assert topology.initial_map() == []


@pytest.mark.parametrize("route", ["ring", "modulo"])
def test_the_primary_of_a_key_is_where_clients_of_the_route_look_for_it(route):
    topology = shards()
    topology.shared(route, lambda nodes: {"0": 1})
    owner = topology.owner(None, {})
    for key in ("k0", "k1", "{g0}:a"):
        assert topology.target(f"primary of {key}", route) == owner(key)
    assert topology.target("n3", route) == "n3"


def test_who_owns_a_key_follows_what_the_clients_were_told():
    topology = shards()
    assert isinstance(topology, Shared)
    members = topology.shared("ring", lambda nodes: {"0": 1})
    owner = topology.owner(None, {})
    before = {owner(f"k{number}") for number in range(200)}
    members.change(FIVE)
    assert (before, {owner(f"k{number}") for number in range(200)}) == (set(FOUR), set(FIVE))


def test_what_no_client_heard_has_not_happened():
    members = Members(FOUR, ["n5"], lambda nodes: {})
    assert members.change(FIVE) == {}
    assert members.nodes == FOUR


def test_the_plan_names_the_node_of_a_key_the_same_way_for_every_seed():
    targets = {make_plan(load_scenario("shards-kill"), seed).faults[0].target for seed in range(5)}
    assert len(targets) == 1
    assert targets < set(FOUR)


class Told:
    """A crew that remembers what it was told."""

    def __init__(self):
        self.lists = []

    def adopt(self, nodes):
        self.lists.append(nodes)


def test_a_driver_has_its_clients_do_what_it_is_told_and_says_when_they_did(monkeypatch):
    said = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", type("Out", (), {"buffer": said}))
    crew = Told()
    orders = Orders(crew, lambda: 5, iter([["nodes", *FIVE], ["nonsense"], ["nodes"], ["nodes", *FOUR]]))
    while not orders.stopped():
        os.sched_yield()
    assert crew.lists == [FIVE, FOUR]
    lines = [json.loads(line) for line in said.getvalue().splitlines()]
    assert lines == [{"nodes": FIVE, "at": 5}, {"nodes": FOUR, "at": 5}]

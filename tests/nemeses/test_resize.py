"""Nodes that join and leave: who is told what, and what is undone."""

from collections import Counter
from itertools import accumulate

import pytest

from nemeses.fault import PlannedFault, Strike
from nemeses.resize import ResizeFault, asked, shares
from nemeses.stream import Stream
from nemeses.system import InjectionFailed, WaitTimeout


class Members:
    """Four shards and a spare; remembers what clients were told."""

    def __init__(self, at_work=True):
        self.nodes, self.spares, self.told = ["n1", "n2", "n3", "n4"], ["n5"], []
        self.at_work = at_work

    def change(self, nodes):
        self.told.append(list(nodes))
        if self.at_work:
            self.nodes = list(nodes)
        return {"0": 7} if self.at_work else {}


class Five:
    """As much of a system as the fault asks for."""

    nodes = dict.fromkeys(["n1", "n2", "n3", "n4", "n5"])

    def now_ns(self):
        return 3_000


def strike(members, target=("n1", "n2", "n3", "n4", "n5"), seed=7, **options):
    steps = []
    planned = PlannedFault(
        0, "resize", "all", 0, 1_000, seed, {"add": 0, "remove": 0, "method": "auto", "batch": 20, **options}
    )
    made = Strike(Five(), planned, list(target), 4, Stream(seed), lambda *step: steps.append(step), membership=members)
    return made, steps


def test_one_joins_unless_said_otherwise():
    assert asked({"add": 0, "remove": 0}) == (1, 0)
    assert asked({"add": 0, "remove": 2}) == (0, 2)
    assert asked({}) == (1, 0)


def test_a_spare_node_joins_and_leaves_again():
    members = Members()
    made, steps = strike(members)
    evidence = ResizeFault().inject(made)
    assert made.nodes == ["n5"]
    assert (evidence["from"], evidence["to"]) == (["n1", "n2", "n3", "n4"], ["n1", "n2", "n3", "n4", "n5"])
    assert evidence["heard_ns"] == {"0": 7}
    back = ResizeFault().heal(made)
    assert back["to"] == members.nodes == ["n1", "n2", "n3", "n4"]
    assert [name for name, _ in steps] == ["told", "told"]
    assert ResizeFault().heal(made) == {}, "there is nothing left to undo"
    assert len(members.told) == 2


def test_one_of_the_target_leaves_and_takes_its_old_place_again():
    members = Members()
    made, _ = strike(members, target=["n2"], remove=1)
    assert ResizeFault().inject(made)["to"] == ["n1", "n3", "n4"]
    assert ResizeFault().heal(made)["to"] == ["n1", "n2", "n3", "n4"]


def test_who_leaves_is_drawn_from_the_seed():
    def left(seed):
        made, _ = strike(Members(), seed=seed, remove=1)
        ResizeFault().inject(made)
        return made.nodes[0]

    assert [left(seed) for seed in range(20)] == [left(seed) for seed in range(20)]
    assert {left(seed) for seed in range(40)} == {"n1", "n2", "n3", "n4"}


def test_two_resizes_each_undo_only_their_own():
    members = Members()
    one, _ = strike(members, add=1)
    two, _ = strike(members, target=["n3"], remove=1)
    ResizeFault().inject(one)
    ResizeFault().inject(two)
    assert members.nodes == ["n1", "n2", "n4", "n5"]
    ResizeFault().heal(one)
    assert members.nodes == ["n1", "n2", "n4"]
    ResizeFault().heal(two)
    assert members.nodes == ["n1", "n2", "n3", "n4"]


@pytest.mark.parametrize(
    ("options", "target", "reason"),
    [
        ({"add": 2}, ["n1"], "2 nodes cannot join: spare are n5"),
        ({"remove": 1}, ["n5"], "of the target none are members"),
        ({"remove": 4}, ["n1", "n2", "n3", "n4"], "no node would be left"),
    ],
)
def test_what_cannot_be_done_fails_and_tells_nobody(options, target, reason):
    members = Members()
    made, _ = strike(members, target=target, **options)
    with pytest.raises(InjectionFailed, match=reason):
        ResizeFault().inject(made)
    assert members.told == []
    assert ResizeFault().heal(made) == {}


@pytest.mark.parametrize(
    ("owned", "after", "moved"),
    [
        ({"n1": 4096, "n2": 4096, "n3": 4096, "n4": 4096, "n5": 0}, ["n1", "n2", "n3", "n4", "n5"], 3276),
        ({"n1": 4096, "n2": 4096, "n3": 4096, "n4": 4096}, ["n1", "n3", "n4"], 4096),
        ({"n1": 16384, "n2": 0}, ["n1", "n2"], 8192),
        ({"n1": 8192, "n2": 8192, "n3": 0}, ["n2", "n3"], 8192),
    ],
)
def test_a_cluster_moves_as_few_slots_as_make_the_shares_even(owned, after, moved):
    ends = list(accumulate(owned.values()))
    slots = {node: range(end - count, end) for (node, count), end in zip(owned.items(), ends, strict=True)}
    owner = {slot: node for node, mine in slots.items() for slot in mine}
    moves = shares(slots, after)
    assert sum(len(move.slots) for move in moves) == moved
    for move in moves:
        assert {owner[slot] for slot in move.slots} == {move.source}
        owner.update(dict.fromkeys(move.slots, move.target))
    counts = Counter(owner.values())
    assert set(counts) == set(after)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len(owner) == 16384


def test_clients_that_have_ended_keep_the_list_they_had():
    members = Members()
    made, steps = strike(members)
    ResizeFault().inject(made)
    members.at_work = False
    evidence = ResizeFault().heal(made)
    assert evidence["from"] == evidence["to"] == members.nodes == ["n1", "n2", "n3", "n4", "n5"]
    assert len(steps) == 1


def test_a_change_that_was_not_heard_in_time_is_undone_the_right_way_round():
    class Deaf(Members):
        def change(self, nodes):
            heard = super().change(nodes)
            if len(self.told) < 3:
                raise WaitTimeout("client processes 0 did not take the list of nodes up in time")
            return heard

    members = Deaf()
    made, _ = strike(members)
    with pytest.raises(WaitTimeout):
        ResizeFault().inject(made)
    with pytest.raises(WaitTimeout):
        ResizeFault().heal(made)
    ResizeFault().heal(made)
    assert members.told[1:] == [["n1", "n2", "n3", "n4"]] * 2

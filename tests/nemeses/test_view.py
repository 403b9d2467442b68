"""CLUSTER NODES, read into rows."""

import pytest

from nemeses.system import Node, ReplyError
from nemeses.view import View, agreed, parse

NODES = {f"n{n}": Node(f"n{n}", f"127.0.77.{n}", 6379, 16379) for n in range(1, 5)}
A, B, C, D, GONE = ("a" * 40, "b" * 40, "c" * 40, "d" * 40, "e" * 40)
TEXT = f"""\
{A} 127.0.77.1:6379@16379,,shard-id=1 myself,master - 0 0 1 connected 0-99 101 [7->-{B}] [200-<-{GONE}]
{B} 127.0.77.2:6379@16379,host master,fail? - 1 2 2 disconnected 102-16383
{C} 127.0.77.3:6379@16379 slave {A} 0 3 1 connected
{D} :0@0 master,noaddr - 0 0 0 disconnected
{GONE} 127.0.0.1:9@19 handshake - 0 0 0 disconnected
"""


class Canned:
    """A system whose nodes answer CLUSTER NODES with a given text."""

    nodes = NODES

    def __init__(self, texts):
        self.texts = texts

    def call(self, node, *arguments, timeout_ms=1000):
        assert arguments == ("CLUSTER", "NODES")
        return self.texts[node].encode()


def view(text=TEXT):
    return View("n1", parse(text, NODES, "n1"))


def test_rows_carry_names_flags_and_links():
    assert [row.name for row in view().rows] == ["n1", "n2", "n3", D, "127.0.0.1:9"]
    assert view().myself.name == "n1"
    assert view().row("n2").flags == {"master", "fail?"}
    assert view().row("n2").failing
    assert not view().row("n2").link_up
    assert view().row("n3").primary == "n1"
    assert not view().row("n3").is_primary
    assert view().knows("n3")
    assert not view().knows("n4")


def test_a_node_that_met_no_other_knows_no_address_of_its_own():
    assert view(f"{A} :6379@16379 myself,master - 0 0 1 connected 0-16383").primaries() == ["n1"]


def test_slots_and_open_slots():
    row = view().myself
    assert row.slots == [(0, 99), (101, 101)]
    assert row.migrating == {7: "n2"}
    assert row.importing == {200: "127.0.0.1:9"}
    assert row.epoch == 1


def test_who_owns_what():
    assert view().owner(99) == "n1"
    assert view().owner(100) is None
    assert view().owner(16383) == "n2"
    assert view().primaries() == ["n1", "n2"]
    assert view().replicas("n1") == ["n3"]
    assert view().replicas("n2") == []


def test_an_open_slot_from_an_unknown_node_keeps_its_id():
    text = f"{A} 127.0.77.1:6379@1 myself,master - 0 0 1 connected [5-<-{GONE}]"
    assert view(text).myself.importing == {5: GONE}


def test_neighbouring_ranges_of_one_owner_are_joined():
    text = f"{A} 127.0.77.1:6379@1 myself,master - 0 0 1 connected 0-1 2-3 5"
    assert view(text).owners() == [(0, 3, "n1"), (5, 5, "n1")]


def test_agreement_compares_owners_and_nothing_else():
    other = TEXT.replace("myself,", "").replace("master,fail?", "myself,master").replace("disconnected", "connected")
    assert agreed(Canned({"n1": TEXT, "n2": other}), ["n1", "n2"])
    assert not agreed(Canned({"n1": TEXT, "n2": other.replace("0-99", "0-98")}), ["n1", "n2"])


@pytest.mark.parametrize("text", ["OK", "a b c d e f g"])
def test_another_text_is_refused(text):
    with pytest.raises(ReplyError, match="not a line of CLUSTER NODES"):
        parse(text, NODES, "n1")


def test_a_view_without_myself_says_whose_it_is():
    with pytest.raises(ReplyError, match="CLUSTER NODES of n1 has no line flagged myself"):
        _ = view(f"{C} 127.0.77.3:6379@16379 slave {A} 0 3 1 connected").myself

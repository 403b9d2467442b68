"""Which rules a cut needs, and which are left when cuts overlap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.deploy.endpoints import Endpoint, links
from chaos.deploy.links import UNBOUND, Rule, Rules, rules_for
from chaos.deploy.relay import STRANGER, Cuts
from nemeses.system import InjectionFailed

A, B = Endpoint("127.0.77.1", 6379, 16379), Endpoint("127.0.77.2", 6379, 16379)
CLIENT = Endpoint("127.0.88.1")
KNOWN = {"n1": A, "n2": B, "c0": CLIENT}


def test_a_cut_between_nodes_covers_what_they_send_without_binding():
    assert rules_for(A, B, "all") == {
        Rule(A.address, B.address),
        Rule(UNBOUND, B.address),
        Rule(A.address, UNBOUND),
    }


def test_a_cut_of_one_port_covers_dialling_it_and_answering_from_it():
    rules = rules_for(A, B, "bus")
    assert {rule for rule in rules if UNBOUND not in rule} == {
        Rule(A.address, B.address, destination_port=16379),
        Rule(A.address, B.address, source_port=16379),
    }
    assert Rule(UNBOUND, B.address, destination_port=16379) in rules
    assert all(rule.source_port or rule.destination_port for rule in rules)


def test_clients_bind_and_listen_on_nothing():
    assert rules_for(CLIENT, A, "all") == {Rule(CLIENT.address, A.address)}
    assert rules_for(CLIENT, A, "data") == {Rule(CLIENT.address, A.address, destination_port=6379)}
    assert rules_for(A, CLIENT, "data") == {Rule(A.address, CLIENT.address, source_port=6379)}


def test_links_are_named_and_lead_elsewhere():
    assert links(["n1", "c0"], ["n1", "n2"], KNOWN) == {("n1", "n2"), ("c0", "n1"), ("c0", "n2")}
    with pytest.raises(InjectionFailed, match="no node or client 'n9'"):
        links(["n1"], ["n9"], KNOWN)
    with pytest.raises(InjectionFailed, match=r"no link from \['n1'\] to \['n1'\]"):
        links(["n1"], ["n1"], KNOWN)


def test_an_unknown_handle_changes_nothing():
    rules = Rules()
    handle, _ = rules.add({Rule("a", "b")})
    assert rules.remove(handle) == {Rule("a", "b")}
    assert rules.remove(handle) == set()
    assert rules.remove("cut-99") == set()


RULES = st.sets(st.sampled_from([Rule("a", "b"), Rule("b", "a"), Rule("a", "c"), Rule("a", "b", 1)]), min_size=1)


@given(st.lists(st.one_of(RULES, st.integers(1, 6)), max_size=15))
def test_the_kernel_has_exactly_the_rules_of_the_cuts_that_stand(steps):
    """A set is a cut, a number undoes the cut made as that number."""
    rules, kernel, standing = Rules(), set(), {}
    for step in steps:
        if isinstance(step, set):
            handle, new = rules.add(step)
            assert not new & kernel, "the kernel refuses a rule twice"
            kernel |= new
            standing[handle] = step
        else:
            old = rules.remove(f"cut-{step}")
            assert old <= kernel
            kernel -= old
            standing.pop(f"cut-{step}", None)
        assert kernel == set().union(*standing.values())


def test_the_proxy_takes_a_stranger_for_either_node_of_a_cut():
    cuts = Cuts(["n1", "n2", "n3"])
    cuts.set([["n1", "n2", "data"], ["c0", "n3", "all"]])
    assert cuts.block("n1", "n2", "data")
    assert not cuts.block("n1", "n2", "bus")
    assert not cuts.block("n2", "n1", "data")
    assert cuts.block("c0", "n3", "data")
    assert cuts.block(STRANGER, "n2", "data")
    assert cuts.block("n1", STRANGER, "data")
    assert not cuts.block(STRANGER, "n3", "data")
    cuts.set([])
    assert not cuts.block("n1", "n2", "data")

"""The nodes at which cycles are looked for are few, and no cycle has another."""

from __future__ import annotations

import random

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checkers.events import NEVER
from checkers.transactions.walks import matrix, path
from checkers.transactions.where import ROUNDS, suspected

Edges = list[tuple[int, int]]


def nodes(times: list[tuple[int, int]], extra: list[int], edges: Edges) -> set[int]:
    """What is suspected."""
    start, end = np.array(times, np.int64).reshape(-1, 2).T
    source, target = np.array(edges, np.int64).reshape(-1, 2).T
    return set(np.flatnonzero(suspected(start, end, np.array(extra, np.int64), source, target)).tolist())


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[tuple[int, int]], list[int], Edges]:
    """Transactions in time, some without an end, extra nodes, and edges between any two of all these."""
    starts = draw(st.lists(st.integers(0, 9), min_size=1, max_size=7))
    times = [(start, draw(st.sampled_from([start, start + 1, start + 3, NEVER]))) for start in starts]
    extra = draw(st.lists(st.integers(0, len(times) - 1), max_size=3))
    node = st.integers(0, len(times) + len(extra) - 1)
    edges = draw(st.lists(st.tuples(node, node).filter(lambda edge: edge[0] != edge[1]), max_size=14))
    return times, extra, edges


@settings(max_examples=500, deadline=None)
@given(graphs())
def test_no_cycle_has_a_node_that_is_not_suspected(made: tuple[list[tuple[int, int]], list[int], Edges]) -> None:
    times, extra, edges = made
    graph: nx.DiGraph[int] = nx.DiGraph(edges)
    numbered = list(enumerate(times))
    graph.add_edges_from((u, v) for u, (_, end) in numbered for v, (start, _) in numbered if end < start)
    on_cycles = {node for found in nx.strongly_connected_components(graph) if len(found) > 1 for node in found}
    assert on_cycles <= nodes(times, extra, edges)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6))
def test_nothing_is_suspected_where_all_happened_in_one_order_in_time(seed: int) -> None:
    rng = random.Random(seed)
    moments = sorted(rng.sample(range(1000), 40))
    times = [(moment - rng.randrange(60), rng.choice([moment + rng.randrange(60), NEVER])) for moment in moments]
    edges = [tuple(sorted(rng.sample(range(len(times)), 2))) for _ in range(300)]
    assert nodes(times, [], edges) == set()


def test_only_the_neighbourhood_of_a_contradiction_is_suspected() -> None:
    times = [(10 * number, 10 * number + 25) for number in range(1000)]
    forward = [(number, number + 1) for number in range(999)]
    assert nodes(times, [], forward) == set()
    assert nodes(times, [], [*forward, (501, 500)]) == {500, 501}
    back = nodes(times, [], [*forward, (520, 500)])
    assert back >= set(range(500, 521))
    assert len(back) < 30


def between_suspects(times: list[tuple[int, int]], extra: list[int], edges: Edges) -> set[int] | None:
    """The nodes between the ends of suspect edges, pushed one by one; None if some push each other for ever.

    A moment has room for a thousand nodes.
    """
    position = [1000 * start for start, _ in times] + [1000 * times[txn][0] - 1 for txn in extra]
    latest = [1000 * end + 999 for _, end in times] + [10**9] * len(extra)
    for _ in range(ROUNDS):
        before = list(position)
        for u, v in edges:
            position[v] = max(position[v], min(position[u] + 1, latest[v]))
    if position != before:
        return None
    suspect = [(position[v], position[u]) for u, v in edges if position[v] <= position[u]]
    return {node for node, at in enumerate(position) if any(low <= at <= high for low, high in suspect)}


@pytest.mark.parametrize("seed", range(4))
def test_suspected_is_what_lies_between_the_ends_of_edges_that_lead_back(seed: int) -> None:
    rng, compared = random.Random(seed), 0
    for _ in range(100):
        starts = [rng.randrange(3, 12) for _ in range(rng.randint(1, 9))]
        times = [(start, rng.choice([start, start + 1, start + 3, NEVER])) for start in starts]
        extra = [rng.randrange(len(times)) for _ in range(rng.randrange(4))]
        count = len(times) + len(extra)
        pairs = [(rng.randrange(count), rng.randrange(count)) for _ in range(rng.randrange(1, 12))]
        edges = [(u, v) for u, v in pairs if u != v]
        wanted = between_suspects(times, extra, edges)
        assert wanted is None or nodes(times, extra, edges) == wanted, (times, extra, edges)
        compared += wanted is not None
    assert compared > 50


def test_a_chain_within_one_moment_is_followed_to_its_end() -> None:
    chain = [(number, number + 1) for number in range(40)]
    assert nodes([(0, 0)] * 41, [], chain) == set()
    assert nodes([(0, 0)] * 41, [], [*chain, (40, 38)]) == {38, 39, 40}
    long = [(0, 0)] * (ROUNDS + 3)
    late = nodes(long, [], [(number, number + 1) for number in range(len(long) - 1)])
    assert late == {ROUNDS, ROUNDS + 1, ROUNDS + 2}


def test_a_path_leads_back_from_its_end_and_there_need_be_none() -> None:
    edges = matrix(4, np.array([0, 1]), np.array([1, 2]))
    found = path(edges, 0, 2)
    assert found is not None
    assert found.tolist() == [2, 1, 0]
    assert path(edges, 2, 0) is None
    itself = path(edges, 3, 3)
    assert itself is not None
    assert itself.tolist() == [3]


def test_when_the_run_began_makes_no_difference() -> None:
    times = [(0, 3), (1, 2), (4, NEVER)]
    later = [(start + 1000, end if end == NEVER else end + 1000) for start, end in times]
    assert nodes(times, [], [(1, 0), (0, 2)]) == nodes(later, [], [(1, 0), (0, 2)]) == set()
    assert nodes(times, [], [(2, 1)]) == nodes(later, [], [(2, 1)]) == {1, 2}

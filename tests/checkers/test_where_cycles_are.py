"""The nodes at which cycles are looked for are few, and no cycle has another."""

from __future__ import annotations

import random

import networkx as nx
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from checkers.history import NEVER
from checkers.transactions.where import suspected

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

"""Components and paths of graphs: what SciPy and networkx do for the search of cycles.

Importing the two takes most of a second, and most histories have no part in which a cycle could be: so they are
imported where something is asked of them, and a program that never asks starts the quicker.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from checkers.flat import Ints

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    Matrix = csr_array[Any, tuple[int, int]]

Node = TypeVar("Node")


def matrix(nodes: int, source: Ints, target: Ints) -> Matrix:
    """Edges among nodes 0 to `nodes` - 1 as a sparse matrix, each once.

    SciPy's search for components never ends on an edge given twice.
    """
    from scipy.sparse import coo_array

    return coo_array((np.ones(len(source)), (source, target)), shape=(nodes, nodes)).tocsr()


def components(edges: Matrix) -> Ints:
    """Number of the strongly connected component of each node."""
    from scipy.sparse.csgraph import connected_components

    return np.asarray(connected_components(edges, connection="strong")[1], np.int64)


def path(edges: Matrix, start: int, end: int) -> Ints | None:
    """The nodes of a path with the fewest edges, from its end to its start; None where there is none."""
    from scipy.sparse.csgraph import breadth_first_order

    _, before = breadth_first_order(edges, start, return_predecessors=True)
    if end != start and before[end] < 0:
        return None
    nodes = [end]
    while nodes[-1] != start:
        nodes.append(int(before[nodes[-1]]))
    return np.array(nodes)


class Ways(Generic[Node]):
    """A small graph of any nodes, asked for many paths."""

    def __init__(self, edges: Iterable[tuple[Node, Node]]) -> None:
        from networkx import DiGraph

        self._graph: DiGraph[Node] = DiGraph(list(edges))

    def shortest(self, start: Node, end: Node) -> list[Node] | None:
        """The nodes of a path with the fewest edges, or None where there is none."""
        from networkx import NetworkXNoPath, shortest_path

        if start not in self._graph or end not in self._graph:
            return None
        try:
            return list(shortest_path(self._graph, start, end))
        except NetworkXNoPath:
            return None

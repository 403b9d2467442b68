"""Cycles: transactions each of which must come before the next, and the last before the first.

Kinds follow Adya ("Weak consistency", 1999) and Cerone and Gotsman ("Analysing snapshot isolation", 2018), by how
many anti-dependencies (rw) a cycle has:

=============  ==================================================
G0             ww only
G1c            ww and wr, at least one wr
G-single       exactly one rw
G-nonadjacent  several rw, none directly behind another
G2-item        several rw, two of them one behind the other
=============  ==================================================

`-process` is added where a client's own order, `-realtime` where the order of time is part of the cycle. Cycles are
looked for from the strongest accusation to the weakest; what a component already proves is not reported again in a
weaker form. Contradicting pairs of transactions are found all at once in NumPy; longer cycles by networkx in their
strongly connected component, or in a part of it where it is large.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from checkers.transactions.graph import LINK, PROCESS, REALTIME, RW, WR, WW, Graph
from checkers.transactions.micro import Flags, Ints, Transactions
from checkers.transactions.models import dominates
from checkers.transactions.walks import Ways, matrix, path

Relation = tuple[int, int, int]
"""Transaction, kind of edge, the transaction that comes after it."""

EXTENTS = (("", ()), ("-process", (PROCESS,)), ("-realtime", (PROCESS, REALTIME)))
BASES = (("G0", (WW,)), ("G1c", (WW, WR)), ("G-single", (WW, WR, RW)))
SMALL = 100
"""Transactions of a component that networkx searches as a whole."""
SEARCHED = 500
"""Components of one sort that are searched; the others are counted only."""
EFFORT = 20_000_000
"""Edges that may be walked to narrow one large component down."""

_RANK = {
    base + extent: rank
    for rank, (extent, base) in enumerate(
        (extent, base) for extent, _ in EXTENTS for base in ("G0", "G1c", "G-single", "G-nonadjacent", "G2-item")
    )
}
"""Kinds from the strongest accusation to the weakest."""
_LIGHTEST = {WW: 0, WR: 1, PROCESS: 2, REALTIME: 3, RW: 4}
"""Which of several edges between two transactions a cycle takes: the one that proves most."""


@dataclass(frozen=True)
class Cycle:
    """Transactions each before the next, and the last before the first."""

    kind: str
    relations: tuple[Relation, ...]


@dataclass
class Found:
    """All cycles that were found, and what was not looked at."""

    cycles: list[Cycle] = field(default_factory=list)
    more: dict[str, int] = field(default_factory=dict)
    """Pairs counted but not listed, by kind."""
    components: int = 0
    """Strongly connected components of the whole graph."""
    unsearched: int = 0
    """Components that were not searched, because many others were."""


def classify(kinds: list[int]) -> str:
    """The name of a cycle by the kinds of its edges, in order."""
    extent = "-realtime" if REALTIME in kinds else "-process" if PROCESS in kinds else ""
    anti = kinds.count(RW)
    if anti == 0:
        return ("G1c" if WR in kinds else "G0") + extent
    if anti == 1:
        return "G-single" + extent
    adjacent = any(a == b == RW for a, b in pairwise([*kinds, kinds[0]]))
    return ("G2-item" if adjacent else "G-nonadjacent") + extent


def find(graph: Graph, transactions: Transactions, listed: int) -> Found:
    """The cycles of a graph: at most `listed` pairs of each kind, and one of each kind per component."""
    found = Found()
    knots, labels = graph.knots()
    if not len(labels):
        return found
    found.components = len(np.unique(labels))
    paired: dict[str, Ints] = {}
    for kind, pairs in _pairs(knots, transactions).items():
        paired[kind] = np.array([(u, v) for (u, _, v), _ in pairs])
        found.cycles += [Cycle(kind, pair) for pair in pairs[:listed]]
        if len(pairs) > listed:
            found.more[kind] = len(pairs) - listed
    for extent, order in EXTENTS:
        for base, kinds in BASES:
            _search(knots.only(*kinds, *order), transactions, base + extent, order, paired, found)
    return found


def _pairs(graph: Graph, transactions: Transactions) -> dict[str, list[tuple[Relation, ...]]]:
    """Cycles of two, by kind: the strongest between two transactions, and one for each that comes too late in time."""
    direct = (graph.kind <= RW) & (graph.source < graph.count) & (graph.target < graph.count)
    u, v, kind = (column[direct].astype(np.int64) for column in (graph.source, graph.target, graph.kind))
    best: dict[tuple[int, int], tuple[int, str, tuple[Relation, ...]]] = {}

    def propose(a: int, one: int, b: int, two: int) -> None:
        name = classify([one, two])
        proposal = (_RANK[name], name, ((a, one, b), (b, two, a)))
        pair = (min(a, b), max(a, b))
        best[pair] = min(best.get(pair, proposal), proposal)

    forth, back = u * graph.count + v, v * graph.count + u
    for other in (WW, WR, RW):
        for edge in np.flatnonzero(np.isin(back, forth[kind == other])).tolist():
            propose(int(u[edge]), int(kind[edge]), int(v[edge]), other)
    for order in (PROCESS, REALTIME):
        if not np.any(graph.kind == order):
            continue
        fu, fk, fv = _fanned(graph, transactions, order)
        late = _too_late(transactions, order, u, v)
        a, b, what = np.concatenate((u[late], fu)), np.concatenate((v[late], fv)), np.concatenate((kind[late], fk))
        sort = np.lexsort((a, what, b))
        sort = sort[np.diff(b[sort] * (RW + 1) + what[sort], prepend=-1) != 0]
        for one, relation, two in zip(a[sort].tolist(), what[sort].tolist(), b[sort].tolist(), strict=True):
            propose(one, relation, two, order)
    pairs: dict[str, list[tuple[Relation, ...]]] = {}
    for _, (_, name, relations) in sorted(best.items()):
        pairs.setdefault(name, []).append(relations)
    return pairs


def _too_late(transactions: Transactions, order: int, u: Ints, v: Ints) -> Flags:
    """Of edges u to v, those where v precedes u in its client's order or in time."""
    if order == PROCESS:
        process = transactions.process
        late = (process[u] == process[v]) & (v < u)
    else:
        late = transactions.end[v] < transactions.start[u]
    return np.asarray(late & transactions.ok[v], np.bool_)


def _fanned(graph: Graph, transactions: Transactions, order: int) -> tuple[Ints, Ints, Ints]:
    """For each target of a fan, the first source that it precedes in its client's order or in time."""
    parts: list[tuple[Ints, Ints, Ints]] = [(np.zeros(0, np.int64),) * 3]
    process = np.unique(transactions.process, return_inverse=True)[1]
    if order == PROCESS:
        lane, bound = process, np.arange(len(transactions)) + 1
    else:
        lane, bound = np.zeros_like(process), np.searchsorted(transactions.start, transactions.end, side="right")
    lanes, span = int(lane.max()) + 1, len(transactions) + 1
    for fan in graph.fans:
        source = (fan.source_group * lanes + lane[fan.source]) * span + fan.source
        target = (fan.target_group * lanes + lane[fan.target]) * span + bound[fan.target]
        sort = np.argsort(source, kind="stable")
        place = np.minimum(np.searchsorted(source[sort], target), len(sort) - 1)
        first = sort[place]
        fits = (source[first] >= target) & (source[first] // span == target // span) & transactions.ok[fan.target]
        parts.append((fan.source[first[fits]], fan.kind[first[fits]].astype(np.int64), fan.target[fits]))
    u, kind, v = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return u, kind, v


def _search(
    graph: Graph,
    transactions: Transactions,
    best: str,
    order: tuple[int, ...],
    paired: dict[str, Ints],
    found: Found,
) -> None:
    """Look for one cycle of each kind in the components of a graph in which a cycle is at best of kind `best`.

    `paired` are all cycles of two by kind, as lines of two transactions, listed or not.
    """
    knots, labels = graph.knots()
    bounds = np.append(np.flatnonzero(np.diff(labels, prepend=-1)), len(labels))
    searched = 0
    home = np.full(graph.nodes, -1, np.int64)
    home[knots.source] = labels
    known: dict[int, set[str]] = {}
    for kind, pairs in paired.items():
        one, two = home[pairs[:, 0]], home[pairs[:, 1]]
        for label in np.unique(one[one == two]).tolist():
            known.setdefault(label, set()).add(kind)
    for cycle in found.cycles:
        homes = {int(home[txn]) for txn, _, _ in cycle.relations}
        if len(homes) == 1:
            known.setdefault(homes.pop(), set()).add(cycle.kind)
    for first, last in pairwise(bounds.tolist()):
        kinds = known.get(int(labels[first]), set())
        if any(dominates(kind, best) for kind in kinds):
            continue
        if searched == SEARCHED:
            found.unsearched += 1
            continue
        searched += 1
        part = Graph(
            graph.count,
            graph.nodes,
            knots.source[first:last].astype(np.int64),
            knots.target[first:last].astype(np.int64),
            knots.kind[first:last],
        )
        shortest = _shortest(part, transactions, order)
        if shortest is not None and not any(dominates(kind, shortest.kind) for kind in kinds):
            found.cycles.append(shortest)


def _shortest(component: Graph, transactions: Transactions, order: tuple[int, ...]) -> Cycle | None:
    """The shortest cycle of the strongest kind that a component has."""
    if np.count_nonzero(np.unique(component.source) < component.count) > SMALL:
        component = _narrowed(component)
    relations = _relations(component, transactions, order)
    plain = {pair: kind for pair, kind in relations.items() if kind != RW}
    for closing in (WW, WR):
        kinds = (WW, *order) if closing == WW else (WW, WR, *order)
        cycle = _closed({p: k for p, k in plain.items() if k in kinds}, relations, closing)
        if cycle:
            return cycle
    return _closed(plain, relations, RW) or _alternating(relations) or _closed(relations, relations, RW)


def _closed(edges: dict[tuple[int, int], int], relations: dict[tuple[int, int], int], closing: int) -> Cycle | None:
    """The shortest cycle of an edge of kind `closing` and a path of `edges`."""
    ways = Ways(edges)
    best: list[int] | None = None
    for (u, v), kind in relations.items():
        if kind == closing:
            nodes = ways.shortest(v, u)
            if nodes and (best is None or len(nodes) < len(best)):
                best = nodes
    return None if best is None else _cycle(best, relations)


def _alternating(relations: dict[tuple[int, int], int]) -> Cycle | None:
    """The shortest cycle in which no rw follows another: every node is doubled by how it was entered."""
    ways = Ways(
        ((u, by_rw), (v, kind == RW))
        for (u, v), kind in relations.items()
        for by_rw in ((False,) if kind == RW else (False, True))
    )
    best: list[tuple[int, bool]] | None = None
    for (u, v), kind in relations.items():
        if kind == RW:
            nodes = ways.shortest((v, True), (u, False))
            if nodes and (best is None or len(nodes) < len(best)):
                best = nodes
    return None if best is None else _cycle([node for node, _ in best], relations)


def _cycle(nodes: list[int], relations: dict[tuple[int, int], int]) -> Cycle:
    steps = tuple((u, relations[u, v], v) for u, v in pairwise([*nodes, nodes[0]]))
    return Cycle(classify([kind for _, kind, _ in steps]), steps)


def _relations(graph: Graph, transactions: Transactions, order: tuple[int, ...]) -> dict[tuple[int, int], int]:
    """The edges between transactions, without extra nodes: of each pair the kind that proves most."""
    onward: dict[int, list[int]] = {}
    edges = list(zip(graph.source.tolist(), graph.kind.tolist(), graph.target.tolist(), strict=True))
    for u, kind, v in edges:
        if kind == LINK:
            onward.setdefault(u, []).append(v)
    relations: dict[tuple[int, int], int] = {}

    def relate(u: int, kind: int, v: int) -> None:
        if u != v and _LIGHTEST[kind] < _LIGHTEST.get(relations.get((u, v), LINK), len(_LIGHTEST)):
            relations[u, v] = kind

    for u, kind, v in edges:
        if kind in (WW, WR, RW):
            for target in _reached(v, onward, graph.count):
                relate(u, kind, target)
    nodes = np.unique(np.concatenate((graph.source, graph.target)))
    nodes = nodes[nodes < graph.count]
    u, v = np.repeat(nodes, len(nodes)), np.tile(nodes, len(nodes))
    for kind in order:
        precedes = _too_late(transactions, kind, v, u)  # u precedes v
        for a, b in zip(u[precedes].tolist(), v[precedes].tolist(), strict=True):
            relate(a, kind, b)
    return relations


def _reached(node: int, onward: dict[int, list[int]], count: int) -> list[int]:
    """The transactions to which the links from a node lead."""
    seen, todo = {node}, [node]
    for place in todo:
        if place >= count:
            fresh = [target for target in onward.get(place, []) if target not in seen]
            seen.update(fresh)
            todo.extend(fresh)
    return [place for place in seen if place < count]


def _narrowed(component: Graph) -> Graph:
    """The edges of a large component between the nodes of one short cycle, with a single rw if one is easily found."""
    nodes, ends = np.unique(np.concatenate((component.source, component.target)), return_inverse=True)
    u, v = ends[: len(component.source)], ends[len(component.source) :]
    tries = max(2, min(64, EFFORT // len(u)))
    lag = np.where(component.target < component.count, component.source - component.target, 0)
    closing = max(component.kind[component.kind <= RW], default=WW)
    without_rw = component.kind != RW
    plain = matrix(len(nodes), u[without_rw], v[without_rw])
    best: Ints | None = None
    candidates = np.flatnonzero(component.kind == closing)
    candidates = candidates[np.argsort(-lag[candidates], kind="stable")]
    for edge in candidates[:tries].tolist():
        found = path(plain, int(v[edge]), int(u[edge]))
        if found is not None and (best is None or len(found) < len(best)):
            best = found
    if best is None:
        best = path(matrix(len(nodes), u, v), int(v[candidates[0]]), int(u[candidates[0]]))
        assert best is not None, "every edge of a strongly connected component lies on a cycle"
    return component.select(np.isin(u, best) & np.isin(v, best))

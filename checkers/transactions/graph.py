"""The graph of what must have come before what, kept linear in the size of the history.

Nodes are transactions. Some relations hold between every member of one set and every member of another: who ended
before whom began, or all readers of a version and all its successors. Those run through extra nodes, so that n times
m pairs become n + m edges. An extra node is entered only by an edge that bears the kind of the relation; edges that
leave it are `LINK` and mean nothing of their own.

Of the graph only that part is built in which a cycle can be (see `checkers.transactions.where`): of most histories
none at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from checkers.events import NEVER
from checkers.transactions.micro import Flags, Ints, Transactions
from checkers.transactions.walks import components, matrix
from checkers.transactions.where import suspected

Kinds = NDArray[np.uint8]

WW, WR, RW, PROCESS, REALTIME, LINK = range(6)
NAMES = ("ww", "wr", "rw", "process", "realtime")


@dataclass(frozen=True)
class Fan:
    """Every source precedes every target of the same group but itself."""

    source: Ints
    source_group: Ints
    kind: Kinds
    """By source: of which kind its edges are."""
    target: Ints
    target_group: Ints


@dataclass
class Dependencies:
    """Edges that values prove, gathered from the analyses of lists and registers."""

    count: int
    """Number of transactions."""
    nodes: int = 0
    """Number of nodes in use, extra ones included."""
    parts: list[tuple[Ints, Ints, Kinds]] = field(default_factory=list)
    fans: list[Fan] = field(default_factory=list)
    before: list[Ints] = field(default_factory=list)
    """For each extra node, a transaction that it leads to."""

    def __post_init__(self) -> None:
        self.nodes = max(self.nodes, self.count)

    def add(self, kind: int | Kinds, sources: Ints, targets: Ints) -> None:
        """Edges one by one; a transaction does not depend on itself."""
        apart = sources != targets
        kinds = np.full(len(sources), kind, np.uint8) if isinstance(kind, int) else kind
        self.parts.append((sources[apart], targets[apart], kinds[apart]))

    def fan(self, sources: Ints, kinds: Kinds, source_groups: Ints, targets: Ints, target_groups: Ints) -> None:
        """Each source precedes every target of its group but itself.

        The targets of a group form a line with two rows of extra nodes, one that leads to all targets from some place
        on and one to all up to some place: who is a target itself enters both beside its own place.
        """
        pairs = np.unique(np.stack((target_groups, targets)), axis=1)
        group, target = pairs[0], pairs[1]
        used = np.isin(source_groups, group)
        sources, kinds, source_groups = sources[used], kinds[used], source_groups[used]
        size = len(target)
        if not len(sources):
            return
        onward = self.nodes + np.arange(size)
        back = onward + size
        self.nodes += 2 * size
        self.before += [target, target[np.searchsorted(group, group)]]
        joined = np.flatnonzero(group[1:] == group[:-1])
        for line, from_, to in ((onward, joined, joined + 1), (back, joined + 1, joined)):
            self.parts.append((line, target, np.full(size, LINK, np.uint8)))
            self.parts.append((line[from_], line[to], np.full(len(from_), LINK, np.uint8)))
        span = self.count + 1
        begin = np.searchsorted(group, source_groups)
        place = np.searchsorted(group * span + target, source_groups * span + sources)
        place = np.minimum(place, size - 1)
        member = (group[place] == source_groups) & (target[place] == sources)
        self.parts.append((sources[~member], onward[begin[~member]], kinds[~member]))
        inside, kind, at = sources[member], kinds[member], place[member]
        after, before = at + 1 < size, at > 0
        after[after] = group[at[after] + 1] == group[at[after]]
        before[before] = group[at[before] - 1] == group[at[before]]
        self.parts.append((inside[after], onward[at[after] + 1], kind[after]))
        self.parts.append((inside[before], back[at[before] - 1], kind[before]))
        self.fans.append(Fan(sources, source_groups, kinds, target, group))


@dataclass(frozen=True)
class Graph:
    """All edges: from `source[i]` to `target[i]` of `kind[i]`. Nodes below `count` are transactions."""

    count: int
    nodes: int
    source: Ints
    target: Ints
    kind: Kinds
    fans: list[Fan] = field(default_factory=list)

    def select(self, edges: Flags) -> Graph:
        """The same nodes with some of the edges."""
        return Graph(self.count, self.nodes, self.source[edges], self.target[edges], self.kind[edges], self.fans)

    def only(self, *kinds: int) -> Graph:
        """The edges of some kinds, with the links that continue them."""
        return self.select(np.isin(self.kind, (*kinds, LINK)))

    def knots(self) -> tuple[Graph, Ints]:
        """The edges that lie on a cycle, and the component of each; edges are sorted by component."""
        used = np.zeros(self.nodes, np.bool_)
        used[self.source] = used[self.target] = True
        number = np.cumsum(used) - 1
        u, v = number[self.source], number[self.target]
        labels = components(matrix(int(used.sum()), u, v)) if len(u) else u
        label = labels[u]
        inside = np.flatnonzero(label == labels[v])
        inside = inside[np.argsort(label[inside], kind="stable")]
        graph = Graph(self.count, self.nodes, self.source[inside], self.target[inside], self.kind[inside], self.fans)
        return graph, label[inside]


def build(transactions: Transactions, dependencies: Dependencies, *, ordered: bool) -> tuple[Graph, dict[str, int]]:
    """The part of the graph that can have cycles, and how many edges of each kind the whole graph has.

    The edges are those of the dependencies and, if the history tells when operations were (`ordered`), those of time.
    *process*: one client's transactions follow each other. *realtime*: one ended before the other began. Nothing
    follows a transaction of unknown outcome, which may still take effect later; failed ones never happened.
    """
    if ordered:
        _process(transactions, dependencies)
    start = transactions.start if ordered else np.arange(len(transactions))
    end = np.where(transactions.ok & ordered, transactions.end, NEVER)
    source, target, kind = _joined(dependencies)
    before = np.concatenate([start[:0], *dependencies.before])
    here = suspected(start, end, before, source, target)
    counts = dict(zip(NAMES, np.bincount(kind, minlength=len(NAMES)).tolist(), strict=False))
    chosen = here[source] & here[target]
    dependencies.parts = [(source[chosen], target[chosen], kind[chosen])]
    if ordered:
        happened = np.flatnonzero(~transactions.failed)
        ended = transactions.end[happened[transactions.ok[happened]]]
        counts["realtime"] = int(np.count_nonzero(ended < transactions.start[happened[-1:]]))
        _realtime(transactions, happened[here[happened]], dependencies)
    source, target, kind = _joined(dependencies)
    return Graph(dependencies.count, dependencies.nodes, source, target, kind, dependencies.fans), counts


def _joined(dependencies: Dependencies) -> tuple[Ints, Ints, Kinds]:
    """All edges so far."""
    empty = np.zeros(0, np.int64)
    parts = dependencies.parts or [(empty, empty, empty.astype(np.uint8))]
    index = np.int32 if dependencies.nodes < 2**31 else np.int64
    source, target = (np.concatenate([part[side].astype(index) for part in parts]) for side in (0, 1))
    return source, target, np.concatenate([part[2] for part in parts])


def _process(transactions: Transactions, dependencies: Dependencies) -> None:
    happened = np.flatnonzero(~transactions.failed)
    process = transactions.process[happened]
    order = np.argsort(process, kind="stable")
    happened, process = happened[order], process[order]
    known = np.maximum.accumulate(np.where(transactions.ok[happened], np.arange(len(happened)), -1))[:-1]
    follows = (known >= 0) & (process[known] == process[1:])
    dependencies.add(PROCESS, happened[known[follows]], happened[1:][follows])


def _realtime(transactions: Transactions, happened: Ints, dependencies: Dependencies) -> None:
    """One extra node for all completions between two starts: it leads to the starts after it and to the next node."""
    begun = transactions.start[happened]
    ended = happened[transactions.ok[happened]]
    place = np.searchsorted(begun, transactions.end[ended], side="right")
    ended, place = ended[place < len(begun)], place[place < len(begun)]
    stop = np.zeros(len(begun), np.bool_)
    stop[place] = True
    stops, number = np.flatnonzero(stop), (np.cumsum(stop) - 1)[place]
    if not len(stops):
        return
    nodes = dependencies.nodes + np.arange(len(stops))
    dependencies.nodes += len(stops)
    sizes = np.diff(stops, append=len(begun))
    dependencies.parts += [
        (ended, nodes[number], np.full(len(ended), REALTIME, np.uint8)),
        (np.repeat(nodes, sizes), happened[stops[0] :], np.full(int(sizes.sum()), LINK, np.uint8)),
        (nodes[:-1], nodes[1:], np.full(len(nodes) - 1, LINK, np.uint8)),
    ]

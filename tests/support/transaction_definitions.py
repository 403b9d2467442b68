"""What transactions show, from the definitions: read by read, pair by pair and cycle by cycle, for small histories.

Transactions are numbered as given, which must be by their start. The words of each definition stand in
`checkers.transactions`; here is only what can be found by looking at everything. Keys hold either lists or registers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, permutations, product
from typing import Any, NamedTuple

import networkx as nx
from transaction_histories import Txn

from checkers.transactions.models import dominates

ORDERS = {"": (), "-process": ("process",), "-realtime": ("process", "realtime")}
STRONGEST = [base + extent for extent in ORDERS for base in ("G0", "G1c", "G-single", "G-nonadjacent", "G2-item")]
Edge = tuple[int, str, int]
"""Transaction, kind, the transaction that must come after it."""
LIGHTEST = ("ww", "wr", "process", "realtime", "rw")


class Seen(NamedTuple):
    """A kind of anomaly, its key, and the transactions that prove it."""

    kind: str
    key: str
    txns: tuple[int, ...]


@dataclass(eq=False)
class Micro:
    """One thing that a transaction did to a key: appended, wrote or read."""

    txn: int
    f: str
    key: str
    argument: Any
    before: list[Micro] = field(default_factory=list)
    """What its transaction had done to the key before."""
    after: list[Micro] = field(default_factory=list)


class Story:
    """A history of transactions, and what follows from it."""

    def __init__(self, txns: Sequence[Txn]) -> None:
        self.txns = txns
        self.micros: list[Micro] = []
        names = list(dict.fromkeys(key for txn in txns for _, key, _ in txn.value))
        for number, txn in enumerate(txns):
            for name in names:
                mine = [
                    Micro(number, f, key, argument)
                    for f, key, argument in txn.value
                    if key == name and (f != "r" or txn.type == "ok")
                ]
                for place, micro in enumerate(mine):
                    micro.before, micro.after = mine[:place], mine[place + 1 :]
                self.micros += mine
        self.reads = [micro for micro in self.micros if micro.f == "r"]
        self.writes = [micro for micro in self.micros if micro.f != "r"]
        self.lists = {name for name in names if self._is_list(name)}
        self.names = names
        seen = {(m.key, e) for m in self.reads for e in (m.argument or [] if m.key in self.lists else [m.argument])}
        observed = {write.txn for write in self.writes if (write.key, write.argument) in seen}
        self.happened = [
            txn.type == "ok" or (txn.type == "info" and number in observed) for number, txn in enumerate(txns)
        ]

    def _is_list(self, name: str) -> bool:
        return any(m.key == name and (m.f == "append" or isinstance(m.argument, list)) for m in self.micros)

    def failed(self, txn: int) -> bool:
        """Whether a transaction certainly did not happen."""
        return self.txns[txn].type == "fail"

    def writer(self, key: str, value: Any) -> Micro | None:
        """Who wrote a value, or appended an element."""
        return next((write for write in self.writes if (write.key, write.argument) == (key, value)), None)

    def of(self, key: str) -> list[Micro]:
        """Reads of a key."""
        return [read for read in self.reads if read.key == key]

    def longest(self, key: str) -> Micro | None:
        """The first of the reads that show most of a list."""
        return max(self.of(key), key=lambda read: len(read.argument or []), default=None)

    def deviant(self, key: str) -> list[Micro]:
        """Reads that are no beginning of the longest one."""
        longest = self.longest(key)
        whole = [] if longest is None else longest.argument or []
        return [read for read in self.of(key) if (read.argument or []) != whole[: len(read.argument or [])]]

    def order(self, key: str) -> list[Any] | None:
        """The elements of a list in the order of their appending, if its reads prove one."""
        longest = self.longest(key)
        if longest is None or self.deviant(key) or _repeats(longest.argument or []):
            return None
        return longest.argument or []

    def version(self, read: Micro) -> Micro | None:
        """The write that made what a read returned."""
        if read.key not in self.lists:
            return None if read.argument is None else self.writer(read.key, read.argument)
        return self.writer(read.key, read.argument[-1]) if read.argument else None

    # -- what one or two transactions show --

    def phenomena(self) -> Counter[Seen]:
        """Everything but cycles."""
        found: Counter[Seen] = Counter()
        for key in self.names:
            found.update(self._of_list(key) if key in self.lists else self._of_register(key))
            found.update(self._lost_updates(key))
        for read in self.reads:
            write = self.version(read)
            if write is None or not self.happened[write.txn] or write.txn == read.txn:
                continue
            if any(later.f != "r" for later in write.after):
                found[Seen("G1b", read.key, (read.txn, write.txn))] += 1
        return found

    def _of_list(self, key: str) -> Iterator[Seen]:
        longest, deviant, order = self.longest(key), self.deviant(key), self.order(key)
        if longest is None:
            return
        agreeing = [read for read in self.of(key) if read not in deviant]
        known = set()
        for read in [*agreeing, *deviant]:
            for element in read.argument or []:
                write = self.writer(key, element)
                if element in known or (write is not None and not self.failed(write.txn)):
                    continue
                known.add(element)
                if write is None:
                    yield Seen("garbage-read", key, (read.txn,))
                else:
                    yield Seen("G1a", key, (read.txn, write.txn))
        for read in [*([longest] if longest not in deviant else []), *deviant]:
            twice = _repeats(read.argument or [])
            if twice:
                write = self.writer(key, twice[0])
                others = () if write is None else (write.txn,)
                yield Seen("duplicate-elements", key, tuple(dict.fromkeys((read.txn, *others))))
        if deviant:
            yield Seen("incompatible-order", key, tuple(dict.fromkeys((longest.txn, deviant[0].txn))))
        for read in self.of(key):
            if not self._fits(read):
                yield Seen("internal", key, (read.txn,))
        for one, two in pairwise(order or []):
            old, new = self.writer(key, one), self.writer(key, two)
            if old is not None and new is not None and self.failed(old.txn) and self.happened[new.txn]:
                yield Seen("dirty-update", key, tuple(dict.fromkeys((new.txn, old.txn, longest.txn))))
        for write in self.writes:
            rest = [later for later in write.after if later.f != "r"]
            if order is None or write.key != key or not rest or self.failed(write.txn):
                continue
            first, second = write.argument, rest[0].argument
            if second in order and (first not in order or order.index(first) > order.index(second)):
                yield Seen("internal", key, tuple(dict.fromkeys((write.txn, longest.txn))))

    def _fits(self, read: Micro) -> bool:
        """Whether a read of a list is what its own transaction had read and appended, and shows nothing of later."""
        seen = read.argument or []
        places = [place for place, micro in enumerate(read.before) if micro.f == "r"]
        mine = [micro.argument for micro in read.before[places[-1] + 1 if places else 0 :]]
        if seen and seen[-1] in [later.argument for later in read.after if later.f != "r"]:
            return False
        if places:
            return bool(seen == (read.before[places[-1]].argument or []) + mine)
        return bool(seen[max(0, len(seen) - len(mine)) :] == mine)

    def _of_register(self, key: str) -> Iterator[Seen]:
        for read in self.of(key):
            write = self.version(read)
            if read.argument is not None and write is None:
                yield Seen("garbage-read", key, (read.txn,))
            if write is not None and self.failed(write.txn):
                yield Seen("G1a", key, (read.txn, write.txn))
                if not read.before and any(later.f == "w" for later in read.after):
                    yield Seen("dirty-update", key, (read.txn, write.txn))
            if (read.before and read.before[-1].argument != read.argument) or (
                write is not None and any(later is write for later in read.after)
            ):
                yield Seen("internal", key, (read.txn,))

    def _lost_updates(self, key: str) -> Iterator[Seen]:
        updates: dict[Any, list[int]] = {}
        for read in self.of(key):
            if read.before or all(later.f == "r" for later in read.after):
                continue
            if key in self.lists and self.order(key) is not None:
                updates.setdefault(len(read.argument or []), []).append(read.txn)
            elif key not in self.lists and (read.argument is None or self.version(read) is not None):
                updates.setdefault(read.argument, []).append(read.txn)
        for txns in updates.values():
            if len(txns) > 1:
                yield Seen("lost-update", key, tuple(txns))

    # -- what must have come before what --

    def dependencies(self) -> tuple[list[Edge], list[list[Edge]]]:
        """Edges, each as often as something shows it, and those which hold between whole groups, group by group."""
        direct: list[Edge] = []
        groups: list[list[Edge]] = []
        for read in self.reads:
            write = self.version(read)
            if write is not None and self.happened[write.txn]:
                direct.append((write.txn, "wr", read.txn))
        for key in self.names:
            if key not in self.lists:
                groups += self._replaced(key)
            elif (order := self.order(key)) is not None:
                groups.append(self._appended(key, order, direct))
        apart = [[(u, kind, v) for u, kind, v in group if u != v] for group in (direct, *groups)]
        return apart[0], apart[1:]

    def _appended(self, key: str, order: list[Any], direct: list[Edge]) -> list[Edge]:
        """Adds what an order proves to `direct`; returns what comes before the appends that nobody saw."""
        found = [(place, self.writer(key, element)) for place, element in enumerate(order)]
        line = [(place, write.txn) for place, write in found if write is not None and self.happened[write.txn]]
        runs = [run for before, run in pairwise([(-1, -1), *line]) if before[1] != run[1]]
        direct += [(one, "ww", two) for (_, one), (_, two) in pairwise(runs)]
        newest: list[tuple[int, str]] = []
        for read in self.of(key):
            following = [txn for place, txn in runs if place >= len(read.argument or [])]
            if following:
                direct.append((read.txn, "rw", following[0]))
            else:
                newest.append((read.txn, "rw"))
        last = runs[-1][1] if runs else None
        newest += [] if last is None else [(last, "ww")]
        unseen = [
            write.txn
            for write in self.writes
            if write.key == key and self.happened[write.txn] and write.argument not in order and write.txn != last
        ]
        return [(u, kind, v) for v in unseen for u, kind in newest]

    def _replaced(self, key: str) -> Iterator[list[Edge]]:
        """All readers of a version precede those who read and replaced it; those of nothing, all who wrote."""
        for value in dict.fromkeys(read.argument for read in self.of(key)):
            readers = [read for read in self.of(key) if read.argument == value]
            write = self.writer(key, value)
            if value is None:
                after = [write.txn for write in self.writes if write.key == key and self.happened[write.txn]]
            elif write is None or not self.happened[write.txn]:
                continue
            else:
                readers = [read for read in readers if read.txn != write.txn]
                after = [r.txn for r in readers if not r.before and any(later.f == "w" for later in r.after)]
            yield [(read.txn, "rw", v) for v in after for read in readers]

    def precedes(self, kind: str, u: int, v: int) -> bool:
        """Whether u came before v in its client's order, or in time."""
        one, two = self.txns[u], self.txns[v]
        if u == v or one.type != "ok" or two.type == "fail":
            return False
        return one.end < two.start if kind == "realtime" else one.process == two.process and u < v

    def edges(self) -> dict[str, int]:
        """How many edges of each kind there are, those of groups left aside."""
        direct, _ = self.dependencies()
        txns = range(len(self.txns))
        count = {kind: sum(edge[1] == kind for edge in direct) for kind in ("ww", "wr", "rw")}
        count["process"] = sum(any(self.precedes("process", u, v) for u in txns) for v in txns)
        begun = max((txn.start for txn in self.txns if txn.type != "fail"), default=0)
        count["realtime"] = sum(txn.type == "ok" and txn.end < begun for txn in self.txns)
        return count

    # -- cycles --

    def cycles(self) -> list[tuple[str, int]]:
        """Kind and length of each cycle that is to be reported."""
        direct, groups = self.dependencies()
        every = set(direct).union(*groups)
        found = self._of_two(direct, groups)
        for extent, orders in ORDERS.items():
            for base, kinds in (("G0", ("ww",)), ("G1c", ("ww", "wr")), ("G-single", ("ww", "wr", "rw"))):
                relations = self._relations({edge for edge in every if edge[1] in kinds}, orders)
                for part in _components(relations):
                    kinds_known = [kind for kind, txns in found if txns <= part]
                    if any(dominates(kind, base + extent) for kind in kinds_known):
                        continue
                    kind, cycle = self._best({p: k for p, k in relations.items() if part >= set(p)})
                    if not any(dominates(known, kind) for known in kinds_known):
                        found.append((kind, frozenset(cycle)))
        return [(kind, len(txns)) for kind, txns in found]

    def kinds_of(self, txns: set[int]) -> set[str]:
        """The kinds of all cycles of just these transactions, by any of the edges between each two."""
        direct, groups = self.dependencies()
        between: dict[tuple[int, int], set[str]] = {}
        for u, kind, v in set(direct).union(*groups):
            between.setdefault((u, v), set()).add(kind)
        for u, v in permutations(txns, 2):
            between.setdefault((u, v), set()).update(o for o in ("process", "realtime") if self.precedes(o, u, v))
        first, *others = sorted(txns)
        return {
            _name(list(kinds))
            for order in permutations(others)
            for kinds in product(*(between[pair] for pair in pairwise([first, *order, first])))
        }

    def components(self) -> int:
        """How many sets of transactions there are, each of which must come before all others of its set."""
        direct, groups = self.dependencies()
        return len(_components(self._relations(set(direct).union(*groups), ("process", "realtime"))))

    def _relations(self, edges: set[Edge], orders: tuple[str, ...]) -> dict[tuple[int, int], str]:
        """Of all edges between two transactions the one that proves most."""
        txns = range(len(self.txns))
        time = {(u, kind, v) for kind in orders for u in txns for v in txns if self.precedes(kind, u, v)}
        relations: dict[tuple[int, int], str] = {}
        for u, kind, v in sorted(edges | time, key=lambda edge: -LIGHTEST.index(edge[1])):
            relations[u, v] = kind
        return relations

    def _of_two(self, direct: list[Edge], groups: list[list[Edge]]) -> list[tuple[str, frozenset[int]]]:
        """The strongest cycle of each two; of those who come too late in time, the first of each target and kind."""
        best: dict[frozenset[int], str] = {}

        def propose(u: int, one: str, v: int, two: str) -> None:
            pair = frozenset((u, v))
            best[pair] = min(best.get(pair, STRONGEST[-1]), _name([one, two]), key=STRONGEST.index)

        for u, one, v in direct:
            for a, two, b in direct:
                if (a, b) == (v, u):
                    propose(u, one, v, two)
        for order in ("process", "realtime"):
            late = [(u, kind, v) for u, kind, v in direct if self.precedes(order, v, u)]
            for group in groups:
                backward = sorted((e for e in group if self.precedes(order, e[2], e[0])), key=lambda edge: edge[0])
                late += [edge for n, edge in enumerate(backward) if edge[2] not in [v for _, _, v in backward[:n]]]
            for v, kind in {(v, kind) for _, kind, v in late}:
                propose(min(a for a, what, b in late if (b, what) == (v, kind)), kind, v, order)
        return [(kind, pair) for pair, kind in best.items()]

    def _best(self, relations: dict[tuple[int, int], str]) -> tuple[str, list[int]]:
        """The shortest of the strongest cycles, with as few anti-dependencies as can be."""
        rank = ("G0", "G1c", "G-single", "G-nonadjacent", "G2-item")
        cycles = []
        for cycle in nx.simple_cycles(nx.DiGraph(list(relations))):
            kinds = [relations[pair] for pair in pairwise([*cycle, cycle[0]])]
            if {"ww", "wr", "rw"} & set(kinds):
                name = _name(kinds)
                cycles.append(
                    (rank.index(name.removesuffix("-process").removesuffix("-realtime")), len(cycle), name, cycle)
                )
        _, _, name, cycle = min(cycles)
        return name, cycle


def _repeats(elements: list[Any]) -> list[Any]:
    return [element for place, element in enumerate(elements) if element in elements[:place]]


def _name(kinds: list[str]) -> str:
    extent = "-realtime" if "realtime" in kinds else "-process" if "process" in kinds else ""
    if kinds.count("rw") > 1:
        adjacent = any(one == two == "rw" for one, two in pairwise([*kinds, kinds[0]]))
        return ("G2-item" if adjacent else "G-nonadjacent") + extent
    return ("G-single" if "rw" in kinds else "G1c" if "wr" in kinds else "G0") + extent


def _components(relations: dict[tuple[int, int], str]) -> list[frozenset[int]]:
    parts = nx.strongly_connected_components(nx.DiGraph(list(relations)))
    return [frozenset(part) for part in parts if len(part) > 1]

"""Anomalies in words: who did what before whom, because of which values, and why that contradicts itself.

Each edge is proved anew from what its two transactions recorded, without the arrays in which it was found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from checkers.context import Timeline
from checkers.events import NEVER
from checkers.finding import Anomaly, Edge
from checkers.transactions.cycles import Cycle
from checkers.transactions.graph import NAMES, PROCESS, REALTIME, RW, WR, WW
from checkers.transactions.list_append import Lists
from checkers.transactions.micro import APPEND, READ, WRITE, Transactions, show
from checkers.transactions.phenomena import Phenomenon


@dataclass(frozen=True)
class Explainer:
    """Turns what was found in a history into anomalies."""

    transactions: Transactions
    lists: Lists
    timeline: Timeline

    def phenomenon(self, found: Phenomenon) -> Anomaly:
        """An anomaly without a cycle."""
        words = found.words.format(*(self._operation(txn) for txn in found.txns))
        return self._anomaly(found.kind, words, found.txns, str(self.transactions.keys[found.key]))

    def cycle(self, found: Cycle) -> Anomaly:
        """A cycle, one clause for each edge."""
        txns = [txn for txn, _, _ in found.relations]
        names = {txn: f"T{number}" for number, txn in enumerate(dict.fromkeys(txns), 1)}
        who = ", ".join(f"{name} = {self._operation(txn)}" for txn, name in names.items())
        clauses = [self.relation(u, kind, v, names) for u, kind, v in found.relations]
        words = f"with {who}: {'; '.join(clauses)}: a contradiction, for no order puts each of them before the next"
        edges = [Edge(self._index(u), NAMES[kind], self._index(v)) for u, kind, v in found.relations]
        return self._anomaly(found.kind, words, tuple(dict.fromkeys(txns)), None, edges)

    def relation(self, u: int, kind: int, v: int, names: dict[int, str]) -> str:
        """Why transaction `u` comes before `v`. Raises AssertionError when the record does not prove it."""
        rules: dict[int, Sequence[Callable[[int, int, str, str], str | None]]] = {
            WW: (self._appended_before,),
            WR: (self._was_read,),
            RW: (self._read_before_append, self._read_before_write),
            PROCESS: (self._same_process,),
            REALTIME: (self._ended_before,),
        }
        for rule in rules[kind]:
            words = rule(u, v, names[u], names[v])
            if words is not None:
                return words
        raise AssertionError(f"no proof that {self._operation(u)} precedes {self._operation(v)} by edge {kind}")

    def _operation(self, txn: int) -> str:
        return f"operation {self._index(txn)}"

    def _index(self, txn: int) -> int:
        return int(self.transactions.operations.index[self.transactions.row[txn]])

    def _anomaly(
        self, kind: str, words: str, txns: tuple[int, ...], key: str | None, edges: Sequence[Edge] = ()
    ) -> Anomaly:
        rows = [int(self.transactions.row[txn]) for txn in dict.fromkeys(txns)]
        operations = self.transactions.operations
        start = min(int(operations.start[row]) for row in rows)
        end = max([start, *(int(operations.end[row]) for row in rows if operations.end[row] != NEVER)])
        context = f"; {self.timeline.describe(start, end)}" if self.timeline.faults else ""
        return Anomaly(
            kind=kind,
            explanation=words[0].upper() + words[1:] + context,
            operations=[int(operations.index[row]) for row in rows],
            key=key,
            fault=self.timeline.fault_at(start, end),
            edges=list(edges),
        )

    def _appended_before(self, u: int, v: int, a: str, b: str) -> str | None:
        """An element of u stands before one of v, or nobody saw the one of v while u's was seen."""
        for key, element in self._did(u, APPEND):
            order = self._order(key)
            if element not in order:
                continue
            place = order.index(element)
            for other, later in self._did(v, APPEND):
                if other != key or later in order[: place + 1]:
                    continue
                text = f"{a} appended {show(element)} to {self._name(key)} before {b} appended {show(later)} to it, "
                if later in order:
                    between = order[place : order.index(later) + 1]
                    return f"{text}as the longest read ({self._longest(key)}) shows {show(between)} in that order"
                return (
                    f"{text}as the longest read ({self._longest(key)}) shows {show(element)} and not yet {show(later)}"
                )
        return None

    def _was_read(self, u: int, v: int, a: str, b: str) -> str | None:
        for key, seen in self._did(v, READ):
            last = seen[-1] if isinstance(seen, list) and seen else seen
            for kind, verb in ((APPEND, "appended"), (WRITE, "wrote")):
                if (key, last) in self._did(u, kind):
                    what = f"read it as {show(seen)}" if kind == APPEND else f"read {show(last)} in it"
                    where = "to" if kind == APPEND else "as"
                    text = f"{verb} {show(last)} {where} {self._name(key)}"
                    if kind == WRITE:
                        text = f"wrote {self._name(key)} = {show(last)}"
                    return f"{a} {text} before {b} {what}, because {b} saw it"
        return None

    def _read_before_append(self, u: int, v: int, a: str, b: str) -> str | None:
        appends = self._did(v, APPEND)
        for key, seen in self._did(u, READ):
            for other, element in appends:
                known = seen or []
                if other == key and isinstance(known, list) and self.lists.ordered[key] and element not in known:
                    return (
                        f"{a} read {self._name(key)} before {b} appended {show(element)} to it, because {a} saw "
                        f"{show(known)} without {show(element)}"
                    )
        return None

    def _read_before_write(self, u: int, v: int, a: str, b: str) -> str | None:
        writes, reads = self._did(v, WRITE), self._did(v, READ)
        for key, seen in self._did(u, READ):
            for other, value in writes:
                if other != key:
                    continue
                text = f"{a} read {self._name(key)} before {b} wrote {show(value)} to it, because {a} saw "
                if seen is None:
                    return f"{text}its initial value"
                if (key, seen) in reads:
                    return f"{text}{show(seen)}, which {b} also read and then replaced"
        return None

    def _same_process(self, u: int, v: int, a: str, b: str) -> str | None:
        process = self.transactions.process
        return f"{a} came before {b} in process {process[u]}" if process[u] == process[v] and u < v else None

    def _ended_before(self, u: int, v: int, a: str, b: str) -> str | None:
        end, start = int(self.transactions.end[u]), int(self.transactions.start[v])
        if not end < start:
            return None
        gap = f"{(start - end) / 1e6:.3f} ms" if start - end >= 1000 else f"{start - end} ns"
        return f"{a} ended {gap} before {b} began"

    def _did(self, txn: int, kind: int) -> list[tuple[int, object]]:
        """Key and argument of each micro-operation of a kind that a transaction is known to have done."""
        t = self.transactions
        return [(int(t.key[micro]), t.argument(micro)) for micro in t.of(txn) if t.kind[micro] == kind]

    def _order(self, key: int) -> list[object]:
        return self.lists.order(key) if self.lists.ordered[key] else []

    def _longest(self, key: int) -> str:
        return self._operation(int(self.transactions.txn[self.lists.read[self.lists.longest[key]]]))

    def _name(self, key: int) -> str:
        return str(self.transactions.keys[key])

"""Who serves which slot: never two nodes by turns, and after convergence everybody, everywhere, and the same.

While the load runs, an open slot, a stale client and a redirection are normal. What is not normal:

* `split-ownership`: node A answered an operation on a slot, then B one that began after A's had ended, then A again
  one that began after B's had ended, all without ASKING and READONLY, and nobody handed the slot back to A in between.
  A deposed primary does that when it is paused or cut off and goes on answering what reaches it.
* `redirect-loop`: a client asked 16 nodes, sent from one to the next.

What holds after convergence is looked at in `checkers.settled`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import pairwise, permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers.context import OBSERVER_LAG_NS, Timeline, in_cluster, keys_have_slots, proxies, seconds
from checkers.events import OK
from checkers.finding import Anomaly, Collector, Finding, Verdict
from checkers.history import History, Operations
from checkers.keyslot import key_slot
from checkers.settled import check_settled, route
from checkers.zones import SECOND_HAND

MOST_HOPS = 16
"""Nodes that redis-py and other clients ask before they give up."""

_WRITES = ("write", "cas", "add", "mset")
"""What only a primary acknowledges."""

Numbers = NDArray[np.int64]


def check_slots(history: History) -> Finding:
    """Find slots that two nodes served by turns, and what is wrong with the map after convergence.

    Kinds: `split-ownership`, `redirect-loop`, `map-disagreement`, `uncovered-slot`, `stranded-key`. Unknown when
    nothing was proved, but the run did not settle or no observer recorded who was primary.
    """
    timeline = Timeline.of(history)
    found = Collector("slots")
    if not keys_have_slots(history):
        return Finding("slots", Verdict.VALID, "nothing to check: keys have no slots here", metrics={"checked": 0})
    served = _Served(history.operations, proxies(history), reads=in_cluster(history))
    metrics: dict[str, Any] = {"checked": len(served.rows), "slots": len(np.unique(served.slot))}
    metrics |= _split_ownership(served, timeline, found)
    metrics["long_redirections"] = _long_redirections(history.operations, timeline, found)
    doubts = [] if timeline.observed else ["no observer recorded who was primary of what"]
    if timeline.settled:
        metrics |= check_settled(history, timeline, found)
    else:
        doubts.append(str(timeline.why_not))
    metrics["undecided"] = "; ".join(doubts) or None
    return found.finding(metrics, metrics["undecided"])


class _Served:
    """Operations that a node answered as the owner of their slot, by slot and start."""

    def __init__(self, operations: Operations, between: Collection[str], *, reads: bool) -> None:
        """What the nodes `between` (proxies) answered, some other node had told them: they own no slots.

        `reads`: whether who answers a read holds itself for the owner; outside a cluster replicas answer them too.
        """
        self.operations = operations
        serving = np.array([*(name not in between for name in operations.nodes), False])  # -1: nobody answered
        plain = (operations.type == OK) & serving[operations.node] & (operations.key >= 0)
        if not reads:
            plain &= np.isin(operations.f, [operations.code(f) for f in _WRITES])
        for row, detail in operations.details.items():
            if detail.get("asking") or detail.get("via") in (*SECOND_HAND, "cross-slot", "undeclared"):
                plain[row] = False
        rows = np.flatnonzero(plain)
        slots = np.array([*map(key_slot, operations.keys), -1], np.int64)[operations.key[rows]]
        order = np.argsort(slots, kind="stable")
        self.rows, self.slot = rows[order], slots[order]

    def shared(self) -> Iterator[tuple[int, Numbers]]:
        """Slots that more than one node answered, with their rows in order of start."""
        slots, first = np.unique(self.slot, return_index=True)
        for slot, (begin, end) in zip(slots.tolist(), pairwise([*first.tolist(), len(self.rows)]), strict=True):
            if len(np.unique(self.operations.node[self.rows[begin:end]])) > 1:
                yield slot, self.rows[begin:end]


def _split_ownership(served: _Served, timeline: Timeline, found: Collector) -> dict[str, int]:
    """One anomaly a slot and pair of nodes; the metrics count the operations that should not have been answered."""
    operations, answers, shared = served.operations, 0, 0
    for slot, rows in served.shared():
        shared += 1
        pairs: dict[frozenset[str], tuple[Numbers, str, str]] = {}
        for one, other in permutations(np.unique(operations.node[rows]).tolist(), 2):
            first, second = operations.nodes[one], operations.nodes[other]
            triples = _turns(operations, rows, one, other, np.array(timeline.acquired(first, slot), np.int64))
            pair = frozenset((first, second))
            if len(triples) and (pair not in pairs or triples[0, 2] < pairs[pair][0][0, 2]):
                pairs[pair] = triples, first, second
        for triples, first, second in pairs.values() if timeline.observed else ():
            answers += len(triples)
            found.add(_split(operations, timeline, slot, triples, first, second))
    return {"slots_answered_by_several_nodes": shared, "answers_after_another_node": answers}


def _turns(operations: Operations, rows: Numbers, one: int, other: int, acquired: Numbers) -> Numbers:
    """Rows (a, b, c) with a and c answered by `one` and b by `other`, each begun after the one before had ended.

    One triple for each c, with the b that began last and the a that ended last before it; left out if `one` acquired
    the slot after b had begun.
    """
    mine, theirs = rows[operations.node[rows] == one], rows[operations.node[rows] == other]
    theirs = theirs[operations.start[theirs] > operations.end[mine].min()]
    theirs = theirs[np.argsort(operations.end[theirs], kind="stable")]
    if not len(theirs):
        return np.zeros((0, 3), np.int64)
    latest = np.maximum.accumulate(operations.start[theirs])
    newest = np.maximum.accumulate(np.where(operations.start[theirs] == latest, np.arange(len(theirs)), 0))
    before = np.searchsorted(operations.end[theirs], operations.start[mine]) - 1  # ends strictly before it starts
    last = mine[before >= 0]
    middle = theirs[newest[before[before >= 0]]]
    begun = np.searchsorted(acquired, operations.start[middle])
    done = np.searchsorted(acquired, operations.end[last] + OBSERVER_LAG_NS, side="right")
    split = begun == done
    middle, last = middle[split], last[split]
    mine = mine[np.argsort(operations.end[mine], kind="stable")]
    first = mine[np.searchsorted(operations.end[mine], operations.start[middle]) - 1]
    return np.stack([first, middle, last], axis=1)


def _split(operations: Operations, timeline: Timeline, slot: int, triples: Numbers, first: str, second: str) -> Anomaly:
    a, b, c = triples[0].tolist()
    at = [seconds(int(operations.start[row])) for row in (a, b, c)]
    names = [f"{operations.functions[operations.f[row]]} of {operations.key_name(row)}" for row in (a, b, c)]
    words = (
        f"slot {slot}: {first} answered {names[0]} at {at[0]}, then {second} {names[1]} at {at[1]}, then {first} again "
        f"{names[2]} at {at[2]}, and nobody had handed the slot back to {first} in between"
    )
    for node, rival in ((first, second), (second, first)):
        successor = timeline.successor(node, int(operations.end[c]), slot)
        if successor and successor[0] == rival:
            epoch = "" if successor[2] is None else f" with epoch {successor[2]}"
            words += (
                f"; {node} was a deposed primary: {rival} was seen to claim the slot{epoch} at {seconds(successor[1])}"
            )
            break
    start, end = int(operations.start[c]), int(operations.end[c])
    return Anomaly(
        "split-ownership",
        f"{words}; {timeline.describe(start, end)}",
        [int(operations.index[row]) for row in (c, b, a)],
        operations.key_name(c),
        timeline.fault_at(start, end),
        {"slot": slot, "answers": len(triples)},
    )


def _redirections(detail: dict[str, Any]) -> int:
    """How often a client was sent to another node; asking the same node again (TRYAGAIN) is no redirection."""
    sent_on = [a for a in detail.get("attempts") or () if str(a.get("error")).startswith(("MOVED", "ASK"))]
    return len(sent_on) or sum(here != there for here, there in pairwise(detail.get("hops") or ()))


def _long_redirections(operations: Operations, timeline: Timeline, found: Collector) -> int:
    long = 0
    for row, detail in sorted(operations.details.items()):
        times = _redirections(detail)
        if times < MOST_HOPS - 1:
            continue
        long += 1
        start, end = int(operations.start[row]), int(operations.end[row])
        f, key = operations.functions[operations.f[row]], operations.key_name(row)
        outcome = "" if operations.type[row] == OK else " without an answer"
        words = (
            f"{f} of {key} at {seconds(start)} was sent from node to node {times} times{outcome}{route(detail)}, "
            f"{timeline.describe(start, end)}"
        )
        index = int(operations.index[row])
        found.add(Anomaly("redirect-loop", words, [index], key, timeline.fault_at(start, end)))
    return long

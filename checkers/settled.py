"""Slots and keys once everything has healed: everybody agrees, every slot is served, and every key can be reached.

After convergence the controller records what each node believes (`map`) and holds (`holds`), and clients read every
key from every node on, following redirections (`via` is `from:` and the name of the node).

* `map-disagreement`: two nodes name different owners of a slot.
* `uncovered-slot`: no node claims it.
* `redirect-loop`: a client is sent round in a circle, or on and on.
* `stranded-key`: a primary holds the key, and a client reaches it from no node.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers.context import Range, Timeline, listed
from checkers.events import FAIL, OK
from checkers.finding import Anomaly, Collector
from checkers.history import History, Operations
from checkers.keyslot import SLOTS, key_slot

LOOP = "redirect-loop"
"""How the error of an operation begins that was sent on and on."""


def check_settled(history: History, timeline: Timeline, found: Collector) -> dict[str, int]:
    """Add the anomalies of a converged run to `found`; returns metrics of what was there to look at."""
    walks, maps = _Walks(history.operations), _maps(history)
    _circles(walks, timeline, found)
    held = _stranded(history, walks, timeline, found)
    _disagreements(maps, timeline, found)
    _uncovered(history, maps, timeline, found)
    return {"maps": len(maps), "walks": walks.count, "keys_walked": len(walks.reached), "keys_held": held}


def route(detail: dict[str, Any]) -> str:
    """The way of an operation in words, to follow a sentence: ` (n1 → n4 → n1)`, else its error; "" without both."""
    hops = detail.get("hops") or []
    shown = " → ".join(hops[:6]) + (" → …" if len(hops) > 6 else "") if hops else detail.get("error")
    return f" ({shown})" if shown else ""


class _Walks:
    """Final reads that began at a given node and followed redirections."""

    def __init__(self, operations: Operations) -> None:
        self.operations = operations
        self.reached: dict[str, bool] = {}
        """By key: whether some walk found something there."""
        self.failed: dict[str, list[int]] = {}
        """By object: rows of the walks that got no answer."""
        self.rows: dict[str, list[int]] = {}
        """By key: rows of all walks."""
        self.count = 0
        for row in np.flatnonzero(operations.final).tolist():
            if self.start(row) is not None:
                self._add(row)

    def start(self, row: int) -> str | None:
        """The node at which a walk began; None for other reads."""
        via = str(self.operations.details.get(row, {}).get("via") or "")
        return via.removeprefix("from:") if via.startswith("from:") else None

    def _add(self, row: int) -> None:
        operations = self.operations
        name, value = operations.key_name(row) or "", operations.value[row]
        self.count += 1
        if operations.type[row] == FAIL:
            self.failed.setdefault(name, []).append(row)
        contents = value if isinstance(value, dict) else {name: value}
        for key, content in contents.items():
            found = operations.type[row] == OK and not _absent(content)
            self.reached[key] = self.reached.get(key, False) or found
            self.rows.setdefault(key, []).append(row)


def _absent(content: Any) -> bool:
    """Whether this is how a read shows a missing key: null, an empty set, an empty list inside a `txn`, a sum of 0."""
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], list):
        content = content[0][-1]
    return not content


def _circles(walks: _Walks, timeline: Timeline, found: Collector) -> None:
    """One anomaly an object whose walks ended in a circle after convergence."""
    operations = walks.operations
    for name, rows in walks.failed.items():
        circling = [row for row in rows if _circles_round(operations.details[row])]
        if not circling:
            continue
        row = circling[0]
        starts = listed(sorted({walks.start(row) or "" for row in circling}))
        time = int(operations.start[row])
        words = (
            f"after convergence a client that began at {starts} and followed redirections never reached {name} (slot "
            f"{key_slot(name)}){route(operations.details[row])}, {timeline.describe(time, time)}"
        )
        proof = [int(operations.index[row]) for row in circling]
        found.add(Anomaly("redirect-loop", words, proof, name, timeline.fault_at(time, time)))


def _circles_round(detail: dict[str, Any]) -> bool:
    asked = [node for node, _ in groupby(detail.get("hops") or ())]
    return str(detail.get("error")).startswith(LOOP) or len(set(asked)) < len(asked)


def _stranded(history: History, walks: _Walks, timeline: Timeline, found: Collector) -> int:
    """Report keys that some primary holds and no walk reached; returns how many held keys were looked at."""
    holders: dict[str, list[str]] = {}
    for event in _recorded(history, "holds"):
        for key in event["keys"]:
            holders.setdefault(key, []).append(event["node"])
    operations = walks.operations
    for key, nodes in sorted(holders.items()):
        if walks.reached.get(key, True):
            continue
        rows = walks.rows[key]
        errors = [str(operations.details.get(row, {}).get("error")) for row in rows if operations.type[row] == FAIL]
        outcome = f"{len(errors)} got an error ({errors[0]})" if errors else "all of them read it as absent"
        time = int(operations.start[rows[0]])
        starts = listed(sorted({walks.start(row) or "" for row in rows}))
        words = (
            f"{listed(nodes)} holds {key} (slot {key_slot(key)}), but no client that began at {starts} and followed "
            f"redirections reached it: {outcome}, {timeline.describe(time, time)}"
        )
        proof = [int(operations.index[row]) for row in rows]
        found.add(Anomaly("stranded-key", words, proof, key, timeline.fault_at(time, time)))
    return sum(key in walks.reached for key in holders)


def _recorded(history: History, f: str) -> list[dict[str, Any]]:
    return [event.value for event in history.context if event.process == "controller" and event.f == f]


def _maps(history: History) -> dict[str, NDArray[np.object_]]:
    """By node: the owner of each slot that it believes in after convergence, None where it knows none."""
    maps: dict[str, NDArray[np.object_]] = {}
    for event in _recorded(history, "map"):
        owners = np.full(SLOTS, None, np.object_)
        for first, last, owner in event["slots"]:
            owners[first : last + 1] = owner
        maps[event["node"]] = owners
    return maps


def _disagreements(maps: dict[str, NDArray[np.object_]], timeline: Timeline, found: Collector) -> None:
    """One anomaly a range of slots about which the nodes disagree in the same way."""
    nodes = sorted(maps)
    if len(nodes) < 2:
        return
    beliefs = np.array([maps[node] for node in nodes])
    differs = (beliefs != beliefs[0]).any(axis=0)
    for first, last in _runs(differs, beliefs):
        opinions: dict[str, list[str]] = {}
        for node, owner in zip(nodes, beliefs[:, first].tolist(), strict=True):
            opinions.setdefault(str(owner or "nobody"), []).append(node)
        words = "; ".join(f"{owner} according to {listed(who)}" for owner, who in sorted(opinions.items()))
        found.add(_of_map("map-disagreement", f"after convergence {_slots(first, last)} belong to {words}", timeline))


def _uncovered(history: History, maps: dict[str, NDArray[np.object_]], timeline: Timeline, found: Collector) -> None:
    """One anomaly a range that was served at the start and that no node claims for itself after convergence."""
    served = np.zeros(SLOTS, np.bool_)
    for first, last, *_ in history.header.get("slots") or [(0, SLOTS - 1)]:
        served[first : last + 1] = True
    claimed = np.zeros(SLOTS, np.bool_)
    for node, owners in maps.items():
        claimed |= owners == node
    named = {owner for owners in maps.values() for owner in np.unique(owners[owners != None]).tolist()}  # noqa: E711
    if not maps or not named <= maps.keys():
        return  # an owner that was not asked may well serve what nobody else does
    for first, last in _runs(served & ~claimed, None):
        words = f"after convergence no node claims {_slots(first, last)}"
        found.add(_of_map("uncovered-slot", words, timeline))


def _runs(mask: NDArray[np.bool_], columns: NDArray[np.object_] | None) -> Iterator[Range]:
    """Maximal ranges in which the mask is set (and the columns, if any, are all the same)."""
    change = mask[1:] != mask[:-1]
    if columns is not None:
        change |= (columns[:, 1:] != columns[:, :-1]).any(axis=0)
    edges = [0, *(np.flatnonzero(change) + 1).tolist(), len(mask)]
    for first, behind in pairwise(edges):
        if mask[first]:
            yield first, behind - 1


def _slots(first: int, last: int) -> str:
    return f"slot {first}" if first == last else f"slots {first}-{last}"


def _of_map(kind: str, words: str, timeline: Timeline) -> Anomaly:
    """An anomaly that nodes' own words prove, not operations."""
    end = timeline.load[1]
    return Anomaly(kind, f"{words}, {timeline.describe(end, end)}", [], None, timeline.fault_at(end, end))

"""Where the requests went, and what a change of the nodes meant for the keys.

Nothing here is an anomaly: the checker measures, and a claim says how much is too much. Everything is taken from what
nodes answered, not from what a placement promises, so it means the same for a cluster, a ring and a proxy.

* *Moved by a resize*: of the keys that were answered both between the change before and this one, and between this one
  and the next, the share that another node answered afterwards. Answers while clients may have disagreed about the
  nodes, those from replicas and those given for ASKING do not count. Beside it stands what theory says of the way
  by which keys are shared: from N to M nodes a ring moves what the nodes that come or go have, 1 - min/max of the two;
  a modulus leaves in place only the keys that have the same remainder for both, 1/max where the two have no common
  divisor.
* *Missed*: reads that found nothing at the new node of a key though the last write that was acknowledged before the
  change had been at another node.
* *Hit rate*: of the reads of keys that somebody had written, acknowledged, before the read began, the share that found
  a value. Reads of keys that nobody had written yet are no misses of a cache. Where the cache is filled from a database
  it is the share of all reads that the cache answered.
* *Requests*: what nodes were asked by operations that succeeded. A redirected operation was one to each node, a write
  of several copies one to each, and a read that filled the cache two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from itertools import pairwise
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers.context import Timeline
from checkers.events import NEVER, OK
from checkers.fillings import HITS
from checkers.finding import Collector, Finding
from checkers.history import History, Operations
from checkers.resizes import Resize, resizes
from checkers.zones import FILLED, ways

MOST_BUCKETS = 120
BUCKETS_NS = tuple(step * 1_000_000 for step in (100, 250, 500, 1_000, 2_000, 5_000, 10_000, 60_000))
"""Lengths of the stretches over which the hit rate is taken: the shortest that makes `MOST_BUCKETS` at most."""
AROUND_NS = 1_000_000_000
"""How long before and after a resize the hit rates beside it are taken."""

Numbers = NDArray[np.int64]
Mask = NDArray[np.bool_]


def check_balance(history: History) -> Finding:
    """Measure requests by node, hops, keys moved and hit rates; never invalid.

    Metrics: `requests` by node, `hottest_node` and its share `hottest_share`, `max_over_mean` over the nodes that
    are to serve; `hops_mean` and `hops_most`, the nodes asked for one operation; `keys_moved`, the greatest share of
    any resize, and `resizes` one by one; `slots_moved`; `hit_rate` and `hit_rate_over_time`. Shares go from 0 to 1.
    """
    operations = history.operations
    served = _served(operations)
    changes = resizes(history)
    reads = _Reads(operations)
    each = _resizes(history, changes, reads)
    metrics: dict[str, Any] = {
        "checked": len(served),
        **_requests(history),
        **_hops(operations, served),
        "keys_moved": max((resize["moved_share"] for resize in each if resize["keys"]), default=None),
        "resizes": each,
        "slots_moved": _slots_moved(Timeline.of(history)),
        "hit_rate": reads.rate(np.ones(len(reads.row), np.bool_)),
        "hit_rate_over_time": reads.over_time(),
    }
    return Collector("balance").finding(metrics)


def _served(operations: Operations) -> Numbers:
    """Rows of the operations of the run that some node answered, and not a client's own cache."""
    chosen = (operations.type == OK) & (operations.node >= 0) & ~operations.final
    chosen[[row for row, detail in operations.details.items() if detail.get("via") == "cache"]] = False
    return np.flatnonzero(chosen)


def _requests(history: History) -> dict[str, Any]:
    """Requests by node. A node that should have got some and got none counts in the mean as well."""
    requests = dict(_asked(history.operations))
    members = {owner for _, _, owner in history.header.get("slots") or ()}
    for name in sorted(members | {*(history.header.get("groups") or {}).get("shards", ())}):
        requests.setdefault(name, 0)
    total = sum(requests.values())
    if not total:
        return {"requests": requests, "hottest_node": None, "hottest_share": None, "max_over_mean": None}
    hottest = max(requests, key=requests.__getitem__)
    return {
        "requests": dict(sorted(requests.items())),
        "hottest_node": hottest,
        "hottest_share": requests[hottest] / total,
        "max_over_mean": requests[hottest] * len(requests) / total,
    }


def _asked(operations: Operations) -> Counter[str]:
    """Requests by node, of the successful operations: one that asked several nodes, or one twice, was several."""
    served = _served(operations)
    counts = np.bincount(operations.node[served], minlength=len(operations.nodes)).tolist()
    asked = Counter({name: number for name, number in zip(operations.nodes, counts, strict=True) if number})
    counted = set(served.tolist())
    for row, detail in operations.details.items():
        several = detail.get("fill", {}).get("asked") or detail.get("hops")
        if several and operations.type[row] == OK and not operations.final[row] and detail.get("via") != "cache":
            asked.update(several)
            asked.subtract([operations.nodes[operations.node[row]]] if row in counted else ())
    return asked


def _hops(operations: Operations, served: Numbers) -> dict[str, Any]:
    """Nodes asked for one successful operation; one where the history names no more."""
    further = [len(detail["hops"]) - 1 for row, detail in operations.details.items() if _redirected(operations, row)]
    mean = 1 + sum(further) / len(served) if served.size else None
    return {"hops_mean": mean, "hops_most": 1 + max(further, default=0) if served.size else None}


def _redirected(operations: Operations, row: int) -> bool:
    return bool(operations.details[row].get("hops")) and operations.type[row] == OK and not operations.final[row]


def _slots_moved(timeline: Timeline) -> int:
    """How many slots were handed over on purpose, each counted once."""
    spans = (span for handover in timeline.handovers for span in handover.slots)
    return len({slot for first, last in spans for slot in range(first, last + 1)})


def stretches_of(times: Numbers) -> tuple[int, Numbers]:
    """The length of the stretches (ns) over which something that goes by these times is told, and the one of each."""
    last = int(times.max(initial=0))
    width = next((width for width in BUCKETS_NS if last < width * MOST_BUCKETS), BUCKETS_NS[-1])
    return width, times // width


class _Reads:
    """Reads of whole values whose key had an acknowledged write before they began, and whether they found one.

    Of a cache that a database fills (`checkers.cachefill`) all answered reads, and whether an entry answered them.
    """

    def __init__(self, operations: Operations) -> None:
        self.operations = operations
        self.writes = _acknowledged(operations)
        first = np.full(len(operations.keys) + 1, NEVER)  # the last is that of events without a key
        np.minimum.at(first, operations.key[self.writes], operations.end[self.writes])
        filled = {row: via for row, via in ways(operations).items() if via in FILLED and not operations.final[row]}
        rows = np.setdiff1d(np.intersect1d(_served(operations), operations.rows("read", "get")), list(filled))
        rows = rows[first[operations.key[rows]] < operations.start[rows]]
        self.row: Numbers = np.union1d(rows, np.array(list(filled), np.int64))
        self.found: Mask = np.array(
            [filled[row] in HITS if row in filled else operations.value[row] is not None for row in self.row.tolist()],
            np.bool_,
        )
        self.start = operations.start[self.row]

    def rate(self, chosen: Mask) -> float | None:
        """The share of the chosen reads that found a value; None without any."""
        return float(self.found[chosen].mean()) if chosen.any() else None

    def between(self, start_ns: int, end_ns: int) -> float | None:
        """The hit rate of the reads that began between two times."""
        return self.rate((self.start >= start_ns) & (self.start < end_ns))

    def over_time(self) -> list[dict[str, Any]]:
        """The hit rate of one stretch of time after the other: when it begins, how many reads it has, their rate."""
        if not len(self.row):
            return []
        width, place = stretches_of(self.start)
        reads, hits = np.bincount(place), np.bincount(place, self.found)
        return [
            {"at_ms": number * width // 1_000_000, "reads": count, "rate": round(found / count, 4)}
            for number, (count, found) in enumerate(zip(reads.tolist(), hits.tolist(), strict=True))
            if count
        ]


def _acknowledged(operations: Operations) -> Numbers:
    rows = operations.rows("write", "put")
    answered: Numbers = rows[(operations.type[rows] == OK) & (operations.node[rows] >= 0)]
    return answered


def _answerers(operations: Operations, start_ns: int, end_ns: int) -> Numbers:
    """By key: the node that answered for it between two times, or -1 where none did or several."""
    served = _served(operations)
    inside = (operations.start[served] >= start_ns) & (operations.end[served] <= end_ns) & (operations.key[served] >= 0)
    details = operations.details.items()
    aside = [row for row, detail in details if detail.get("asking") or detail.get("via") == "replica"]
    rows = served[inside & ~np.isin(served, aside)]
    key, node = operations.key[rows], operations.node[rows].astype(np.int64)
    least, most = np.full(len(operations.keys), NEVER), np.full(len(operations.keys), -1)
    np.minimum.at(least, key, node)
    np.maximum.at(most, key, node)
    return np.where(least == most, most, np.int64(-1))


def _resizes(history: History, changes: list[Resize], reads: _Reads) -> list[dict[str, Any]]:
    operations, load = history.operations, Timeline.of(history).load
    times = [(load[0], load[0]), *((change.sent_ns, change.heard_ns) for change in changes), (load[1], load[1])]
    stretches = [_answerers(operations, heard, sent) for (_, heard), (sent, _) in pairwise(times)]
    told = []
    for number, change in enumerate(changes):
        before, after = stretches[number], stretches[number + 1]
        compared = (before >= 0) & (after >= 0)
        keys = int(compared.sum())
        moved = int((before[compared] != after[compared]).sum())
        theory = THEORY.get(str(history.header.get("way", history.header.get("route"))))
        if history.header.get("slots"):
            theory = _ring  # an even share of the slots, as on a ring that is perfectly even
        told.append(
            {
                "fault": change.fault,
                "from": list(change.before),
                "to": list(change.after),
                "at_ms": change.sent_ns / 1e6,
                "told_within_ms": (change.heard_ns - change.sent_ns) / 1e6,
                "keys": keys,
                "keys_moved": moved,
                "moved_share": moved / keys if keys else None,
                "theory": theory and round(theory(len(change.before), len(change.after)), 4),
                "missed": _missed(reads, change, times[number + 2][0]),
                "hit_rate_before": reads.between(change.sent_ns - AROUND_NS, change.sent_ns),
                "hit_rate_after": reads.between(change.heard_ns, change.heard_ns + AROUND_NS),
            }
        )
    return told


def _missed(reads: _Reads, change: Resize, until_ns: int) -> int:
    """Reads between a change and the next that found nothing where a key is now, though it was written elsewhere."""
    operations, writes = reads.operations, reads.writes
    rows = reads.row[~reads.found & (reads.start >= change.sent_ns) & (reads.start < until_ns)]
    if not len(rows):
        return 0
    earlier = writes[operations.end[writes] <= change.heard_ns]
    order = np.argsort(operations.end[earlier], kind="stable")
    holder = np.full(len(operations.keys), -1)
    holder[operations.key[earlier[order]]] = operations.node[earlier[order]]  # the last assignment stays
    written = holder[operations.key[rows]]
    return int(((written >= 0) & (written != operations.node[rows])).sum())


def _ring(before: int, after: int) -> float:
    return 1 - min(before, after) / max(before, after)


def _modulo(before: int, after: int) -> float:
    """Of the remainders of one common period, those that differ: only those below both stay, once a period."""
    period = before * after // gcd(before, after)
    return 1 - min(before, after) / period


THEORY: Mapping[str, Callable[[int, int], float]] = {"modulo": _modulo, "ring": _ring}
"""By route: the share of keys that a resize moves, if hashes are uniform and nodes are added or removed at the end."""

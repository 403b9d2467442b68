"""How stale each read was, at least.

A value was provably overwritten once a write that began after the value was in effect had itself taken effect. The
value is in effect, at the latest, when the first operation of its cluster ends (its own acknowledgement, or a read
that already saw it), and so is the newer one. So a read that began later than that was stale by at least the
difference, whatever happened in between; no placement of the writes within their intervals makes it fresher.

A read that only writes contradict which were lost is no `stale-read` but a `rolled-back-read` (see
`checkers.rollback`). Reads from replicas and caches are measured here, too, and told apart by who answered.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers.atomicity import smallest_delta_ns, two_atomic
from checkers.context import Timeline
from checkers.events import NEVER
from checkers.finding import Anomaly, Collector, Finding
from checkers.history import History
from checkers.linearizability import at, name_operation, unknown
from checkers.rollback import rolled_back
from checkers.zones import SECOND_HAND, Ints, Registers, prepare, ways

CHECKER = "staleness"
STALE, ROLLED_BACK = "stale-read", "rolled-back-read"

BUCKETS_MS = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)
"""Upper bounds of the histogram's buckets."""
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def check_staleness(history: History, *, initial: Any = None) -> Finding:
    """Measure every read of a unique-value register; each stale one is an anomaly with `stale_ms` and `versions`.

    `versions` counts the writes that were certainly newer than the value and certainly done before the read began.
    Metrics: counts, maxima, quantiles and a histogram of the stale reads, all in ms, by key and by who answered;
    `delta_ms`, the smallest delta for which the history is delta-atomic (null with a reason in `delta_undefined`),
    and `two_atomic` (null when undecided). `initial` is the value before the first write.
    """
    registers = prepare(history, second_hand=True, initial=initial)
    timeline = Timeline.of(history)
    overwritten, by = _overwritten(registers)
    lag = registers.read_start - overwritten[registers.read_cluster]
    stale = np.flatnonzero(lag > 0)
    stale = stale[np.argsort(-lag[stale], kind="stable")]
    versions = _versions(registers, stale)
    lost = rolled_back(registers, timeline, stale)

    found = Collector(CHECKER)
    answerers = _answerers(registers, timeline, stale)
    for place, read in enumerate(stale.tolist()):
        kind = ROLLED_BACK if lost[place] else STALE
        if not found.wants(kind):
            found.count(kind)
            continue
        newer = int(by[registers.read_cluster[read]])
        measured = {"stale_ms": float(lag[read]) / 1e6, "versions": int(versions[place])}
        found.add(_anomaly(registers, timeline, kind, read, newer, answerers[place], measured))
    return found.finding(_metrics(registers, stale, lag, versions, lost, answerers), unknown(registers))


def _overwritten(registers: Registers) -> tuple[Ints, Ints]:
    """By cluster: the line time by which it was provably overwritten, and the cluster that proves it.

    Where nothing overwrote a value the answer lies behind the end of its key, and so behind all of its reads.
    """
    order = np.argsort(registers.write_start, kind="stable")
    begun, done = registers.write_start[order], registers.first_end[order]
    behind = np.append(done, NEVER)[::-1]
    soonest = np.minimum.accumulate(behind)
    proof = np.maximum.accumulate(np.where(behind == soonest, np.arange(len(behind)), 0))
    place = len(order) - np.searchsorted(begun, registers.first_end, "right")
    return soonest[place], np.append(order, -1)[::-1][proof[place]]


def _versions(registers: Registers, stale: Ints) -> Ints:
    """For each stale read: how many writes began after its value was in effect and were done before it began."""
    keys = np.unique(registers.key[registers.read_cluster[stale]])
    clusters = np.flatnonzero(np.isin(registers.key, keys))
    clusters = clusters[np.argsort(registers.write_start[clusters], kind="stable")]
    done = np.sort(registers.first_end[clusters])
    rank = np.empty(len(clusters), np.int64)
    rank[np.argsort(registers.first_end[clusters], kind="stable")] = np.arange(len(clusters))
    value = registers.read_cluster[stale]
    left = np.searchsorted(registers.write_start[clusters], registers.first_end[value], "right")
    return _count_below(rank, left, np.searchsorted(done, registers.read_start[stale], "left"))


def _count_below(ranks: Ints, left: Ints, limits: Ints) -> Ints:
    """For each query: how many of `ranks[left:]` are below its limit. A wavelet matrix, O((n + q) log n)."""
    count = np.zeros(len(left), np.int64)
    right = np.full(len(left), len(ranks))
    for bit in reversed(range(len(ranks).bit_length())):
        one = (ranks >> bit) & 1 == 1
        zeros = np.concatenate(([0], np.cumsum(~one)))
        high = (limits >> bit) & 1 == 1
        low_left, low_right = zeros[left], zeros[right]
        count += np.where(high, low_right - low_left, 0)
        left = np.where(high, zeros[-1] + left - low_left, low_left)
        right = np.where(high, zeros[-1] + right - low_right, low_right)
        ranks = np.concatenate((ranks[~one], ranks[one]))
    return count


def _answerers(registers: Registers, timeline: Timeline, reads: Ints) -> list[str]:
    """Who answered each read: primary, deposed primary, replica, local cache, or unknown."""
    operations = registers.operations
    moments = sorted({view.time_ns for views in timeline.views.values() for view in views})
    roles = {
        code: [timeline.role(name, moment) or "unknown" for moment in moments]
        for code, name in enumerate(operations.nodes)
    }
    rows = registers.read_row[reads]
    places = np.searchsorted(moments, operations.start[rows], "right") - 1
    via = ways(operations)
    answers = []
    for row, place in zip(rows.tolist(), places.tolist(), strict=True):
        node = int(operations.node[row])
        role = "unknown" if node < 0 or place < 0 else roles[node][place]
        answers.append(SECOND_HAND.get(via.get(row, ""), role))
    return answers


def _anomaly(
    registers: Registers,
    timeline: Timeline,
    kind: str,
    read: int,
    newer: int,
    answerer: str,
    measured: dict[str, Any],
) -> Anomaly:
    operations = registers.operations
    row = int(registers.read_row[read])
    old = registers.first_ender(int(registers.read_cluster[read]))
    writer, ender = int(registers.writer[newer]), registers.first_ender(newer)
    assert ender is not None  # only a write overwrites
    node = operations.node_name(row)
    by = f", answered by {node}{'' if answerer == 'unknown' else f' ({answerer})'}," if node else ""
    had = "was acknowledged" if ender == writer else f"had been seen by {name_operation(operations, ender)}"
    since = (
        f"began after {name_operation(operations, old)} had ended at {at(operations.end[old])}"
        if old is not None
        else "replaced the initial value"
    )
    behind = "1 version" if measured["versions"] == 1 else f"{measured['versions']} versions"
    start = int(operations.start[row])
    words = (
        f"{name_operation(operations, row)}{by} began at {at(start)}, {measured['stale_ms']:.3f} ms after "
        f"{name_operation(operations, writer)} {had}, and that one {since}: {behind} behind"
    )
    if kind == ROLLED_BACK:
        words += "; every write it contradicts was lost"
    end = int(operations.end[row])
    proof = [row, writer, ender, *([] if old is None else [old])]
    return Anomaly(
        kind=kind,
        explanation=f"{words}; {timeline.describe(start, end)}",
        operations=[int(operations.index[place]) for place in dict.fromkeys(proof)],
        key=operations.key_name(row),
        fault=timeline.fault_at(start, end),
        measured=measured,
    )


def _metrics(
    registers: Registers, stale: Ints, lag: Ints, versions: Ints, lost: NDArray[np.bool_], answerers: list[str]
) -> dict[str, Any]:
    operations = registers.operations
    kept = registers.read_row[stale[~lost]]
    ms = lag[stale[~lost]] / 1e6
    delta = smallest_delta_ns(registers)
    impossible = len(registers.phantoms) + len(registers.early)
    metrics: dict[str, Any] = {
        "checked": len(registers.read_row) + impossible,
        "stale": len(kept),
        "rolled_back": int(lost.sum()),
        "max_ms": float(ms.max(initial=0)),
        "max_versions": int(versions[~lost].max(initial=0)),
        "rolled_back_max_ms": float(lag[stale[lost]].max(initial=0)) / 1e6,
        "quantiles_ms": {name: float(np.quantile(ms, q)) for name, q in _QUANTILES.items()} if len(ms) else {},
        "histogram_ms": _histogram(ms),
        "by_key": _grouped(ms, [operations.key_name(row) or "" for row in kept.tolist()]),
        "by_node": _grouped(ms, [operations.node_name(row) or "unknown" for row in kept.tolist()]),
        "by_answerer": _grouped(ms, [answerers[place] for place in np.flatnonzero(~lost).tolist()]),
        "delta_ms": None if delta is None else delta / 1e6,
        # A read that two finished writes separate from its own is more than one version behind in any order.
        "two_atomic": False if versions.max(initial=0) > 1 else two_atomic(registers),
        "without_a_writer": impossible,
        "undecided": registers.undecided,
    }
    if delta is None:
        metrics["delta_undefined"] = f"{impossible} reads saw a value that nobody had written yet"
    return metrics


def _histogram(ms: NDArray[np.float64]) -> dict[str, int]:
    """How many stale reads there are up to each bound, without those up to the bound before it."""
    counts = np.bincount(np.searchsorted(BUCKETS_MS, ms, "left"), minlength=len(BUCKETS_MS) + 1).tolist()
    names = [*(f"up to {bound}" for bound in BUCKETS_MS), "more"]
    return {name: count for name, count in zip(names, counts, strict=True) if count}


def _grouped(ms: NDArray[np.float64], names: list[str]) -> dict[str, dict[str, float]]:
    """By name: the number of stale reads and the staleness of the worst."""
    groups: dict[str, dict[str, float]] = {}
    for name, lag in zip(names, ms.tolist(), strict=True):
        group = groups.setdefault(name, {"stale": 0, "max_ms": 0.0})
        group["stale"] += 1
        group["max_ms"] = max(group["max_ms"], lag)
    return groups

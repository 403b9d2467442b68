"""How soon a replica shows a write: the window in which a read that asks one still gets what was there before.

Asked is every read that a replica answered while the load ran, about the last write of its key that was acknowledged
before the read began. It *missed* that write when it returned a value that was certainly in effect before the write
began; any other answer may be newer, and counts as seen. The time between the acknowledgement and the read is the
read's *age*: the share of missed reads by age is the probability that probabilistically bounded staleness calls
t-visibility (Bailis et al., VLDB 2012). A write's *window* is the age of the oldest read that missed it, so it is at
least that long; of a write whose reads all saw it, it is 0.

Nothing here is an anomaly: replication is asynchronous. Where WAIT was asked for, the acknowledgement is its answer,
and the figures are told apart by how many replicas it counted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers.events import OK
from checkers.finding import Collector, Finding
from checkers.history import History
from checkers.zones import Ints, Registers, prepare, ways

BOUNDS_MS = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1_000, 3_000)
"""Ages are counted up to each of these, and beyond the last."""
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
NOT_ASKED = "no WAIT"


def check_visibility(history: History) -> Finding:
    """Measure reads from replicas against the writes before them; never invalid.

    Metrics: `checked` reads of replicas that a write went before, `missed` and `missed_share` of them; `by_age`, reads
    and missed ones by age (null: beyond the last bound); `window_ms`, quantiles of the windows of all `writes` that
    were asked for, and `max`; `by_wait`, all this by the number of replicas that WAIT had counted, if it was used.
    """
    registers = prepare(history, second_hand=True)
    reads, writes, ages = _asked(registers)
    missed = registers.first_end[registers.read_cluster[reads]] < registers.write_start[writes]
    metrics = _figures(writes, ages, missed)
    counted = _counted(registers, writes)
    if set(counted.tolist()) - {NOT_ASKED}:
        names = sorted(set(counted.tolist()))
        metrics["by_wait"] = {
            name: _figures(writes[counted == name], ages[counted == name], missed[counted == name]) for name in names
        }
    return Collector("visibility").finding(metrics)


def _asked(registers: Registers) -> tuple[Ints, Ints, NDArray[np.float64]]:
    """Positions of reads from replicas, for each the cluster of the write that it is asked for, and its age in ms."""
    operations = registers.operations
    via = ways(operations)
    chosen = np.array([via.get(row) == "replica" for row in registers.read_row.tolist()], np.bool_)
    reads = np.flatnonzero(chosen & ~operations.final[registers.read_row])
    clusters = np.flatnonzero(registers.writer >= 0)
    clusters = clusters[operations.type[registers.writer[clusters]] == OK]
    rows = registers.writer[clusters]
    acknowledged = registers.write_start[clusters] + operations.end[rows] - operations.start[rows]
    order = np.argsort(acknowledged, kind="stable")
    place = np.searchsorted(acknowledged[order], registers.read_start[reads], "left") - 1
    known = place >= 0
    reads, last = reads[known], order[place[known]]
    same = registers.key[clusters[last]] == registers.key[registers.read_cluster[reads]]
    reads, last = reads[same], last[same]
    return reads, clusters[last], (registers.read_start[reads] - acknowledged[last]) / 1e6


def _figures(writes: Ints, ages: NDArray[np.float64], missed: NDArray[np.bool_]) -> dict[str, Any]:
    bucket = np.searchsorted(BOUNDS_MS, ages, "left")
    bounds = [*BOUNDS_MS, None]
    all_, without = (np.bincount(bucket[kind], minlength=len(bounds)) for kind in (slice(None), missed))
    _, which = np.unique(writes, return_inverse=True)
    windows = np.zeros(int(which.max(initial=-1)) + 1)
    np.maximum.at(windows, which[missed], ages[missed])
    quantiles = {name: float(np.quantile(windows, q)) for name, q in QUANTILES.items()} if len(windows) else {}
    return {
        "checked": len(ages),
        "missed": int(missed.sum()),
        "missed_share": float(missed.mean()) if len(ages) else None,
        "by_age": [
            {"up_to_ms": bound, "reads": int(count), "missed": int(lacking)}
            for bound, count, lacking in zip(bounds, all_, without, strict=True)
            if count
        ],
        "window_ms": {**quantiles, "max": float(windows.max())} if len(windows) else {},
        "writes": len(windows),
    }


def _counted(registers: Registers, writes: Ints) -> NDArray[np.str_]:
    """For each write how many replicas its WAIT counted, in words."""
    details = registers.operations.details
    counts = [details.get(row, {}).get("acked") for row in registers.writer[writes].tolist()]
    return np.array([NOT_ASKED if count is None else f"{count} replicas" for count in counts], np.str_)

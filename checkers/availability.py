"""How long nobody could write: per range of slots, the time from the first write that had to wait to the next success.

Whoever waits longest decides: a window begins with the first attempt after the last success (or with that success,
when another attempt was already waiting), so a client that simply had nothing to do makes no window. This checker
measures and never judges; a claim says how long is too long.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers.context import Range, Timeline
from checkers.events import NEVER, OK
from checkers.finding import Collector, Finding
from checkers.history import History, Operations
from checkers.keyslot import SLOTS, key_slot

WINDOW_MS = 100
"""A shorter pause is not listed as a window."""
MOST_WINDOWS = 100
"""Windows that are listed, the longest first."""

_PARTICULAR = re.compile(r"\bn\d+\b|\d[\d.:]*")
Numbers = NDArray[np.int64]


def check_availability(history: History) -> Finding:
    """Measure the windows without a successful write while the load ran; never invalid.

    Metrics, in milliseconds since the run began: `longest_ms`, `total_ms` and `windows` ({range, start_ms, end_ms})
    over all ranges of the initial slot map, `by_range`, errors by kind, operations per second, and `latency_ms` of
    those that succeeded (p50, p99 by nearest rank, and max).
    """
    operations = history.operations
    load = Timeline.of(history).load
    rows = _attempts(operations)
    range_of = _ranges(history, rows)
    by_range: dict[str, dict[str, Any]] = {}
    windows: list[dict[str, Any]] = []
    for (first, last), chosen in range_of.items():
        name = f"{first}-{last}"
        found = _windows(operations, rows[chosen], load)
        listed = found[found[:, 1] - found[:, 0] >= WINDOW_MS * 1e6]
        windows += [{"range": name, "start_ms": start / 1e6, "end_ms": end / 1e6} for start, end in listed.tolist()]
        lengths = (found[:, 1] - found[:, 0]) / 1e6
        by_range[name] = {
            "writes": int((operations.type[rows[chosen]] == OK).sum()),
            "longest_ms": float(lengths.max(initial=0)),
            "total_ms": float(lengths[lengths >= WINDOW_MS].sum()),
            "windows": len(listed),
        }
    windows.sort(key=lambda window: window["start_ms"] - window["end_ms"])
    done = int(((operations.type == OK) & ~operations.final).sum())
    metrics = {
        "checked": len(rows),
        "longest_ms": max(entry["longest_ms"] for entry in by_range.values()),
        "total_ms": sum(entry["total_ms"] for entry in by_range.values()),
        "windows": windows[:MOST_WINDOWS],
        "by_range": by_range,
        "errors": _errors(operations),
        "latency_ms": _latency(operations),
        "operations_per_second": round(done / (load[1] - load[0]) * 1e9, 1) if load[1] > load[0] else None,
    }
    return Collector("availability").finding(metrics)


def _latency(operations: Operations) -> dict[str, float]:
    chosen = (operations.type == OK) & ~operations.final
    return quantiles_ms(operations.end[chosen] - operations.start[chosen])


def quantiles_ms(took_ns: NDArray[np.int64]) -> dict[str, float]:
    """Of latencies in nanoseconds: `p50` and `p99` by nearest rank, and `max`; empty where there are none."""
    took = np.sort(took_ns) / 1e6
    if not len(took):
        return {}
    ranks = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: float(took[max(0, math.ceil(share * len(took)) - 1)]) for name, share in ranks.items()}


def _attempts(operations: Operations) -> Numbers:
    """Rows of the writes of the run; a transaction is one when it appends."""
    plain = operations.rows("write", "cas", "add", "mset")
    appends = [
        row for row in operations.rows("txn").tolist() if any(verb == "append" for verb, *_ in operations.value[row])
    ]
    rows = np.sort(np.concatenate([plain, np.array(appends, np.int64)]))
    crossing = [row for row, detail in operations.details.items() if detail.get("via") in ("cross-slot", "undeclared")]
    kept: Numbers = rows[~operations.final[rows] & ~np.isin(rows, crossing)]
    return kept


def _ranges(history: History, rows: Numbers) -> dict[Range, NDArray[np.bool_]]:
    """The ranges of the initial slot map, each with a mask of the rows whose key lies in it."""
    ranges = [(first, last) for first, last, *_ in history.header.get("slots") or ()]
    if not ranges:
        return {(0, SLOTS - 1): np.ones(len(rows), np.bool_)}
    codes = history.operations.key[rows]
    slots = np.array([*map(key_slot, history.operations.keys), -1], np.int64)[codes]  # code -1: no key, no slot
    return {(first, last): (slots >= first) & (slots <= last) for first, last in ranges}


def _windows(operations: Operations, rows: Numbers, load: tuple[int, int]) -> NDArray[np.int64]:
    """(start, end) of every pause between two successes, or the ends of the load, in which a write waited; in ns."""
    starts, ends = operations.start[rows], operations.end[rows]
    succeeded = np.sort(ends[operations.type[rows] == OK])
    succeeded = succeeded[(succeeded >= load[0]) & (succeeded <= load[1])]
    edges = np.concatenate([[load[0]], succeeded, [load[1]]])
    before, after = edges[:-1], edges[1:]
    if not len(rows):
        return np.zeros((0, 2), np.int64)
    # Nobody knows how long an indeterminate write waited: it counts for the moment at which it was tried.
    latest_end = np.maximum.accumulate(np.where(ends == NEVER, starts, ends))
    begun = np.searchsorted(starts, before, side="right")
    waiting = (begun > 0) & (latest_end[np.maximum(begun - 1, 0)] > before)
    next_start = np.append(starts, NEVER)[begun]
    opened = np.where(waiting, before, np.maximum(before, next_start))
    real = opened < after
    return np.stack([opened[real], after[real]], axis=1)


def _errors(operations: Operations) -> dict[str, int]:
    """Failed and indeterminate operations of the run by kind of error, the most frequent first."""
    kinds: Counter[str] = Counter()
    for row in np.flatnonzero((operations.type != OK) & ~operations.final).tolist():
        kinds[_kind(str(operations.details.get(row, {}).get("error") or "no error was recorded"))] += 1
    return dict(kinds.most_common())


def _kind(error: str) -> str:
    """The prefix of a server's error; of other texts all but numbers, addresses and names of nodes."""
    word = error.split()[0].rstrip(":")
    return word if word.isupper() else _PARTICULAR.sub("…", error)

"""A cache in front of a database: how often it helped, what its misses cost, and how old was what it served.

Nothing here is an anomaly: the checker measures, and a claim says how much is too much. What is old is also found by
`checkers.staleness`, which accuses by what clients saw; here the versions that the database counts are the measure.

* *Hit rate*: of the answered reads, the share that an entry of the cache answered (also one that says that there is no
  such item).
* *Storm*: what a fault, and its end, made of the loads on the database: loads a second in the second before, and the
  most in any `STEP_NS` from then to the next such moment.
* *Stampede*: loads of one item that overlap in time, two or more. One would have done. `largest` is the most that were
  under way at the same moment, `wasted` all but one of each stampede.
* *Penetration*: loads of items that do not exist; no load puts those into the cache.
* *Avalanche*: a twentieth of the mean time to live in which a quarter or more of the entries that were there when it
  began came due, and `FEWEST` at least; spread evenly it would be one in twenty. An entry is there from the
  acknowledgement of its SET until its time is over, somebody sets it again, or somebody begins to write the item. It
  *came due* in a stretch if both bounds of its deadline (SET took effect between its sending and its acknowledgement)
  lie inside, and nobody set it or wrote the item after it was sent. What nodes evict or lose is not known here: those
  entries count as there.
* *Stale*: a read that returned version v of an item and began after a commit of a later version had ended. It was
  stale for as long as lies between that commit, the first of them, and the beginning of the read.
* *Left*: entries that are in the cache when all is at rest; of those that were looked at the ones that are older than
  the database's item, and of these the ones that have no time to live.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers.balance import AROUND_NS, stretches_of
from checkers.context import Timeline
from checkers.events import NEVER, OK
from checkers.fillings import HITS, NO_VERSION, Fillings, Numbers, Spans, fillings
from checkers.finding import Collector, Finding
from checkers.history import History

STEP_NS = 250_000_000
FEWEST = 20
STRETCHES, CROWD = 20, 0.25
"""Into how many stretches a mean time to live is cut, and the share of entries due in one that makes an avalanche."""
MOST_TOLD = 10
"""Stampedes and avalanches that are listed one by one, the greatest first."""

Mask = NDArray[np.bool_]


def check_cachefill(history: History) -> Finding:
    """Measure a cache that clients fill; never invalid.

    Metrics: `reads` by who answered (`checkers.zones.FILLED`), `hit_rate`, `miss_rate`, `hit_rate_over_time`; `loads`,
    `loads_per_s`, `loads_over_time`, `storms`; `stampedes` (their number) and `stampede`; `penetration` (a share of the
    loads) and `absent`; `avalanches` (their number) and `avalanche`; `stale`; `writes` by what became of their entry;
    `fallbacks`; `evicted` by node; `left`. Shares go from 0 to 1.
    """
    found = fillings(history.operations)
    if not found:
        return Collector("cachefill").finding({"checked": 0})
    timeline = Timeline.of(history)
    hit = found.reads.by(*HITS)
    rate = float(hit.mean()) if len(hit) else None
    metrics: dict[str, Any] = {
        "checked": len(found.reads.row) + len(found.commits),
        "reads": {via: found.reads.via.count(via) for via in sorted(set(found.reads.via))},
        "hit_rate": rate,
        "miss_rate": None if rate is None else 1 - rate,
        "hit_rate_over_time": _rate_over_time(found.reads.start, hit),
        **_loads(found.loads, timeline),
        "storms": _storms(found, hit, timeline),
        **_stampedes(history, found.loads),
        **_penetration(found),
        **_avalanches(history, found),
        "stale": _stale(history, found),
        "writes": found.writes,
        "fallbacks": found.fallbacks,
        "evicted": _counted(history, "evicted_keys"),
        "left": _left(history),
    }
    return Collector("cachefill").finding(metrics)


def _rate_over_time(start: Numbers, hit: Mask) -> list[dict[str, Any]]:
    width, place = stretches_of(start)
    reads, hits = np.bincount(place), np.bincount(place, hit)
    return [
        {"at_ms": number * width // 1_000_000, "reads": count, "rate": round(found / count, 4)}
        for number, (count, found) in enumerate(zip(reads.tolist(), hits.tolist(), strict=True))
        if count
    ]


def _loads(loads: Spans, timeline: Timeline) -> dict[str, Any]:
    lasted_s = (timeline.load[1] - timeline.load[0]) / 1e9
    width, place = stretches_of(loads.begin)
    counts = np.bincount(place).tolist()
    return {
        "loads": len(loads),
        "loads_per_s": len(loads) / lasted_s if lasted_s else None,
        "loads_over_time": [
            {"at_ms": number * width // 1_000_000, "per_s": round(count * 1e9 / width, 1)}
            for number, count in enumerate(counts)
        ],
    }


def _storms(found: Fillings, hit: Mask, timeline: Timeline) -> list[dict[str, Any]]:
    """One entry for each moment at which a fault began to hold or was over, within the load."""
    begun, ended = timeline.load
    moments = [(fault.start_ns, fault, "struck") for fault in timeline.faults]
    moments += [(fault.end_ns, fault, "over") for fault in timeline.faults]
    inside = sorted((moment for moment in moments if begun <= moment[0] < ended), key=lambda moment: moment[0])
    ends = [*(at for at, _, _ in inside[1:]), ended]
    return [
        {"fault": fault.number, "kind": fault.kind, "phase": phase, "at_ms": at / 1e6}
        | _storm(found, hit, at, max(begun, at - AROUND_NS), until)
        for (at, fault, phase), until in zip(inside, ends[: len(inside)], strict=True)
    ]


def _storm(found: Fillings, hit: Mask, at: int, since: int, until: int) -> dict[str, Any]:
    """From `since` to `at` it was before, and from there to `until` in steps of which only whole ones count."""
    loads, start = found.loads.begin, found.reads.start
    earlier = (start >= since) & (start < at)
    before = int(((loads >= since) & (loads < at)).sum()) * 1e9 / (at - since) if at > since else None
    edges = at + STEP_NS * np.arange((until - at) // STEP_NS + 1)
    counts = np.histogram(loads, edges)[0] if len(edges) > 1 else np.zeros(0)
    reads, hits = (np.histogram(times, edges)[0] if len(edges) > 1 else counts for times in (start, start[hit]))
    rates = hits[reads > 0] / reads[reads > 0]
    return {
        "before_per_s": before,
        "peak_per_s": float(counts.max() * 1e9 / STEP_NS) if len(counts) else None,
        "peak_at_ms": float(edges[counts.argmax()] / 1e6) if len(counts) else None,
        "hit_rate_before": float(hit[earlier].mean()) if earlier.any() else None,
        "hit_rate_lowest": float(rates.min()) if len(rates) else None,
    }


def _stampedes(history: History, loads: Spans) -> dict[str, Any]:
    """Loads lie on one line, key behind key, so that those of different keys never overlap."""
    if not len(loads):
        return {"stampedes": 0, "stampede": {"largest": 0, "wasted": 0, "greatest": []}}
    span = int(loads.end.max()) + 2
    begin, end = loads.key * span + loads.begin, loads.key * span + loads.end
    fresh = np.ones(len(loads), np.bool_)
    fresh[1:] = begin[1:] >= np.maximum.accumulate(end)[:-1]
    group = np.cumsum(fresh) - 1
    size = np.bincount(group)
    under_way = np.arange(1, len(loads) + 1) - np.searchsorted(np.sort(end), begin, "right")
    most = np.zeros(len(size), np.int64)
    np.maximum.at(most, group, under_way)
    operations = history.operations
    greatest = [number for number in np.argsort(-most, kind="stable")[:MOST_TOLD].tolist() if size[number] > 1]
    rows = {number: loads.row[group == number] for number in greatest}
    return {
        "stampedes": int((size > 1).sum()),
        "stampede": {
            "largest": int(most.max()),
            "wasted": int((size - 1).sum()),
            "greatest": [
                {
                    "key": operations.key_name(int(rows[number][0])),
                    "at_ms": float(loads.begin[group == number][0] / 1e6),
                    "at_once": int(most[number]),
                    "operations": operations.index[rows[number]].tolist(),
                }
                for number in greatest
            ],
        },
    }


def _penetration(found: Fillings) -> dict[str, Any]:
    absent = int((found.loads.figure == NO_VERSION).sum())
    return {
        "penetration": absent / len(found.loads) if len(found.loads) else None,
        "absent": {"loads": absent, "kept_off": found.reads.via.count("negative")},
    }


def _avalanches(history: History, found: Fillings) -> dict[str, Any]:
    entries = found.entries
    mortal = np.flatnonzero(entries.figure > 0)
    if len(mortal) < FEWEST:
        return {"avalanches": 0, "avalanche": {"stretch_ms": None, "greatest": []}}
    followed, touched = _followers(history, entries)
    put, due = entries.end[mortal], (entries.begin + entries.figure)[mortal]
    due_late = put + entries.figure[mortal]
    # What was perhaps replaced or removed before its time did not come due; from the first time at which it may have
    # been, it does not count as there.
    expired = (followed[mortal] > due_late) & ~touched[mortal]
    gone = np.where(expired, due, np.minimum(due, followed[mortal]))
    width = max(1_000_000, int(entries.figure[mortal].mean()) // STRETCHES)
    edges = np.arange(0, int(due_late.max()) + 2 * width, width)
    lived = gone > put
    there = np.searchsorted(np.sort(put[lived]), edges, "right") - np.searchsorted(np.sort(gone[lived]), edges, "right")
    within = expired & (due // width == due_late // width)
    came_due = np.bincount(due[within] // width, minlength=len(edges))[: len(edges)]
    crowds = np.flatnonzero((came_due >= FEWEST) & (came_due >= CROWD * there))
    crowds = crowds[edges[crowds] < Timeline.of(history).load[1]]
    greatest = crowds[np.argsort(-came_due[crowds], kind="stable")][:MOST_TOLD].tolist()
    return {
        "avalanches": len(crowds),
        "avalanche": {
            "stretch_ms": width / 1e6,
            "greatest": [
                {"at_ms": float(edges[n] / 1e6), "due": int(came_due[n]), "there": int(there[n])} for n in greatest
            ],
        },
    }


def _followers(history: History, entries: Spans) -> tuple[Numbers, Mask]:
    """For each entry when somebody next set it or began to write its item, and whether a write overlapped its SET.

    Writes whose outcome is not known count as well: they may remove the entry.
    """
    operations = history.operations
    writes = operations.rows("write")
    writes = writes[np.isin(operations.key[writes], entries.key)]
    span = max(int(entries.end.max()), int(operations.start.max())) + 2
    line = entries.key * span
    last = np.minimum(operations.end[writes], span - 2)
    written = operations.key[writes].astype(np.int64) * span + operations.start[writes]
    over = operations.key[writes].astype(np.int64) * span + last
    begins = np.sort(np.concatenate((line + entries.begin, written)))
    following = np.searchsorted(begins, line + entries.begin, "right")
    bound = np.append(begins, NEVER)[following]
    followed = np.where(bound < line + span, bound - line, NEVER)
    # Of the writes that began before the SET was acknowledged, some were not over when it was sent; perhaps its own.
    begun = np.searchsorted(np.sort(written), line + entries.end, "right")
    overlapping = begun - np.searchsorted(np.sort(over), line + entries.begin, "left")
    return followed, overlapping > (operations.f[entries.row] == operations.code("write"))


def _stale(history: History, found: Fillings) -> dict[str, Any]:
    """How far reads were behind the database when they began."""
    reads, commits = found.reads, found.commits
    lag, behind = np.zeros(len(reads.row), np.int64), np.zeros(len(reads.row), np.int64)
    for key in np.unique(commits.key).tolist():
        mine = np.flatnonzero(commits.key == key)
        mine = mine[np.argsort(commits.figure[mine], kind="stable")]
        version, end = commits.figure[mine], commits.end[mine]
        soonest = np.append(np.minimum.accumulate(end[::-1])[::-1], NEVER)
        by_end = np.argsort(end, kind="stable")
        newest = np.append(-1, np.maximum.accumulate(version[by_end]))
        of = np.flatnonzero((reads.key == key) & (reads.version != NO_VERSION))
        overtaken = soonest[np.searchsorted(version, reads.version[of], "right")]
        lag[of] = np.maximum(0, reads.start[of] - overtaken)
        behind[of] = newest[np.searchsorted(end[by_end], reads.start[of], "left")] - reads.version[of]
    stale = np.flatnonzero(lag > 0)
    ms = lag[stale] / 1e6
    ways = [reads.via[place] for place in stale.tolist()]
    worst = stale[np.argsort(-lag[stale], kind="stable")][:1].tolist()
    return {
        "reads": len(stale),
        "share": len(stale) / len(reads.row) if len(reads.row) else None,
        "max_ms": float(ms.max(initial=0)),
        "p50_ms": float(np.median(ms)) if len(ms) else 0.0,
        "max_versions": int(behind[stale].max(initial=0)),
        "by": {via: ways.count(via) for via in sorted(set(ways))},
        "worst": [int(history.operations.index[reads.row[place]]) for place in worst],
    }


def _counted(history: History, name: str) -> dict[str, int]:
    """What nodes counted themselves since they were started last, by node."""
    said = [event.value for event in history.context if event.process == "controller" and event.f == "stats"]
    return {value["node"]: value[name] for value in said if name in value}


def _left(history: History) -> dict[str, int]:
    """Entries that nodes held when all was at rest, and how old those were that the controller looked at."""
    operations = history.operations
    versions = {
        operations.key_name(row): detail["fill"].get("version", NO_VERSION)
        for row, detail in operations.details.items()
        if "fill" in detail and operations.final[row] and operations.type[row] == OK
    }
    said = [event.value for event in history.context if event.process == "controller" and event.f == "cached"]
    entries = [entry for value in said for entry in value["entries"]]
    stale = [entry for entry in entries if entry[2] < versions.get(entry[0], NO_VERSION)]
    return {
        "entries": sum(value["held"] for value in said),
        "looked_at": len(entries),
        "stale": len(stale),
        "stale_for_good": sum(entry[3] < 0 for entry in stale),
    }

"""Session guarantees of unique-value registers, per client process and key, and per pair of keys.

The four guarantees are those of Terry et al. ("Session guarantees for weakly consistent replicated data", 1994), as
far as a register can show them. "Older" means proved older: version u is older than version w when u was in effect
(acknowledged, or seen by anybody) before the write of w began.

* `read-your-writes`: a process read a version older than one it had itself written and seen acknowledged.
* `non-monotonic-read`: a process read a version older than one it had read before.
* `non-monotonic-write`: such a read went back over two versions that one process had written one after the other.
* `writes-follow-reads`: such a read went back from a version whose writer had first read the older one.
* `non-monotonic-write-across-keys`: a process read what another had written to one key, and then of a second key a
  version older than one that this other process had itself written before.
* `writes-follow-reads-across-keys`: the same with one that the other process had read before.

The last two are for clients of which the one tells the other something by way of the store. A store whose keys live on
several servers seldom promises them; each key's linearizability implies them (see `checkers.causality`).

Reads from replicas and caches count, too: clients live with those. A process that got an unknown outcome is over.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from checkers.causality import Contradiction, across_keys
from checkers.context import Timeline
from checkers.events import OK
from checkers.finding import Anomaly, Collector, Finding
from checkers.history import History
from checkers.linearizability import at, name_operation, unknown
from checkers.zones import Ints, Registers, packed, prepare

CHECKER = "sessions"
READ_YOUR_WRITES, MONOTONIC_READ = "read-your-writes", "non-monotonic-read"
MONOTONIC_WRITE, FOLLOW_READS = "non-monotonic-write", "writes-follow-reads"
ACROSS_KEYS = "-across-keys"
"""Added to the last two where two keys are concerned."""

_THOUGH = {
    MONOTONIC_WRITE: ", though one process wrote both, the older one first",
    FOLLOW_READS: ", though who wrote that one had read the older one before",
}


def check_sessions(history: History, *, initial: Any = None) -> Finding:
    """Find reads that break a promise to their own process; O(n log n) in NumPy.

    A read that goes back is one `non-monotonic-read`, however many earlier reads it contradicts, and in addition a
    `non-monotonic-write` or `writes-follow-reads` when the two versions' writers show it. Reads taken after
    convergence are no client's session. `initial` is the value before the first write.
    """
    registers = prepare(history, second_hand=True, initial=initial)
    timeline = Timeline.of(history)
    steps = _steps(registers)
    found = Collector(CHECKER)
    for place, earlier in _went_back(registers, steps, own=True).tolist():
        _report(found, registers, timeline, READ_YOUR_WRITES, steps, place, earlier)
    back = _went_back(registers, steps, own=False)
    for kind, pairs in (
        (MONOTONIC_READ, back),
        (MONOTONIC_WRITE, _same_writer(registers, steps, back)),
        (FOLLOW_READS, _followed(registers, steps, back)),
    ):
        for place, earlier in pairs.tolist():
            _report(found, registers, timeline, kind, steps, place, earlier)
    across = across_keys(registers)
    for kind, contradictions in ((MONOTONIC_WRITE, across.after_writes), (FOLLOW_READS, across.after_reads)):
        for contradiction in contradictions:
            _report_across(found, registers, timeline, kind + ACROSS_KEYS, contradiction)
    metrics = {
        "checked": len(steps.row),
        "sessions": int(steps.session[-1]) + 1 if len(steps.row) else 0,
        "not_compared_across_keys": across.skipped,
        "undecided": registers.undecided,
    }
    return found.finding(metrics, unknown(registers) or _not_compared(across.skipped))


class _Steps(NamedTuple):
    """What each process did to each key, session by session in order of time."""

    session: Ints
    row: Ints
    cluster: Ints
    read: Ints
    """1 for a read, 0 for an acknowledged write."""


def _steps(registers: Registers) -> _Steps:
    operations = registers.operations
    mine = (registers.writer >= 0) & (operations.type[registers.writer] == OK)
    asked = ~operations.final[registers.read_row]
    row = np.concatenate((registers.writer[mine], registers.read_row[asked]))
    cluster = np.concatenate((np.flatnonzero(mine), registers.read_cluster[asked]))
    read = np.concatenate((np.zeros(int(mine.sum()), np.int64), np.ones(int(asked.sum()), np.int64)))
    session = packed(operations.process[row], registers.key[cluster])
    order = np.argsort(packed(session, row))  # rows are sorted by time
    fresh = np.diff(session[order], prepend=-1) != 0
    return _Steps(np.cumsum(fresh) - 1, row[order], cluster[order], read[order])


def _went_back(registers: Registers, steps: _Steps, *, own: bool) -> Ints:
    """Reads of a version older than the newest one the session had written (`own`) or read, and where it had that.

    Pairs of places in `steps`, one a line: the read, and the earlier step.
    """
    by_start = np.argsort(registers.write_start, kind="stable")
    rank = np.empty(len(by_start), np.int64)
    rank[by_start] = np.arange(len(by_start))
    counted = steps.read == (0 if own else 1)
    # The session in the upper part of the number: a running maximum then never looks back into another session.
    width = len(by_start) + 1
    floor = steps.session * width
    newest = floor + np.where(counted, rank[steps.cluster] + 1, 0)
    reached = np.maximum.accumulate(newest)
    holder = np.maximum.accumulate(np.where(newest == reached, np.arange(len(newest)), 0))
    older_than = np.searchsorted(registers.write_start[by_start], registers.first_end[steps.cluster], "right")
    back = (steps.read == 1) & (reached - floor - 1 >= older_than)
    places = np.flatnonzero(back)
    pairs: Ints = np.column_stack((places, holder[places]))
    return pairs


def _same_writer(registers: Registers, steps: _Steps, pairs: Ints) -> Ints:
    """Those of the pairs whose two versions one process wrote."""
    older, newer = (registers.writer[steps.cluster[pairs[:, side]]] for side in (0, 1))
    process = registers.operations.process
    kept: Ints = pairs[(older >= 0) & (process[older] == process[newer])]
    return kept


def _followed(registers: Registers, steps: _Steps, pairs: Ints) -> Ints:
    """Those of the pairs where the process that wrote the newer version had read the older one before."""
    operations = registers.operations
    processes = np.unique(operations.process[steps.row])
    reads = np.flatnonzero(steps.read)
    reader = np.searchsorted(processes, operations.process[steps.row[reads]])
    known = steps.cluster[reads] * len(processes) + reader
    order = np.lexsort((operations.end[steps.row[reads]], known))
    known, ended = known[order], operations.end[steps.row[reads]][order]
    writer = registers.writer[steps.cluster[pairs[:, 1]]]
    author = operations.process[writer]
    wanted = steps.cluster[pairs[:, 0]] * len(processes) + np.searchsorted(processes, author)
    first = np.minimum(np.searchsorted(known, wanted), max(len(known) - 1, 0))
    # The author may be no session at all, when its only write to a register has no known outcome.
    is_session = np.isin(author, processes)
    kept: Ints = pairs[is_session & (known[first] == wanted) & (ended[first] < operations.start[writer])]
    return kept


def _report(
    found: Collector,
    registers: Registers,
    timeline: Timeline,
    kind: str,
    steps: _Steps,
    place: int,
    earlier: int,
) -> None:
    if not found.wants(kind):
        found.count(kind)
        return
    operations = registers.operations
    row, before = int(steps.row[place]), int(steps.row[earlier])
    writer = int(registers.writer[steps.cluster[earlier]])
    old = registers.first_ender(int(steps.cluster[place]))
    since = "replaced the initial value" if old is None else f"began after {name_operation(operations, old)} had ended"
    start, end = int(operations.start[row]), int(operations.end[row])
    rows = [row, before, writer, *([] if old is None else [old])]
    found.add(
        Anomaly(
            kind=kind,
            explanation=(
                f"process {operations.process[row]}: {name_operation(operations, row)} at {at(start)} returned a "
                f"version older than that of its own {name_operation(operations, before)} at "
                f"{at(operations.start[before])}{_THOUGH.get(kind, '')}: {name_operation(operations, writer)} {since}; "
                f"{timeline.describe(start, end)}"
            ),
            operations=[int(operations.index[number]) for number in dict.fromkeys(rows)],
            key=operations.key_name(row),
            fault=timeline.fault_at(start, end),
        )
    )


def _report_across(found: Collector, registers: Registers, timeline: Timeline, kind: str, wrong: Contradiction) -> None:
    if not found.wants(kind):
        found.count(kind)
        return
    operations = registers.operations
    process, other = operations.process[wrong.read], operations.process[wrong.write]
    newer, old = int(registers.writer[wrong.newer]), registers.first_ender(wrong.older)
    since = "replaced the initial value" if old is None else f"began after {name_operation(operations, old)} had ended"
    start, end = int(operations.start[wrong.read]), int(operations.end[wrong.read])
    key, second = operations.key_name(wrong.read), operations.key_name(wrong.write)
    rows = [wrong.read, wrong.passed_on, wrong.write, wrong.saw, newer, *([] if old is None else [old])]
    found.add(
        Anomaly(
            kind=kind,
            explanation=(
                f"process {process}: {name_operation(operations, wrong.read)} on {key} at {at(start)} returned "
                f"a version older than that of process {other}'s {name_operation(operations, wrong.saw)}, though "
                f"it had seen ({name_operation(operations, wrong.passed_on)}) what process {other} wrote only then, "
                f"{name_operation(operations, wrong.write)} on {second}: {name_operation(operations, newer)} {since}; "
                f"{timeline.describe(start, end)}"
            ),
            operations=[int(operations.index[number]) for number in dict.fromkeys(rows)],
            key=key,
            fault=timeline.fault_at(start, end),
        )
    )


def _not_compared(reads: int) -> str | None:
    return f"{reads} stale reads were not compared with what clients knew from other keys: too many" if reads else None

"""Which stale reads saw a state that had been rolled back, rather than one that was merely old.

A read contradicts the newer writes that were done before it began. If those writes survived, the read was served by
somebody who lagged behind. If all of them were lost, the read told the truth about what was left. Being lost takes a
proof, and only a run that converged before its final reads can give one. There are two:

*The final value is no newer.* The final read of the key returned a value that was certainly in effect before the
read's own value, or that value itself: then none of the newer writes is left. If none of them was seen by a read
that began after this one either, the read is rolled back.

*The answering node kept the key.* The node that answered also answered the final read, and from the read until then
it was primary without a break, in one configuration epoch. Its state is the one that survived; when it answered, the
newer writes, though done, were not in it, and a primary receives nothing from others. (A node gets a new epoch
whenever it is promoted or takes slots over, see the Redis Cluster specification.) Reads served with ASKING prove
nothing, and neither do those of a node that contradicted itself (see `checkers.reigns`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers.context import Timeline
from checkers.events import OK
from checkers.reigns import contradicted, reigns
from checkers.zones import SECOND_HAND, Ints, Registers, ways


def rolled_back(registers: Registers, timeline: Timeline, reads: Ints) -> NDArray[np.bool_]:
    """Which of these stale reads (positions in `registers.read_row`) are proved to have seen a rolled-back state."""
    finals = _finals(registers)
    if not timeline.converged or not len(finals):
        return np.zeros(len(reads), np.bool_)
    number = registers.key[registers.read_cluster[finals]]
    final_of = np.full(len(registers.keys), -1, np.int64)
    final_of[number] = finals
    final = final_of[registers.key[registers.read_cluster[reads]]]
    found = final >= 0
    known, final = reads[found], final[found]
    proved = _kept_by_its_node(registers, timeline, known, final)
    proved |= _nothing_newer_is_left(registers, known, final)
    result = np.zeros(len(reads), np.bool_)
    result[found] = proved
    return result


def _finals(registers: Registers) -> Ints:
    """Final reads from owners, one a key; none of a key whose final reads disagree."""
    operations = registers.operations
    finals = np.flatnonzero(operations.final[registers.read_row])
    via = ways(operations)
    finals = finals[[int(registers.read_row[place]) not in via for place in finals.tolist()]] if len(finals) else finals
    clusters = np.unique(registers.read_cluster[finals])
    keys, times = np.unique(registers.key[clusters], return_counts=True)
    agreed = np.isin(registers.key[registers.read_cluster[finals]], keys[times == 1])
    return finals[agreed]


def _nothing_newer_is_left(registers: Registers, reads: Ints, final: Ints) -> NDArray[np.bool_]:
    value, last = registers.read_cluster[reads], registers.read_cluster[final]
    no_newer = registers.first_end[last] <= registers.first_end[value]
    order = np.argsort(registers.write_start, kind="stable")
    # The latest read of a write or of any later one, on a line that has the keys in reverse: a maximum taken from
    # the end backwards then finds something of the key itself before anything of the keys behind it.
    mirror = registers.base[-1] - 2 * registers.base
    was_read = registers.last_read > registers.write_start
    seen = np.where(was_read, registers.last_read + mirror[registers.key], -1)[order]
    latest = np.append(np.maximum.accumulate(seen[::-1])[::-1], -1)
    newer = np.searchsorted(registers.write_start[order], registers.first_end[value], "right")
    begun = registers.read_start[reads]
    unseen = latest[newer] <= begun + mirror[registers.key[value]]
    result: NDArray[np.bool_] = no_newer & unseen & (registers.read_start[final] >= begun)
    return result


def _kept_by_its_node(registers: Registers, timeline: Timeline, reads: Ints, final: Ints) -> NDArray[np.bool_]:
    operations = registers.operations
    row, end_row = registers.read_row[reads], registers.read_row[final]
    node = operations.node[row]
    kept: NDArray[np.bool_] = (node >= 0) & (node == operations.node[end_row])
    details = operations.details
    for place in np.flatnonzero(kept).tolist():
        kept[place] = _as_owner(details.get(int(row[place]), {}))
    for code in np.unique(node[kept]).tolist():
        mine = np.flatnonzero(kept & (node == code))
        name = operations.nodes[code]
        then, now = (reigns(timeline, name, operations.start[rows[mine]]) for rows in (row, end_row))
        kept[mine] = (then >= 0) & (then == now)
    if kept.any():
        kept &= ~_contradicted(registers, timeline)[reads]
    return kept


def _contradicted(registers: Registers, timeline: Timeline) -> NDArray[np.bool_]:
    """Which reads a node answered that contradicted itself at the time."""
    operations = registers.operations
    written = np.flatnonzero(registers.writer >= 0)
    written = written[operations.type[registers.writer[written]] == OK]
    rows = np.concatenate((registers.writer[written], registers.read_row))
    cluster = np.concatenate((written, registers.read_cluster))
    aside = [row for row, detail in operations.details.items() if not _as_owner(detail)]
    plain = np.flatnonzero(~np.isin(rows, aside))
    lies = contradicted(
        timeline,
        operations,
        rows[plain],
        plain >= len(written),
        registers.write_start[cluster[plain]],
        registers.first_end[cluster[plain]],
    )
    found = np.zeros(len(rows), np.bool_)
    found[plain] = lies
    return found[len(written) :]


def _as_owner(detail: dict[str, Any]) -> bool:
    return not detail.get("asking") and detail.get("via") not in SECOND_HAND

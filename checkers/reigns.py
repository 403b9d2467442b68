"""When a node was primary without a break, and whether it was true to its own word in that time.

A *reign* is an unbroken time as a primary of one configuration epoch. In a reign a node's data only grows newer: it
receives nothing from others and loses nothing. So a node that answers a read with a version older than one that it
had itself acknowledged or shown before, in the same reign, answers something else than what it holds. What such a node
says in that reign is stale perhaps, but no proof of what it lacked.

A node's view may lag: one that answers as an owner although its last view says replica has the epoch of its next
view, because nobody is promoted, demoted and promoted again between two polls. A fault that ends the process ends the
reign as well, even where the views are too far apart to show it.

Outside a cluster replicas answer reads, too, so an answer does not show that the node was a primary. There a reign
counts only where no view of the node within the observer's lag after the time says anything else.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from checkers.context import OBSERVER_LAG_NS, Timeline
from checkers.events import NEVER
from checkers.history import Operations
from checkers.zones import Ints, packed

ENDING = frozenset({"kill", "terminate", "restart", "migrate-crash", "power-loss", "crash", "kill-at"})
"""Kinds of faults that end a server process, and with it what it had only in memory."""
PERHAPS_ENDING = frozenset({"disk"})
"""Kinds in which a process may end itself; it is started again when they heal, no sooner."""


def reigns(timeline: Timeline, node: str, times: Ints) -> Ints:
    """Number of the reign in which a node was at each time (ns since the run began); -1 if not known."""
    views = timeline.views.get(node, [])
    if not views:
        return np.full(len(times), -1, np.int64)
    numbers: list[int] = []
    epoch: int | None = None
    number = 0
    for view in views:
        current = view.epoch if view.role == "primary" and view.up else None
        number += current != epoch
        epoch = current
        numbers.append(-1 if current is None else number)
    numbers.append(-1)
    reign = np.array(numbers)
    stamps = [view.time_ns for view in views]
    place = np.searchsorted(stamps, times, "right") - 1
    if timeline.owners_only:
        found = np.where((place >= 0) & (reign[place] < 0), reign[np.minimum(place + 1, len(views))], reign[place])
    else:
        soon = np.searchsorted(stamps, times + OBSERVER_LAG_NS, "right") - 1
        found = np.where(reign[place] == reign[soon], reign[place], -1)  # the number of a reign never comes back
    ends = list(_ends(timeline, node))
    lives = np.searchsorted(sorted(ends), times)
    return np.where(found < 0, -1, found * (len(ends) + 1) + lives)


def _ends(timeline: Timeline, node: str) -> Iterator[int]:
    """When a life of the node's process may have come to its end, or the next one begun."""
    for fault in timeline.faults:
        if node in fault.nodes and fault.kind in ENDING | PERHAPS_ENDING:
            yield fault.start_ns
            if fault.kind in PERHAPS_ENDING and fault.end_ns < NEVER:
                yield fault.end_ns


def contradicted(
    timeline: Timeline, operations: Operations, rows: Ints, reads: NDArray[np.bool_], begun: Ints, done: Ints
) -> NDArray[np.bool_]:
    """Which answers of primaries belong to a reign whose node contradicted itself about some key; O(n log n).

    `rows` are answered reads (where `reads`) and acknowledged writes; `begun` and `done` say when the write of the
    version that each returned or made had begun, and by when it had taken effect, comparable within a key.
    """
    nodes, starts, ends = (column[rows] for column in (operations.node, operations.start, operations.end))
    reign = np.full(len(rows), -1, np.int64)
    for code in np.unique(nodes[nodes >= 0]).tolist():
        mine = nodes == code
        reign[mine] = reigns(timeline, operations.nodes[code], np.where(reads, starts, ends)[mine])
    places = np.flatnonzero(reign >= 0)
    places = places[np.argsort(begun[places], kind="stable")]
    rank = np.arange(1, len(places) + 1)
    older_than = np.searchsorted(begun[places], done[places], "right")
    rule = packed(nodes[places].astype(np.int64), reign[places])
    about = packed(rule, operations.key[rows[places]].astype(np.int64) + 1)
    asked = np.flatnonzero(reads[places])
    # Each end tells a version, each start of a read asks for the newest told before; of equal times the asking first.
    group = np.concatenate((about, about[asked]))
    order = np.lexsort(
        (
            np.repeat([1, 0], [len(about), len(asked)]),
            np.concatenate((ends[places], starts[places][asked])),
            group,
        )
    )
    floor = (np.cumsum(np.diff(group[order], prepend=-1) != 0) - 1) * (len(places) + 1)
    told = np.concatenate((rank, np.zeros(len(asked), np.int64)))[order]
    newest = np.empty(len(order), np.int64)
    newest[order] = np.maximum.accumulate(floor + told) - floor
    liars = rule[asked][newest[len(about) :] > older_than[asked]]
    result = np.zeros(len(rows), np.bool_)
    result[places] = np.isin(rule, liars)
    return result

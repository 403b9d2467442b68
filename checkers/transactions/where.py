"""Where cycles can be, found without looking for one: most histories have few places that deserve the search.

Every node gets a *position*, a number on the line of time, by three rules. A transaction stands between its start and
its end. Each edge pushes its target behind its source, as far as the first rule lets it. An edge that still does not
lead forward when nothing moves any more, or when enough has been tried, is *suspect*.

Why it is enough to look at the nodes whose position lies between the two ends of some suspect edge: follow a cycle
from one of its nodes, at position x. If the edge that leaves it is suspect, there is nothing to show. Else the next
node lies beyond x, and as the cycle comes back, some later edge leads from beyond x to x or before it: a suspect edge
with x between its ends. That one transaction ended before another began is never suspect, since the first rule alone
puts the one before the other; so these relations need not even be written down to say that a history has no cycle.
"""

from __future__ import annotations

import numpy as np

from checkers.events import NEVER
from checkers.transactions.micro import Flags, Ints

ROUNDS = 60
"""How often edges push. In a history without cycles that are as many as operations wait for each other in one chain."""
_LINE = 2**62
"""Positions go up to here."""


def suspected(start: Ints, end: Ints, before: Ints, source: Ints, target: Ints) -> Flags:
    """Of all nodes, those that a cycle can pass. Edges lead from `source[i]` to `target[i]`.

    The first nodes are transactions, of which `start` and `end` (`NEVER`, or as `start` in nanoseconds) are given; the
    others are extra ones, for each of which `before` has a transaction that it leads to.
    """
    position, latest = _line(start, end, before)
    loose = np.flatnonzero(latest[source] >= position[target])  # no other edge can become suspect
    source, target = source[loose], target[loose]
    live = np.arange(len(source))
    for _ in range(ROUNDS):
        least = np.minimum(position[source[live]] + 1, latest[target[live]])
        pushes = least > position[target[live]]
        pushed = target[live[pushes]]
        if not len(pushed):
            break
        np.maximum.at(position, pushed, least[pushes])
        moved = np.zeros(len(position), np.bool_)
        moved[pushed] = True
        live = np.flatnonzero(moved[source])
    suspect = position[source] >= position[target]
    return _between(position, position[target[suspect]], position[source[suspect]])


def _line(start: Ints, end: Ints, before: Ints) -> tuple[Ints, Ints]:
    """By node, the first and the last position that it may have. Between two moments there is room for many nodes."""
    ends = end != NEVER
    origin = int(start.min(initial=NEVER))
    moments = max(int(start.max(initial=origin)), int(end.max(initial=origin, where=ends))) - origin + 2
    room = max(1, _LINE // moments)
    first = (start - origin) * room
    last = np.full(len(start) + len(before), _LINE)
    last[: len(start)][ends] = (end[ends] - origin + 1) * room - 1
    return np.concatenate((first, first[before] - 1)), last


def _between(position: Ints, low: Ints, high: Ints) -> Flags:
    """Of all positions, those between a low one and its high one, or on one of them."""
    if not len(low):
        return np.zeros(len(position), np.bool_)
    order = np.argsort(low)
    low, reach = low[order], np.maximum.accumulate(high[order])
    place = np.searchsorted(low, position, side="right") - 1
    return np.asarray((place >= 0) & (reach[place] >= position), np.bool_)

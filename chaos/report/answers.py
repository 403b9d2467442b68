"""Who answered: operations by node, outcome and latency."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from checkers.availability import quantiles_ms
from checkers.events import NEVER, OK, TYPES
from checkers.history import History

NOBODY = "nobody"
"""Stands for operations that no node answered."""


@dataclass(frozen=True)
class Answers:
    """What one node answered to the clients of the load."""

    name: str
    counts: dict[str, int]
    """Operations by outcome."""
    latency_ms: dict[str, float]
    """`p50`, `p99` (nearest rank) and `max` of those that ended `ok`; empty where there were none."""


def answers(history: History) -> list[Answers]:
    """One for each node, in the order of the header, and one for `NOBODY` last. Final reads are left out.

    A node that answered nothing is there as well, if the header names it.
    """
    operations = history.operations
    load = ~operations.final
    known = list(history.header.get("nodes", {}))
    names = [*known, *(name for name in operations.nodes if name not in known)]
    found = []
    for name in [*names, NOBODY]:
        code = operations.nodes.index(name) if name in operations.nodes else -2
        own = load & (operations.node < 0 if name == NOBODY else operations.node == code)
        kinds = np.bincount(operations.type[own], minlength=len(TYPES))
        done = own & (operations.type == OK) & (operations.end != NEVER)
        quantiles = quantiles_ms(operations.end[done] - operations.start[done])
        found.append(Answers(name, dict(zip(TYPES, kinds.tolist(), strict=True)), quantiles))
    return [who for who in found if who.name != NOBODY or any(who.counts.values())]

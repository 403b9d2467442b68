"""Where the data of a promoted replica ended, and how much more its old primary had: read from the servers' logs.

A replica that becomes a primary logs the id of the replication it took part in and the offset up to which it can
answer for it (`Setting secondary replication ID ..., valid up to offset: N`). Whoever is made its replica later asks
to go on from its own offset in the same replication (`Trying a partial resynchronization (request ID:M)`). What lies
between the two is refused and discarded. Offsets count the bytes of the stream of writes, and belong together by the
id alone: logs have clocks of their own. Redis 7 and 8 and Valkey 8 and 9 write these lines; where they are missing,
nothing is told.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_PROMOTED = re.compile(r"Setting secondary replication ID to ([0-9a-f]{40}), valid up to offset: (\d+)")
_ASKED = re.compile(r"Trying a partial resynchronization \(request ([0-9a-f]{40}):(\d+)\)")


class Divergence(NamedTuple):
    """One promotion."""

    node: str
    """Who was promoted."""
    offset: int
    """Up to where it had the replication of its old primary; the byte at this offset is the first that it lacked."""
    beyond: Mapping[str, int]
    """By node that had more: how many bytes of the same replication were discarded there."""


def divergences(logs: Path) -> list[Divergence]:
    """Every promotion that the logs in a folder (`n5.log`, ...) tell of, those of each node in their order."""
    texts = {log.stem: log.read_text(encoding="utf-8", errors="replace") for log in sorted(logs.glob("n*.log"))}
    asked = [(node, id_, int(at)) for node, log in texts.items() for id_, at in _ASKED.findall(log)]
    found = []
    for node, log in texts.items():
        for id_, end in _PROMOTED.findall(log):
            more = {who: at - int(end) for who, of, at in asked if of == id_ and who != node and at > int(end)}
            found.append(Divergence(node, int(end), more))
    return found

"""Route `l1`: a bounded cache in each client, in front of another route.

An entry lives for `ttl` from the moment at which it was read or written, whatever others write meanwhile: nobody
tells the client. So a read that it answers is at most that much older than the read which filled it, and nothing
shortens that but a write of the client's own.

What it keeps are values that a whole answer showed: a read's, or its own acknowledged write's. Of a write whose outcome
nobody knows it forgets what it had. Absent keys are asked for again each time, as redis-py's own cache does.
"""

from __future__ import annotations

from typing import Any

from chaos.operation import Operation
from chaos.outcomes import Outcome

NAME = "l1"
"""Who answered, in the history, when no node was asked."""


class Near:
    """The cache of one client. The least recently used entry makes room."""

    def __init__(self, ttl_ns: int, entries: int) -> None:
        """`ttl_ns` is how long an entry lives, `entries` how many there can be."""
        self._ttl_ns = ttl_ns
        self._most = entries
        self._kept: dict[str, tuple[Any, int]] = {}
        """Value, and the time at which it expires, by key; in order of use."""

    def answer(self, operation: Operation, now: int) -> Any | None:
        """What a read would return without asking anybody; None for one that somebody has to be asked."""
        if not _reads(operation) or (entry := self._kept.pop(operation.routing, None)) is None or entry[1] <= now:
            return None
        self._kept[operation.routing] = entry
        return entry[0]

    def learn(self, operation: Operation, outcome: Outcome, value: Any, now: int) -> None:
        """An operation that nodes were asked for has ended; `value` is that of its completion."""
        if outcome == "ok" and value is not None and (_reads(operation) or _writes(operation)):
            self._keep(operation.routing, value, now)
        elif operation.writes and outcome != "fail":
            self._kept.pop(operation.routing, None)

    def _keep(self, key: str, value: Any, now: int) -> None:
        self._kept.pop(key, None)
        if len(self._kept) == self._most:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = value, now + self._ttl_ns


def _reads(operation: Operation) -> bool:
    return operation.commands[0][0] == "GET" and len(operation.commands) == 1


def _writes(operation: Operation) -> bool:
    """Whether it sets a value for good: one with a time to live of its own may be gone before ours is over."""
    return operation.commands[0][0] == "SET" and len(operation.commands[0]) == 3

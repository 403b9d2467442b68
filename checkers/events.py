"""One line of a history file: what a client did or what happened around it. It needs no NumPy, as recorders do not."""

from __future__ import annotations

from typing import Any

import msgspec

FORMAT = "cachequake-history"
VERSION = 1
NEVER = 2**63 - 1
"""The end of an operation that never returned."""

FAIL, OK, INFO = 0, 1, 2
TYPES = ("fail", "ok", "info")


class Event(msgspec.Struct, omit_defaults=True, gc=False):
    """One line of a history file; see `Operations` for what the columns mean."""

    type: str
    """`invoke`, then `ok` (it happened), `fail` (it certainly did not) or `info` (nobody knows); `info` for context."""
    f: str
    """The function: `read`, `write`, `txn`, and so on; of context what it tells: a kind of fault, `view`, `phase`."""
    process: int | str | None = None
    """Who did it: a number, which is new after each `info`; `nemesis`, `observer` or `controller` for context."""
    index: int | None = None
    """Number of the line; anomalies name operations by that of their invocation."""
    time: int | None = None
    """Nanoseconds since the run began: before the bytes left, or after the reply had come."""
    key: str | None = None
    """The object; without one the whole history is of one object."""
    value: Any = None
    """What is written or was read; of context everything that there is to tell."""
    node: str | None = None
    """The node that answered."""
    hops: list[str] | None = None
    """Every node that was asked, in order, when there were several."""
    asking: bool = False
    """The node that answered was sent ASKING first."""
    final: bool = False
    """Read after everything was healed and had caught up."""
    error: str | None = None
    """What went wrong, in the words of the server or of the client library."""
    via: str | None = None
    """How it was sent when not as a plain command: `multi`, `script`, `replica`, `cross-slot`, `undeclared`."""
    attempts: list[dict[str, Any]] | None = None
    """What redis-py tried, when it tried several times."""
    acked: int | None = None
    """How many replicas had the write when its WAIT returned."""
    fill: dict[str, Any] | None = None
    """What a cache and the database behind it did; see `checkers.cachefill`."""

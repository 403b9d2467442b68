"""What a running test says of itself: sent by the controller, as JSON lines, to whoever shows it."""

from __future__ import annotations

import msgspec


class Progress(msgspec.Struct, omit_defaults=True):
    """How far a run is. Counts are totals since the load began."""

    phase: str
    """What the controller does now: `start`, `load`, `heal`, `converge`, `final reads`, `check`."""
    elapsed_ms: int
    duration_ms: int
    """How long the load is planned to last."""
    ok: int = 0
    fail: int = 0
    info: int = 0
    faults: list[str] = []
    """The faults that hold now, in words: `partition of n1`."""
    note: str | None = None
    """One sentence worth showing once, for example which server was found."""
    nodes: dict[str, str] = {}
    """What each node is, by name: `primary`, `replica`, `down`; empty while it is not known."""


class Failure(msgspec.Struct):
    """Why the controller gave up, as its last line says it."""

    error: str
    bad_input: bool = False
    """Whether the user can mend it: what was asked for is wrong, not what we did."""

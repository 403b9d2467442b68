"""The trace of a run: one line a turn, so that two runs of a seed can be compared step by step."""

from __future__ import annotations

from pathlib import Path

TRACE = "trace.txt"
"""Name of the file in a run directory: time in nanoseconds, node, readings of the clock, hash in, hash out;
then the digests."""


class Trace:
    """Writes the trace; called for every turn."""

    def __init__(self, run_dir: Path) -> None:
        self._file = (run_dir / TRACE).open("w")

    def __call__(self, now: int, name: str, ticks: int, given: int, sent: int) -> None:
        """A process had a turn. `ticks` is -1 when it ended in it."""
        self._file.write(f"{now} {name} {ticks} {given:08x} {sent:08x}\n")

    def digest(self, name: str, digest: str) -> None:
        """What a node held at the end, as DEBUG DIGEST puts it."""
        self._file.write(f"digest {name} {digest}\n")

    def close(self) -> None:
        """Write the rest. May be called twice."""
        self._file.close()

"""Writes a history: JSON lines, handed to the kernel batch by batch, so a killed process loses nothing that matters.

Whoever sends an operation's bytes calls `write` with its invocation first: an operation of which the history knows
nothing would be a write that "nobody wrote".
"""

from __future__ import annotations

import os
from pathlib import Path
from threading import Lock

import msgspec

from checkers.events import Event


class Recorder:
    """Appends events to one file. Times are nanoseconds of CLOCK_MONOTONIC since the run began, taken by the caller.

    Safe to use from several threads. Raises OSError when the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._encoder = msgspec.json.Encoder()
        self._lock = Lock()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def write(self, *events: Event) -> None:
        """Write the events, in order and together, and return once the kernel has them all."""
        lines = self._encoder.encode_lines(events)
        with self._lock:
            while lines:  # a nearly full disk may take a part
                lines = lines[os.write(self._file, lines) :]

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

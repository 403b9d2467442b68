"""Who may use the Docker engine: tests in several processes at a time, or one that needs it for itself."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def engine_for(*, alone: bool = False) -> Iterator[None]:
    """Hold the engine for a test: with others, or alone, once no other test in any process holds it."""
    with (Path(tempfile.gettempdir()) / f"cachequake-tests-{os.getuid()}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield

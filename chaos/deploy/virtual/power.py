"""What a power failure leaves of a node's files: what the shim noted as synced, see `shim/files.c`."""

from __future__ import annotations

import os
from pathlib import Path

NOTES = "synced"
_DATA = ("appendonlydir/*", "*.aof", "*.rdb")


def drop_unsynced(directory: Path) -> dict[str, int]:
    """Cut the AOF and RDB files of a dead node back to their last fsync; says how many bytes went, by file.

    A file that was never synced stays, empty. The cluster's own file is left alone: the server syncs it always.
    """
    notes = directory / NOTES
    lines = notes.read_text().splitlines() if notes.exists() else []
    synced = {int(number): int(size) for number, size in map(str.split, lines)}
    dropped = {}
    for path in sorted(path for pattern in _DATA for path in directory.glob(pattern)):
        about = path.stat()
        kept = min(about.st_size, synced.get(about.st_ino, 0))
        if kept < about.st_size:
            os.truncate(path, kept)
            dropped[path.name] = about.st_size - kept
    return dropped

"""What is left of a run: processes that have to do with its directory."""

from __future__ import annotations

import os
from pathlib import Path


def processes_of(run_dir: Path) -> list[int]:
    """Processes whose command line or working directory lies in a run's directory."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace") + os.readlink(entry / "cwd")
        except OSError:
            continue
        if str(run_dir) in words:
            found.append(int(entry.name))
    return found


def controllers(run_dir: Path) -> list[int]:
    """The controller of a run, as the first process of its namespace or a plain one."""
    found = []
    for pid in processes_of(run_dir):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"chaos.controller" in words and b"unshare" not in words[0]:
            found.append(pid)
    return found

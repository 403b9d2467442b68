"""Wall clocks that are wrong: a library that is preloaded into servers, and the files that tell it by how much.

The library (`skew.c`) is made from its source where a C compiler is, once for each version of it. It reads its file at
every look at the clock, so an offset changes while the server runs, and lasts over its restarts.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from chaos.errors import ServerError

SOURCE = Path(__file__).with_name("skew.c")
VARIABLE = "CACHEQUAKE_SKEW"
"""Names the file with the offset, for the library."""
FILE = "clock-offset"
_FLAGS = ("-std=gnu11", "-O2", "-fPIC", "-shared", "-nostdlib", "-fno-stack-protector", "-fvisibility=hidden")
_LOOKS = 3


def reason_against() -> str | None:
    """Why clocks cannot be set wrong here, in one sentence; None when they can."""
    try:
        library()
    except ServerError as error:
        return str(error)
    return None


def library() -> Path:
    """The library to preload, made if this version of it never was. Raises ServerError where that is not possible."""
    if not sys.platform.startswith("linux"):
        raise ServerError("setting a server's clock wrong needs Linux, where a library can be preloaded")
    version = hashlib.blake2b(SOURCE.read_bytes(), digest_size=8).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cachequake"
    made = cache / f"skew-{version}-{os.uname().machine}.so"
    if set(" :") & set(str(made)):
        raise ServerError(f"{made} cannot be preloaded, as its path has a space or a colon: set XDG_CACHE_HOME")
    if not made.exists():
        _compile(made)
    return made


def _compile(made: Path) -> None:
    compiler = shutil.which(os.environ.get("CC") or "cc")
    if compiler is None:
        raise ServerError(
            "setting a server's clock wrong needs a C compiler once, and there is no `cc`: "
            "install gcc or clang with the headers of libc, or name one in CC"
        )
    half = made.with_suffix(f".{os.getpid()}")
    try:
        made.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run([compiler, *_FLAGS, "-o", half, SOURCE], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ServerError(f"{compiler} cannot compile the library that sets clocks wrong: {done.stderr.strip()}")
        half.replace(made)  # complete or not there, also when several runs compile at once
    except OSError as error:
        raise ServerError(f"the library that sets clocks wrong cannot be kept in {made.parent}: {error}") from error


class WrongClock:
    """The clock of one server: what the server must be started with, and by how much it is wrong."""

    def __init__(self, directory: Path) -> None:
        """`directory` is where the offset is kept. The clock is right at first. Raises ServerError; see `library`."""
        self.file = directory / FILE
        self.library = library()
        self.file.write_bytes(struct.pack("=q", 0))

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables for a server on this machine."""
        preloaded = " ".join(filter(None, (str(self.library), os.environ.get("LD_PRELOAD"))))
        return {"LD_PRELOAD": preloaded, VARIABLE: str(self.file)}

    def set(self, offset_ms: float) -> None:
        """See `nemeses.system.Skew.skew`. In one write, so that nobody reads half a number."""
        with self.file.open("r+b") as file:
            file.write(struct.pack("=q", round(offset_ms * 1e6)))


def ahead_ms(call: Callable[..., Any], node: str) -> float:
    """How many milliseconds the TIME of a node is ahead of this machine's; the best of a few looks.

    Wrong by half of a round trip at most. `call` is `nemeses.system.System.call`. Raises Unreachable.
    """
    looks = []
    for _ in range(_LOOKS):
        before = time.time()
        seconds, microseconds = call(node, "TIME")
        after = time.time()
        told = int(seconds) + int(microseconds) / 1e6
        looks.append((after - before, (told - (before + after) / 2) * 1000))
    return min(looks)[1]

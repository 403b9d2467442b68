"""Wall clocks that are wrong: a library that is preloaded into servers, and the files that tell it by how much.

The library (`skew.c`) reads its file at every look at the clock, so an offset changes while the server runs, and lasts
over its restarts.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from chaos.deploy.preload import Library
from chaos.errors import ServerError

SOURCE = Path(__file__).with_name("skew.c")
LIBRARY = Library("skew", "setting a server's clock wrong", [SOURCE], ("-nostdlib", "-fno-stack-protector"))
VARIABLE = "CACHEQUAKE_SKEW"
"""Names the file with the offset, for the library."""
FILE = "clock-offset"
_LOOKS = 3


def reason_against() -> str | None:
    """Why clocks cannot be set wrong here, in one sentence; None when they can."""
    try:
        LIBRARY.path()
    except ServerError as error:
        return str(error)
    return None


class WrongClock:
    """The clock of one server: what the server must be started with, and by how much it is wrong."""

    def __init__(self, directory: Path) -> None:
        """`directory` is where the offset is kept. The clock is right at first. Raises ServerError; see `library`."""
        self.file = directory / FILE
        self.library = LIBRARY.path()
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

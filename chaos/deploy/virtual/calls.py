"""Which of a server's calls go wrong: a file that the controller and the shim share, see `shim/calls.c`."""

from __future__ import annotations

import errno
import mmap
import struct
from pathlib import Path

from nemeses.system import CallRule, CallsSeen

FILE = "calls"
"""In the directory of the node; it stays over restarts, and so does the rule."""
_RULE = struct.Struct("=6I")
_SEEN = struct.Struct("=2Iq")
_WORDS = struct.Struct("=64s128s")
_NUMBERS = {"write": 1, "send": 2, "fsync": 3, "rename": 4}
_PROCESSES = {"server": 0, "child": 1, "both": 2}


class Calls:
    """The rule of one node, and what came of it."""

    def __init__(self, directory: Path) -> None:
        """Make the file. To be called before the server is started."""
        with (directory / FILE).open("w+b") as file:
            file.truncate(_RULE.size + _SEEN.size + _WORDS.size)
            self._memory = mmap.mmap(file.fileno(), 0)

    def rule(self, rule: CallRule) -> None:
        """Let calls go wrong from now on, and count them from 1."""
        what = errno_of(rule.error) if rule.error else 0
        first = _NUMBERS[rule.call], _PROCESSES[rule.process], what, int(rule.after), rule.first, rule.most
        _SEEN.pack_into(self._memory, _RULE.size, 0, 0, 0)
        _WORDS.pack_into(self._memory, _RULE.size + _SEEN.size, rule.file.encode(), b"")
        _RULE.pack_into(self._memory, 0, *first)

    def clear(self) -> None:
        """Let every call pass; what was counted stays."""
        _RULE.pack_into(self._memory, 0, 0, 0, 0, 0, 0, 0)

    def seen(self) -> CallsSeen:
        """What was counted since the rule was given; the time is the world's."""
        seen, struck, time_ns = _SEEN.unpack_from(self._memory, _RULE.size)
        what = _WORDS.unpack_from(self._memory, _RULE.size + _SEEN.size)[1]
        return CallsSeen(seen, struck, time_ns, what.split(b"\0")[0].decode(errors="replace"))


def errno_of(name: str) -> int:
    """The number of an error (`ENOSPC`) on this machine."""
    number: int = getattr(errno, name)
    return number

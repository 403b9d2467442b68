"""What can go wrong, as a tree.

CachequakeError
├── BadInput         a scenario, option or history of the user's is wrong      exit 254
│   └── Impossible   each part of it is right, but they do not go together
└── RunFailed        a run could not be carried out as planned                 exit 255
    └── ServerError  a server could not be found, started or configured
"""

from __future__ import annotations

from pathlib import Path


class CachequakeError(Exception):
    """Base of the errors that the command prints as one message, without a traceback."""


class BadInput(CachequakeError):
    """What was asked for is wrong, and nothing was started. Correct the file at the line that is named.

    `file` and `line` (from 1) are where, when it came from a file; `message` says what and names the nearest valid
    choice.
    """

    def __init__(self, message: str, file: str | Path | None = None, line: int | None = None) -> None:
        where = "" if file is None else f"{file}: " if line is None else f"{file}:{line}: "
        super().__init__(where + message)
        self.message = message
        self.file = None if file is None else str(file)
        self.line = line


class Impossible(BadInput):
    """What was asked for cannot be had together: a fault that the topology does not know, a route that misses it."""


class RunFailed(CachequakeError):
    """The run could not be carried out; the message says at which step, and where its logs are."""


class ServerError(RunFailed):
    """A server could not be found, started or configured; the message carries the server's own words."""

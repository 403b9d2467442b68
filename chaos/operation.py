"""What a client is asked to do once: the operation as a workload plans it, before a route carries it to a node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

Argument = str | bytes | int | float
Command = tuple[Argument, ...]


class Refused(Exception):
    """Raised by `Operation.result` when the replies say that the operation certainly had no effect (EXEC nil)."""


class Doubtful(Exception):
    """Raised by `Operation.result` when the replies leave open what had an effect (an error inside EXEC's array)."""


class Operation(NamedTuple):
    """One operation. `f`, `key` and `value` are written to the history as they stand; the rest is for the route."""

    workload: str
    f: str
    key: str | None
    value: Any
    commands: tuple[Command, ...]
    """Sent together on one connection, as one pipeline, to the node that serves `routing`. MULTI ... EXEC is one
    operation of several commands; so is a write followed by its WAIT."""
    routing: str
    """The key whose slot decides where the commands go."""
    writes: bool
    """Whether it may have an effect: then an error of unknown outcome is `info`, else `fail`."""
    result: Callable[[list[Any]], Any]
    """Replies (one a command but WAIT, RESP2, bulk strings as bytes, none an error) to the value of the completion,
    which is `ok`. Raises Refused or Doubtful."""
    via: str | None = None
    """How, where one function has several ways: `multi`, `script`, `replica`, `cross-slot`."""
    apart: Command | None = None
    """A WAIT that follows on another connection to the same node, once the commands have succeeded."""

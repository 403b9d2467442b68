"""The option `wait`: a WAIT behind a write, on the write's own connection, in the same pipeline.

WAIT counts the replicas that have everything this connection wrote (an offset per connection), so on any other
connection its answer says nothing about the write. It never undoes the write: too few replicas is information.

With `connection: other` it goes to the same node on a connection that writes nothing, as from a pool of connections:
that shows what such an answer is worth.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chaos.operation import Command

CONNECTIONS = ("own", "other")


def wait_command(option: Mapping[str, Any] | None) -> tuple[Command, ...]:
    """What to append to the commands of a write for `wait: {replicas: 1, timeout_ms: 100}`; nothing for None.

    Raises ValueError for other keys, and for a timeout of 0, which would block for ever.
    """
    wait = _wait(option)
    return () if wait is None or _elsewhere(option) else (wait,)


def wait_apart(option: Mapping[str, Any] | None) -> Command | None:
    """What follows a write on another connection for `wait: {connection: other}`; None for any other option."""
    return _wait(option) if _elsewhere(option) else None


def _wait(option: Mapping[str, Any] | None) -> Command | None:
    if option is None:
        return None
    unknown = set(option) - {"replicas", "timeout_ms", "connection"}
    if unknown:
        raise ValueError(f"wait takes replicas, timeout and connection, not {', '.join(sorted(unknown))}")
    timeout_ms = int(option.get("timeout_ms", 100))
    if timeout_ms <= 0:
        raise ValueError("wait: timeout must be longer than 0ms, or WAIT blocks for ever")
    return ("WAIT", int(option.get("replicas", 1)), timeout_ms)


def _elsewhere(option: Mapping[str, Any] | None) -> bool:
    connection = (option or {}).get("connection", CONNECTIONS[0])
    if connection not in CONNECTIONS:
        raise ValueError(f"wait: connection is one of {', '.join(CONNECTIONS)}, not {connection!r}")
    return bool(connection == "other")

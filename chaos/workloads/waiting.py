"""The option `wait`: a WAIT behind a write, on the write's own connection, in the same pipeline.

WAIT counts the replicas that have everything this connection wrote (an offset per connection), so on any other
connection its answer says nothing about the write. It never undoes the write: too few replicas is information.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chaos.operation import Command


def wait_command(option: Mapping[str, Any] | None) -> tuple[Command, ...]:
    """What to append to the commands of a write for `wait: {replicas: 1, timeout_ms: 100}`; nothing for None.

    Raises ValueError for other keys, and for a timeout of 0, which would block for ever.
    """
    if option is None:
        return ()
    unknown = set(option) - {"replicas", "timeout_ms"}
    if unknown:
        raise ValueError(f"wait takes replicas and timeout, not {', '.join(sorted(unknown))}")
    timeout_ms = int(option.get("timeout_ms", 100))
    if timeout_ms <= 0:
        raise ValueError("wait: timeout must be longer than 0ms, or WAIT blocks for ever")
    return (("WAIT", int(option.get("replicas", 1)), timeout_ms),)

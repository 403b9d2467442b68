"""What Sentinels say of the servers that they watch: who is the primary, and by which failover it became so.

Each failover has an epoch, and a Sentinel's `config-epoch` is that of the last one that it knows to have succeeded; of
two that name different primaries the one with the greater epoch is newer ("High availability with Valkey Sentinel",
configuration epochs). While the Sentinel that leads a failover is at work its `config-epoch` is the new one already
and its address still the old, so what it says then is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from nemeses.system import ReplyError, System, Unreachable

SERVICE = "cachequake"
"""The name under which Sentinels watch a primary and its replicas."""
FAILING_OVER = "failover_in_progress"


class Sight(NamedTuple):
    """What one Sentinel believes."""

    primary: str
    """Name of the node; `host:port` of one that is not of this run."""
    epoch: int
    """That of the failover that made it primary; 0 for the first primary."""


def sentinels(system: System) -> list[str]:
    """Names of the Sentinels of a system."""
    return [name for name in system.nodes if is_sentinel(name)]


def is_sentinel(node: str) -> bool:
    """Whether a node is a Sentinel, by its name."""
    return node.startswith("s")


def sight(system: System, sentinel: str, timeout_ms: int = 1_000) -> Sight | None:
    """What a Sentinel believes; None while it leads a failover. Raises Unreachable and ReplyError."""
    said = table(system.call(sentinel, "SENTINEL", "MASTER", SERVICE, timeout_ms=timeout_ms))
    if FAILING_OVER in said["flags"].split(","):
        return None
    return Sight(name_at(system, said["ip"], said["port"]), int(said["config-epoch"]))


def newest(system: System, timeout_ms: int = 300) -> Sight | None:
    """What is believed by the Sentinel that knows of the latest failover; None when none can say."""
    found = []
    for name in sentinels(system):
        try:
            found.append(sight(system, name, timeout_ms))
        except (Unreachable, ReplyError):
            continue
    return max((one for one in found if one is not None), key=lambda one: one.epoch, default=None)


def table(reply: Sequence[Any]) -> Mapping[str, str]:
    """A reply of names and values in turn as a mapping of texts. Raises ReplyError for one that is none."""
    if not isinstance(reply, list) or len(reply) % 2:
        raise ReplyError(f"not a table of names and values: {reply!r:.120}")
    texts = [part.decode() if isinstance(part, bytes) else str(part) for part in reply]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def name_at(system: System, host: str, port: str) -> str:
    """Name of the node at an address, or the address."""
    names = {(node.host, str(node.port)): node.name for node in system.nodes.values()}
    return names.get((host, port), f"{host}:{port}")

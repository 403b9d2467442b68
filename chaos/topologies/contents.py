"""What servers say that they hold and whom they follow, whatever they form."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from nemeses.system import ReplyError, System, Unreachable
from nemeses.view import View

SCAN_COUNT = 5_000


def views(system: System, nodes: Collection[str]) -> Iterator[tuple[str, View]]:
    """The view of each node that answers."""
    for name in nodes:
        try:
            yield name, View.fetch(system, name)
        except (Unreachable, ReplyError):
            continue


def holds(system: System, nodes: Collection[str], patterns: Iterable[str]) -> dict[str, list[str]]:
    """The keys that match one of `patterns` (as in SCAN), sorted, by the primary that holds them.

    Every node that calls itself a primary is asked, also about keys that it does not serve; one that does not answer
    is left out.
    """
    wanted = list(patterns)
    found: dict[str, list[str]] = {}
    for name, view in views(system, nodes):
        if view.myself.is_primary:
            keys = {key for pattern in wanted for key in _scan(system, name, pattern)}
            found[name] = sorted(key.decode(errors="replace") for key in keys)
    return found


def replicas(system: System, nodes: Collection[str]) -> dict[str, list[str]]:
    """Names of the replicas that answer, by the primary that each says it follows."""
    found: dict[str, list[str]] = {}
    for name, view in views(system, nodes):
        if view.myself.primary is not None:
            found.setdefault(view.myself.primary, []).append(name)
    return found


def _scan(system: System, node: str, pattern: str) -> Iterator[bytes]:
    cursor: bytes | int = 0
    while cursor != b"0":
        cursor, keys = system.call(node, "SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_COUNT)
        yield from keys

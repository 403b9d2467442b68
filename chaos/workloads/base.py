"""The protocol of a workload: operation `n` of client `c` is a pure function of the seed and the options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from chaos.operation import Operation
from nemeses.stream import Stream

UNIQUE = 10_000_000
"""Operations that one client can do before values repeat: value = client * UNIQUE + n + 1."""


def unique_value(client: int, n: int) -> int:
    """The value that operation `n` of `client` writes: no other operation of the run writes it. Never 0."""
    return client * UNIQUE + n + 1


class Workload(Protocol):
    """Plans operations. Instances are made from the options of the scenario by `WORKLOADS[name](options)`."""

    name: str
    defaults: Mapping[str, Any]
    """Every option with its default; an option's type is its default's type. Percentages are floats from 0 to 1."""
    checkers: tuple[str, ...]
    """Names of the checkers that read its operations."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        """Options that are absent take their defaults. Raises ValueError for one that no run could use."""

    def operation(self, client: int, n: int, draw: Stream) -> Operation:
        """Operation `n` (from 0) of `client`. `draw` is a fresh stream that depends on seed, client and `n` only."""

    def finals(self, executed: Mapping[int, int]) -> Iterable[Operation]:
        """One read of each object that was touched when client c had done `executed[c]` operations."""

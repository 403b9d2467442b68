"""Targets of faults that name a key: roles, so that a plan means the same on every machine."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from checkers.keyslot import key_slot
from nemeses.targets import NODE, parse

_OF_KEY = re.compile(r"(primary|replica) of (?!slot \d+\Z)(\S+)\Z")


def of_key(target: str, place: Callable[[str, str], str]) -> str:
    """`primary of KEY` as what `place("primary", KEY)` says; every other target unchanged."""
    match = _OF_KEY.match(target)
    return target if match is None else place(match[1], match[2])


def by_slot(target: str) -> str:
    """`primary of KEY` as `primary of slot N`; every other target unchanged."""
    return of_key(target, lambda role, key: f"{role} of slot {key_slot(key)}")


def check_target(target: str, nodes: Collection[str], replicas: int) -> None:
    """Raise ValueError when no system of these nodes can have the target; the message says why.

    Without nodes, nobody knows yet which there will be.
    """
    parse(target)
    if replicas == 0 and "replica" in target:
        raise ValueError(f"{target!r} cannot be hit: the primaries have no replicas (replicas: 0)")
    if nodes and NODE.fullmatch(target) and target not in nodes:
        raise ValueError(f"there is no node {target!r}; the nodes are {', '.join(nodes)}")

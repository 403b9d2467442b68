"""Targets of faults as a scenario names them: roles, so that a plan means the same on every machine."""

from __future__ import annotations

import re

from checkers.keyslot import key_slot
from nemeses.targets import parse

_OF_KEY = re.compile(r"(primary|replica) of (?!slot \d+\Z)(\S+)\Z")
_NODE = re.compile(r"n(\d+)\Z")


def by_slot(target: str) -> str:
    """`primary of KEY` as `primary of slot N`; every other target unchanged."""
    match = _OF_KEY.match(target)
    return target if match is None else f"{match[1]} of slot {key_slot(match[2])}"


def check_target(target: str, primaries: int, replicas: int) -> None:
    """Raise ValueError when no system of this size can have the target; the message says why."""
    parse(by_slot(target))
    if replicas == 0 and "replica" in target:
        raise ValueError(f"{target!r} cannot be hit: the cluster has no replicas (replicas: 0)")
    match = _NODE.match(target)
    count = primaries * (1 + replicas)
    if match and not 1 <= int(match[1]) <= count:
        raise ValueError(f"there is no node {target!r}; the nodes are n1 to n{count}")

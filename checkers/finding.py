"""What a checker says: a finding, with the anomalies that prove it and what it measured.

A finding is a fact about a history. Whether the fact is acceptable is for a scenario's claims to say.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from checkers.history import History


class Verdict(enum.StrEnum):
    """Three-valued: what could not be decided is never called valid or invalid."""

    VALID = "valid"
    INVALID = "invalid"
    UNKNOWN = "unknown"


def merge(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict of several: one proof of an anomaly is enough; without one, one doubt is."""
    seen = set(verdicts)
    for verdict in (Verdict.INVALID, Verdict.UNKNOWN):
        if verdict in seen:
            return verdict
    return Verdict.VALID


class Edge(msgspec.Struct, frozen=True):
    """That one operation of a cycle must come before the next."""

    before: int
    """`index` of its invocation."""
    relation: str
    """`ww`, `wr`, `rw`, `process` or `realtime`."""
    after: int


class Anomaly(msgspec.Struct, frozen=True):
    """One observation that contradicts what was checked, with its proof."""

    kind: str
    """For example `lost-write`, `stale-read`; the list of kinds is open."""
    explanation: str
    """One English sentence: what contradicts what, and the fault that was active."""
    operations: list[int]
    """`index` of the invocations that are the proof, most important first."""
    key: str | None = None
    fault: int | None = None
    """Number of the fault (see executed.json) that was active or the last before it; None without one."""
    measured: dict[str, Any] = {}
    """Figures of this anomaly, units in their names: `{"stale_ms": 412.3, "versions": 7}`."""
    edges: list[Edge] = []
    """Of a cycle: its edges in order, the last of which leads back to where the first begins."""


class Finding(msgspec.Struct):
    """What one checker found in one history."""

    checker: str
    verdict: Verdict
    reason: str | None = None
    """Why the verdict is unknown, or that there was nothing to check."""
    counts: dict[str, int] = {}
    """Anomalies by kind: all of them, even where `anomalies` lists only the first."""
    metrics: dict[str, Any] = {}
    """What was measured and how much was checked (`checked` is always there)."""
    anomalies: list[Anomaly] = []


Checker = Callable[["History"], Finding]
"""May have an attribute `kinds`: see `kinds_of`."""


class Meaning(NamedTuple):
    """What claims and reports need to know of a kind of anomaly that they do not know by themselves."""

    claim: str
    """Name of the claim that says how many are acceptable: `slow_operations`. Claims of cachequake's own go first."""
    one: str
    """What one is called: `slow operation`."""
    many: str
    """And several: `slow operations`."""
    meaning: str
    """What it means, in a clause: `took longer than anybody waits`."""


def kinds_of(checker: Checker) -> Mapping[str, Meaning]:
    """The kinds of anomaly that a checker explains itself: its attribute `kinds`. Empty for those without one."""
    kinds: Mapping[str, Meaning] = getattr(checker, "kinds", {})
    return kinds


MOST_LISTED = 200
"""Anomalies of one kind that are listed with their proof; the rest are only counted."""


class Collector:
    """Gathers the anomalies of one checker: counts all, lists the first `MOST_LISTED` of each kind."""

    def __init__(self, checker: str) -> None:
        self.checker = checker
        self.counts: dict[str, int] = {}
        self.anomalies: list[Anomaly] = []

    def wants(self, kind: str) -> bool:
        """Whether an anomaly of this kind would still be listed; if not, count it without explaining it."""
        return self.counts.get(kind, 0) < MOST_LISTED

    def count(self, kind: str, by: int = 1) -> None:
        """Count anomalies without listing them."""
        self.counts[kind] = self.counts.get(kind, 0) + by

    def add(self, anomaly: Anomaly) -> None:
        """Count an anomaly and list it while there is room."""
        if self.wants(anomaly.kind):
            self.anomalies.append(anomaly)
        self.count(anomaly.kind)

    def finding(self, metrics: dict[str, Any], unknown: str | None = None) -> Finding:
        """The finding: invalid with any anomaly, else unknown with a reason, else valid."""
        verdict = Verdict.INVALID if self.counts else Verdict.UNKNOWN if unknown else Verdict.VALID
        if unknown is None and not metrics.get("checked"):
            unknown = "nothing to check: the history has no operation of the kind this checker reads"
        return Finding(self.checker, verdict, unknown, self.counts, metrics, self.anomalies)

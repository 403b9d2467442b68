"""Which consistency models an anomaly rules out, as data.

Sources: Adya, "Weak consistency: a generalized theory and optimistic implementations for distributed transactions"
(1999) for PL-1 to PL-3, PL-2+ (here consistent-view), cursor stability and PL-SI; Cerone and Gotsman, "Analysing
snapshot isolation" (2018) for the cycles that snapshot isolation and its parallel variant exclude; Kingsbury and
Alvaro (Elle, VLDB 2020) for the variants with session order and real time.
"""

from __future__ import annotations

from collections.abc import Iterable

WEAKER: dict[str, tuple[str, ...]] = {
    "read-uncommitted": (),
    "read-committed": ("read-uncommitted",),
    "monotonic-atomic-view": ("read-committed",),
    "cursor-stability": ("read-committed",),
    "consistent-view": ("cursor-stability", "monotonic-atomic-view"),
    "parallel-snapshot-isolation": ("consistent-view",),
    "snapshot-isolation": ("parallel-snapshot-isolation",),
    "repeatable-read": ("cursor-stability", "monotonic-atomic-view"),
    "serializable": ("snapshot-isolation", "repeatable-read"),
    "strong-session-read-uncommitted": ("read-uncommitted",),
    "strong-session-read-committed": ("read-committed", "strong-session-read-uncommitted"),
    "strong-session-consistent-view": ("consistent-view", "strong-session-read-committed"),
    "strong-session-snapshot-isolation": ("snapshot-isolation", "strong-session-consistent-view"),
    "strong-session-serializable": ("serializable", "strong-session-snapshot-isolation"),
    "strong-read-uncommitted": ("strong-session-read-uncommitted",),
    "strong-read-committed": ("strong-read-uncommitted", "strong-session-read-committed"),
    "strong-consistent-view": ("strong-read-committed", "strong-session-consistent-view"),
    "strong-snapshot-isolation": ("strong-consistent-view", "strong-session-snapshot-isolation"),
    "strict-serializable": ("strong-snapshot-isolation", "strong-session-serializable"),
}
"""Every model, and the models that hold wherever it holds. *strong-session* adds each client's own order, *strong*
the order of time."""

RULES_OUT: dict[str, tuple[str, ...]] = {
    "garbage-read": ("read-uncommitted",),
    "duplicate-elements": ("read-uncommitted",),
    "G0": ("read-uncommitted",),
    "G1a": ("read-committed",),
    "G1b": ("read-committed",),
    "G1c": ("read-committed",),
    "dirty-update": ("read-committed",),
    "incompatible-order": ("read-committed",),
    "internal": ("consistent-view", "repeatable-read"),
    "lost-update": ("cursor-stability",),
    "G-single": ("consistent-view", "repeatable-read"),
    "G-nonadjacent": ("snapshot-isolation", "repeatable-read"),
    "G2-item": ("repeatable-read",),
    "G0-process": ("strong-session-read-uncommitted",),
    "G1c-process": ("strong-session-read-committed",),
    "G-single-process": ("strong-session-consistent-view",),
    "G-nonadjacent-process": ("strong-session-snapshot-isolation",),
    "G2-item-process": ("strong-session-serializable",),
    "G0-realtime": ("strong-read-uncommitted",),
    "G1c-realtime": ("strong-read-committed",),
    "G-single-realtime": ("strong-consistent-view",),
    "G-nonadjacent-realtime": ("strong-snapshot-isolation",),
    "G2-item-realtime": ("strict-serializable",),
}
"""The weakest models that do not allow an anomaly; every stronger one does not allow it either."""


def ruled_out(kinds: Iterable[str]) -> list[str]:
    """The models that a history with anomalies of these kinds cannot have obeyed, weaker ones first."""
    broken = {model for kind in kinds for model in RULES_OUT[kind]}
    for model, weaker in WEAKER.items():  # each comes after those that it implies
        if broken.intersection(weaker):
            broken.add(model)
    return [model for model in WEAKER if model in broken]


def not_ruled_out(kinds: Iterable[str]) -> list[str]:
    """The models that nothing in the history contradicts, weaker ones first; that does not prove that they hold."""
    broken = set(ruled_out(kinds))
    return [model for model in WEAKER if model not in broken]


def dominates(kind: str, other: str) -> bool:
    """Whether an anomaly of one kind rules out all that the other does."""
    return set(ruled_out([other])) <= set(ruled_out([kind]))

"""Claims: what a scenario says should hold, judged by what the checkers measured.

A claim names a kind of anomaly and how much of it is acceptable. Findings are facts; only claims make them good or
bad, because the same loss is documented behaviour in one deployment and a defect in another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

import checkers
from chaos.result import CLAIMS_BROKEN, CLAIMS_HOLD, CLAIMS_UNKNOWN, NO_CLAIMS, ClaimResult
from chaos.units import duration, share, show_duration, show_share
from chaos.yaml_source import nearest
from checkers.finding import Finding, Verdict, kinds_of

WHOLE = ("count", "number")
"""Limits that are whole numbers."""


class Claim(msgspec.Struct, frozen=True):
    """`name: most`, `name: {max: 200ms}`, `name: {longest: 5s}` or `name: {max: 30%}`."""

    name: str
    limit: str
    """What is limited: `count` (of anomalies), `number` (of what is none but is counted), `max` (milliseconds of one
    read), `longest` (milliseconds of one window) or `share`."""
    value: int | float
    """The most that is acceptable: a number, milliseconds, or a share from 0 to 1."""

    def spelled(self) -> Any:
        """The value as a scenario file writes it."""
        if self.limit in WHOLE:
            return self.value
        if self.limit == "share":
            return {"max": show_share(self.value)}
        return {self.limit: show_duration(self.value)}

    def __str__(self) -> str:
        """The claim as a scenario file writes it, on one line."""
        spelled = self.spelled()
        if not isinstance(spelled, dict):
            return f"{self.name}: {spelled}"
        return f"{self.name}: {{{', '.join(f'{limit}: {value}' for limit, value in spelled.items())}}}"


@dataclass(frozen=True)
class Subject:
    """What a claim name is about: a checker, the kinds of anomaly it counts, and the limits it can have."""

    checker: str
    kinds: tuple[str, ...]
    limits: tuple[str, ...] = ("count",)
    metric: str = ""
    """What the checker calls the share, or the number, that is limited."""

    def counts(self, kind: str) -> bool:
        """Whether anomalies of this kind count against the claim."""
        return self.checker == "*" or kind in self.kinds


SUBJECTS: Mapping[str, Subject] = {
    "lost_writes": Subject("durability", ("lost-write",)),
    "duplicate_writes": Subject("durability", ("duplicate-write",)),
    "phantom_values": Subject("durability", ("phantom-value",)),
    "failed_writes_visible": Subject("durability", ("failed-write-visible",)),
    "replica_divergence": Subject("durability", ("replica-divergence",)),
    "stale_reads": Subject("staleness", ("stale-read",), ("count", "max")),
    "rolled_back_reads": Subject("staleness", ("rolled-back-read",)),
    "non_linearizable": Subject("linearizability", ("non-linearizable",)),
    "session_violations": Subject(
        "sessions",
        (
            "read-your-writes",
            "non-monotonic-read",
            "non-monotonic-write",
            "writes-follow-reads",
            "non-monotonic-write-across-keys",
            "writes-follow-reads-across-keys",
        ),
    ),
    "torn_reads": Subject("multikey", ("torn-read",)),
    "cross_slot_accepted": Subject("multikey", ("cross-slot-accepted",)),
    "split_ownership": Subject("slots", ("split-ownership",)),
    "stranded_keys": Subject("slots", ("stranded-key",)),
    "uncovered_slots": Subject("slots", ("uncovered-slot",)),
    "redirect_loops": Subject("slots", ("redirect-loop",)),
    "map_disagreements": Subject("slots", ("map-disagreement",)),
    "two_holders": Subject("locks", ("two-holders",)),
    "expired_reads": Subject("expiry", ("expired-read",)),
    "early_expiries": Subject("expiry", ("early-expiry",)),
    "missing_values": Subject("expiry", ("missing-value",)),
    "unavailable": Subject("availability", (), ("longest",)),
    "misses": Subject("cachefill", (), ("share",), "miss_rate"),
    "penetration": Subject("cachefill", (), ("share",), "penetration"),
    "stampedes": Subject("cachefill", (), ("number",), "stampedes"),
    "avalanches": Subject("cachefill", (), ("number",), "avalanches"),
    "keys_moved": Subject("balance", (), ("share",), "keys_moved"),
    "hottest_node": Subject("balance", (), ("share",), "hottest_share"),
    "anomalies": Subject("*", ()),
}
"""Every claim of cachequake's own. `anomalies` counts the anomalies of all kinds."""


def subjects() -> Mapping[str, Subject]:
    """Every claim that can be made: `SUBJECTS`, and those about the kinds of anomaly that other packages look for."""
    added: dict[str, Subject] = {}
    for checker, check in checkers.CHECKERS.items():
        for kind, meaning in kinds_of(check).items():
            if meaning.claim not in SUBJECTS:
                others = added[meaning.claim].kinds if meaning.claim in added else ()
                added[meaning.claim] = Subject(checker, (*others, kind))
    return {**SUBJECTS, **added}


def _subject(name: str) -> Subject | None:
    return SUBJECTS.get(name) or subjects().get(name)


_FORMS = {"count": "0", "number": "0", "share": "{max: 30%}"}
"""How limits that are no durations are written, by example."""


def parse_claim(name: str, value: Any) -> Claim:
    """Read one claim of a scenario. Raises ValueError naming the nearest valid claim or limit."""
    subject = _subject(name)
    if subject is None:
        broken = "".join(f"; {problem}" for problem in checkers.CHECKERS.problems())
        raise ValueError(f"unknown claim {name!r}{nearest(name, sorted(subjects()))}{broken}")
    whole = next((limit for limit in subject.limits if limit in WHOLE), None)
    if isinstance(value, int) and not isinstance(value, bool) and whole is not None:
        if value < 0:
            raise ValueError(f"{name}: {value} is negative; claim the most that is acceptable")
        return Claim(name, whole, value)
    if isinstance(value, dict) and len(value) == 1:
        limit, bound = next(iter(value.items()))
        if limit == "max" and "share" in subject.limits:
            return Claim(name, "share", share(bound))
        if limit not in _FORMS and limit in subject.limits:
            return Claim(name, limit, duration(bound))
    forms = [_FORMS.get(limit, f"{{{limit}: 5s}}") for limit in subject.limits]
    forms = [f"{name}: {form}" for form in forms]
    raise ValueError(f"{name}: {value!r} is not a claim; write {' or '.join(forms)}")


def judge(claims: list[Claim], findings: Mapping[str, Finding]) -> tuple[str, list[ClaimResult]]:
    """Judge every claim; the verdict of all is broken if one is, else unknown if one is, else hold."""
    results = [_judge(claim, findings) for claim in claims]
    if not results:
        return NO_CLAIMS, results
    held = [result.holds for result in results]
    return CLAIMS_BROKEN if False in held else CLAIMS_UNKNOWN if None in held else CLAIMS_HOLD, results


def broken_kinds(claims: list[Claim], findings: Mapping[str, Finding]) -> set[str]:
    """The kinds of anomaly that break a claim: what a failing run failed of."""
    broken = [claim for claim, result in zip(claims, judge(claims, findings)[1], strict=True) if result.holds is False]
    found = {kind for finding in findings.values() for kind in finding.counts}
    known = subjects()
    return {kind for claim in broken for kind in found if known[claim.name].counts(kind)}


def _judge(claim: Claim, findings: Mapping[str, Finding]) -> ClaimResult:
    subject = _subject(claim.name)
    if subject is None or subject.checker not in ("*", *findings):
        return ClaimResult(str(claim), None, None, "no checker that is installed here looks for that")
    concerned = list(findings.values()) if subject.checker == "*" else [findings[subject.checker]]
    amount, shown = _MEASURES[claim.limit](subject, concerned)
    # Too much is too much whatever else could not be decided; little enough needs everything decided.
    if amount > claim.value:
        return ClaimResult(str(claim), False, shown)
    for finding in concerned:
        if finding.verdict is Verdict.UNKNOWN:
            return ClaimResult(str(claim), None, shown, f"{finding.checker}: {finding.reason}")
        if undecided := finding.metrics.get("undecided"):  # of a finding that proved something, but not everything
            return ClaimResult(str(claim), None, shown, f"{finding.checker}: {undecided}")
    checked = shown is not None and any(finding.metrics.get("checked") for finding in concerned)
    return ClaimResult(str(claim), True, shown, None if checked else "nothing to check")


def _count(subject: Subject, findings: list[Finding]) -> tuple[float, Any]:
    count = sum(n for finding in findings for kind, n in finding.counts.items() if subject.counts(kind))
    return count, count


def _max(subject: Subject, findings: list[Finding]) -> tuple[float, Any]:
    longest = float(findings[0].metrics.get("max_ms") or 0)
    return longest, _in_words(longest)


def _longest(subject: Subject, findings: list[Finding]) -> tuple[float, Any]:
    longest = float(findings[0].metrics.get("longest_ms") or 0)
    return longest, _in_words(longest)


def _share(subject: Subject, findings: list[Finding]) -> tuple[float, Any]:
    """What was not measured, because nothing was resized, say, is not too much."""
    measured = findings[0].metrics.get(subject.metric)
    return (0.0, None) if measured is None else (float(measured), f"{measured:.1%}")


def _number(subject: Subject, findings: list[Finding]) -> tuple[float, Any]:
    """What was not counted, because the workload was not there, is not too much."""
    counted = findings[0].metrics.get(subject.metric)
    return (0.0, None) if counted is None else (float(counted), counted)


def _in_words(milliseconds: float) -> str:
    return f"{milliseconds / 1000:.2f} s" if milliseconds >= 1000 else f"{milliseconds:.0f} ms"


_MEASURES: Mapping[str, Callable[[Subject, list[Finding]], tuple[float, Any]]] = {
    "count": _count,
    "number": _number,
    "max": _max,
    "longest": _longest,
    "share": _share,
}

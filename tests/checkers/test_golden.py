"""Golden histories: one for each kind of anomaly, and some that look wrong and are not (`tests/support/golden.py`)."""

import pytest
from golden import EVERY, GOLDEN, NAMES, drawing, expected, history, plain

from checkers.transactions import RULES_OUT

KINDS = {
    "linearizability": {"non-linearizable"},
    "staleness": {"stale-read", "rolled-back-read"},
    "sessions": {
        "read-your-writes",
        "non-monotonic-read",
        "non-monotonic-write",
        "writes-follow-reads",
        "non-monotonic-write-across-keys",
        "writes-follow-reads-across-keys",
    },
    "durability": {"lost-write", "duplicate-write", "phantom-value", "failed-write-visible", "replica-divergence"},
    "multikey": {"torn-read", "cross-slot-accepted", "phantom-value"},
    "slots": {"split-ownership", "stranded-key", "uncovered-slot", "redirect-loop", "map-disagreement"},
    "availability": set(),
    "balance": set(),
    "visibility": set(),
    "cachefill": set(),
    "transactions": set(RULES_OUT),
    "locks": {"two-holders"},
    "queue": {"lost-element", "duplicate-element", "reordered-element", "phantom-element"},
    "expiry": {"expired-read", "early-expiry", "missing-value"},
    "sets": {"lost-element", "stale-element", "phantom-element"},
}
"""What each checker can find."""


@pytest.mark.parametrize("name", NAMES)
def test_golden_history(name: str) -> None:
    run, wanted = history(name), expected(name)
    findings = {checker: EVERY[checker](run) for checker in wanted}
    assert {checker: plain(finding) for checker, finding in findings.items()} == wanted
    assert drawing(run, findings) == (GOLDEN / f"{name}.txt").read_text()


def test_every_kind_has_a_golden_history() -> None:
    shown = {checker: set() for checker in KINDS}
    for name in NAMES:
        for checker, finding in expected(name).items():
            shown[checker] |= set(finding["counts"])
    assert shown == KINDS
    assert KINDS.keys() == EVERY.keys()


@pytest.mark.parametrize("name", NAMES)
def test_anomalies_that_are_not_listed_are_counted_all_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("checkers.finding.MOST_LISTED", 0)
    for checker, wanted in expected(name).items():
        found = plain(EVERY[checker](history(name)))
        assert {**found, "anomalies": []} == {**wanted, "anomalies": []}, checker

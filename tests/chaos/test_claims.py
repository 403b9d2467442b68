"""Claims are about kinds of anomaly, and three-valued like the findings that decide them."""

import pytest

from chaos.claims import Claim, judge, parse_claim
from checkers.finding import Finding, Verdict


def findings(**durability):
    known = {
        "durability": Finding("durability", Verdict.VALID, metrics={"checked": 9}),
        "staleness": Finding("staleness", Verdict.VALID, metrics={"checked": 9, "max_ms": 130.0}),
        "availability": Finding("availability", Verdict.VALID, metrics={"checked": 9, "longest_ms": 2_500.0}),
    }
    return known | durability


def test_counts_windows_and_ages_are_limited():
    claims = [parse_claim(*pair) for pair in [("lost_writes", 0), ("stale_reads", {"max": "200ms"})]]
    claims.append(parse_claim("unavailable", {"longest": "2s"}))
    verdict, results = judge(claims, findings())
    assert verdict == "broken"
    assert [(str(r.claim), r.holds, r.measured) for r in results] == [
        ("lost_writes: 0", True, 0),
        ("stale_reads: {max: 200ms}", True, "130 ms"),
        ("unavailable: {longest: 2s}", False, "2.50 s"),
    ]


def test_what_could_not_be_decided_neither_holds_nor_breaks():
    unknown = Finding("durability", Verdict.UNKNOWN, reason="not converged")
    verdict, results = judge([Claim("lost_writes", "count", 0)], findings(durability=unknown))
    assert (verdict, results[0].holds, results[0].reason) == ("unknown", None, "durability: not converged")


def test_a_proof_of_too_much_breaks_the_claim_whatever_else_is_unknown():
    proven = Finding("durability", Verdict.INVALID, reason="not converged", counts={"lost-write": 3})
    verdict, results = judge([Claim("lost_writes", "count", 2)], findings(durability=proven))
    assert (verdict, results[0].measured) == ("broken", 3)


def test_without_claims_there_is_nothing_to_judge():
    assert judge([], findings()) == ("none", [])


def test_anomalies_counts_every_kind():
    found = Finding("durability", Verdict.INVALID, counts={"lost-write": 3, "phantom-value": 1})
    assert judge([Claim("anomalies", "count", 3)], findings(durability=found))[1][0].measured == 4


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("lost_write", 0, "did you mean 'lost_writes'"),
        ("lost_writes", -1, "negative"),
        ("lost_writes", {"max": "3s"}, "write lost_writes: 0"),
        ("unavailable", 0, r"write unavailable: \{longest: 5s\}"),
        ("stale_reads", {"max": 200}, "write 200ms"),
    ],
)
def test_bad_claims_say_what_to_write(name, value, message):
    with pytest.raises(ValueError, match=message):
        parse_claim(name, value)

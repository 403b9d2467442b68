import pytest

import checkers
from checkers import CHECKERS, Finding, History, Verdict, check
from checkers.history import from_events


def test_a_checker_that_raises_is_unknown_and_takes_nobody_down(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(history: History) -> Finding:
        raise LookupError("no such thing")

    monkeypatch.setitem(CHECKERS.built_in, "slots", broken)
    findings = check(from_events([]))
    assert list(findings) == list(CHECKERS)
    assert findings["slots"].verdict is Verdict.UNKNOWN
    assert findings["slots"].reason == "the checker failed: LookupError: no such thing"
    assert findings["availability"].verdict is Verdict.VALID


def test_an_unknown_checker_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"no checker is called stalenes; there are linearizability, staleness"):
        check(from_events([]), ["stalenes"])


@pytest.mark.parametrize("name", CHECKERS)
def test_an_empty_history_is_nothing_to_check(name: str) -> None:
    finding = check(from_events([]), [name])[name]
    assert finding.verdict is not Verdict.INVALID
    assert finding.metrics["checked"] == 0
    assert finding.reason


def test_everything_public_is_there() -> None:
    assert all(hasattr(checkers, name) for name in checkers.__all__)

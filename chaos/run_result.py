"""What a test gets from a run: counts to assert on, and the explanation when an assertion fails."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from chaos.result import ClaimResult, Result
from checkers.finding import Anomaly, Finding, Verdict


class Undecided(AssertionError):
    """A count was asked for that the run cannot give: the message says which checker could not decide, and why.

    It fails the test that asks. Look at the reason: usually a larger budget, a longer run or a healthy machine helps.
    """


@dataclass(frozen=True, repr=False)
class RunResult:
    """A finished run and its verdict.

    `lost_writes`, `stale_reads` and `torn_reads` raise Undecided rather than say 0 when none was found but not
    everything could be decided.
    """

    run_dir: Path
    result: Result

    def __repr__(self) -> str:
        return f"<run {self.result.run}: claims {self.claims_verdict}, findings {self.verdict}>"

    @property
    def seed(self) -> int:
        """The seed that the run used, drawn or given."""
        return self.result.seed

    @property
    def verdict(self) -> Verdict:
        """Of the findings: valid, invalid or unknown."""
        return self.result.verdict

    @property
    def claims_verdict(self) -> str:
        """Of the scenario's claims: `hold`, `broken`, `unknown` or `none`."""
        return self.result.claims_verdict

    @property
    def claims(self) -> list[ClaimResult]:
        """The scenario's claims, judged."""
        return self.result.claims

    @property
    def findings(self) -> dict[str, Finding]:
        """What each checker found, by its name."""
        return self.result.findings

    @property
    def operations(self) -> dict[str, int]:
        """Operations by outcome: `ok`, `fail`, `info`."""
        return self.result.operations

    @property
    def lost_writes(self) -> int:
        """Acknowledged writes that were gone after everything had healed and converged."""
        return self._decided("lost_writes", "lost-write")

    @property
    def stale_reads(self) -> int:
        """Reads that returned a value which an acknowledged write had replaced before they began."""
        return self._decided("stale_reads", "stale-read")

    @property
    def torn_reads(self) -> int:
        """Reads that saw one part of an atomic write of several keys and not the other."""
        return self._decided("torn_reads", "torn-read")

    def _decided(self, name: str, kind: str) -> int:
        """The count, if a claim of `name: 0` would be decided; the rule of claims is the rule here."""
        from chaos.claims import judge, parse_claim

        claim = judge([parse_claim(name, 0)], self.findings)[1][0]
        if claim.holds is None:
            raise Undecided(f"{name} cannot be counted: {claim.reason}")
        return self.result.count(kind)

    def count(self, *kinds: str) -> int:
        """How many anomalies of these kinds were found: `result.count("duplicate-write", "phantom-value")`."""
        return self.result.count(*kinds)

    def anomalies(self, *kinds: str) -> list[Anomaly]:
        """The anomalies of these kinds with their proof; of every kind when none is named."""
        return self.result.anomalies(*kinds)

    def story(self) -> list[str]:
        """What happened, in order; empty when the run directory does not hold the history any more."""
        from chaos.report.divergence import divergences
        from chaos.report.story import story
        from chaos.store import HISTORY, read_executed
        from checkers.history import load

        history = self.run_dir / HISTORY
        if not history.is_file():
            return []
        executed, diverged = read_executed(self.run_dir).faults, divergences(self.run_dir / "logs")
        return story(self.result, load(history), executed, diverged)

    def explain(self) -> str:
        """Verdict, claims, story, the worst anomalies, where the report is and how to reproduce it, as plain text."""
        from chaos.report.terminal import explain

        return explain(self.result, self.run_dir, self.story())

"""What a test gets from a run: counts to assert on, and the explanation when an assertion fails."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from chaos.result import ClaimResult, Result
from checkers.finding import Anomaly, Finding, Verdict


@dataclass(frozen=True, repr=False)
class RunResult:
    """A finished run and its verdict.

    A count of 0 means that none was found; whether enough was checked to mean something stands in `findings`, and a
    claim whose finding is unknown makes `claims_verdict` `unknown`.
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
        return self.result.count("lost-write")

    @property
    def stale_reads(self) -> int:
        """Reads that returned a value which an acknowledged write had replaced before they began."""
        return self.result.count("stale-read")

    @property
    def torn_reads(self) -> int:
        """Reads that saw one part of an atomic write of several keys and not the other."""
        return self.result.count("torn-read")

    def count(self, *kinds: str) -> int:
        """How many anomalies of these kinds were found: `result.count("duplicate-write", "phantom-value")`."""
        return self.result.count(*kinds)

    def anomalies(self, *kinds: str) -> list[Anomaly]:
        """The anomalies of these kinds with their proof; of every kind when none is named."""
        return self.result.anomalies(*kinds)

    def story(self) -> list[str]:
        """What happened, in order; empty when the run directory does not hold the history any more."""
        from chaos.report.story import story
        from chaos.store import HISTORY, read_executed
        from checkers.history import load

        history = self.run_dir / HISTORY
        return story(self.result, load(history), read_executed(self.run_dir).faults) if history.is_file() else []

    def explain(self) -> str:
        """Verdict, claims, story, the worst anomalies, where the report is and how to reproduce it, as plain text."""
        from chaos.report.terminal import explain

        return explain(self.result, self.run_dir, self.story())

"""What a run came to: the content of `results.json`, and what a pytest test gets to assert on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from checkers.finding import Anomaly, Finding, Verdict

CLAIMS_HOLD, CLAIMS_BROKEN, CLAIMS_UNKNOWN, NO_CLAIMS = "hold", "broken", "unknown", "none"

EXIT_CODES = {CLAIMS_HOLD: 0, NO_CLAIMS: 0, CLAIMS_BROKEN: 1, CLAIMS_UNKNOWN: 2}
"""By `claims_verdict`: what `run`, `check RUN` and a test's outcome go by."""

VERDICT_EXIT_CODES = {Verdict.VALID: 0, Verdict.INVALID: 1, Verdict.UNKNOWN: 2}
"""By the verdict of the findings: what `check FILE` goes by."""

EXIT_BAD_INPUT, EXIT_CRASH = 254, 255


class ClaimResult(msgspec.Struct, frozen=True):
    """One claim of the scenario, judged."""

    claim: str
    """As the scenario says it: `lost_writes: 0`, `stale_reads: {max: 200ms}`."""
    holds: bool | None
    """None when the finding that would decide it is unknown."""
    measured: Any
    """What was measured, in the claim's unit: a count, or text such as `412 ms`."""
    reason: str | None = None
    """Why it could not be decided."""


class Server(msgspec.Struct, frozen=True):
    """The server that was tested."""

    name: str
    version: str


class Result(msgspec.Struct):
    """One run, checked. `results.json` is this, as JSON."""

    run: str
    """Name of the run: `<scenario>-<time>-seed<seed>`."""
    scenario: str
    seed: int
    server: Server
    deployment: str
    verdict: Verdict
    """Of the findings."""
    claims_verdict: str
    """`hold`, `broken`, `unknown` or `none`."""
    operations: dict[str, int]
    """Operations by outcome: `ok`, `fail`, `info`."""
    findings: dict[str, Finding]
    claims: list[ClaimResult]
    reproduce: str
    """One command that runs the same plan again."""
    error: str | None = None
    """Why the run did not go as planned (a fault that could not be injected, an interrupt), or None."""

    @property
    def counts(self) -> dict[str, int]:
        """Anomalies by kind, of all checkers together; kinds of which there were none are left out."""
        found = Counter[str]()
        for finding in self.findings.values():
            found.update(finding.counts)
        return {kind: count for kind, count in sorted(found.items()) if count}

    def count(self, *kinds: str) -> int:
        """How many anomalies of these kinds were found, by all checkers together."""
        return sum(finding.counts.get(kind, 0) for finding in self.findings.values() for kind in kinds)

    def anomalies(self, *kinds: str) -> list[Anomaly]:
        """The listed anomalies of these kinds (of every kind when none is named)."""
        listed = [anomaly for finding in self.findings.values() for anomaly in finding.anomalies]
        return [anomaly for anomaly in listed if not kinds or anomaly.kind in kinds]

    @property
    def exit_code(self) -> int:
        """0 claims hold (or none were given), 1 a claim is broken, 2 unknown."""
        return EXIT_CODES[self.claims_verdict]

    def save(self, run_dir: Path) -> None:
        """Write `results.json` into the run directory."""
        text = msgspec.json.format(msgspec.json.encode(self, order="deterministic"), indent=2)
        (run_dir / "results.json").write_bytes(text + b"\n")


def read_result(run_dir: Path) -> Result:
    """The result that a run directory holds. Raises FileNotFoundError when the run was never checked."""
    return msgspec.json.decode((run_dir / "results.json").read_bytes(), type=Result)

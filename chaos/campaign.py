"""Many seeds of one scenario, several at a time, and how often they find what.

Worth it in virtual time, where a run takes a fraction of its seconds and a seed that found something finds it again.
Runs that found nothing are removed; the others are kept whole.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec

from chaos.errors import BadInput, CachequakeError
from chaos.result import EXIT_CODES, EXIT_CRASH, NO_CLAIMS
from chaos.run import run_scenario
from chaos.scenario import Scenario
from chaos.side_by_side import refuse_disturbance, workers
from chaos.store import remove_run
from chaos.verify import verify_once

_RANGE = re.compile(r"(\d+)\.\.(\d+)")


class Trial(msgspec.Struct, frozen=True):
    """What one seed came to."""

    seed: int
    claims_verdict: str
    """As in `chaos.result.Result`; `none` when the run failed."""
    counts: dict[str, int] = {}
    """Anomalies by kind."""
    run: str | None = None
    """Directory of the run; None when it was removed because it found nothing."""
    error: str | None = None
    """Why it did not go as planned."""
    differs: str | None = None
    """Where a second run of the seed differed first, in words; None where it did not, or was not asked for."""


class Campaign(msgspec.Struct):
    """What all seeds came to, in their order."""

    scenario: str
    seconds: float
    """Of real time."""
    trials: list[Trial]
    verified: bool = False
    """Whether every seed was run twice."""

    @property
    def exit_code(self) -> int:
        """The worst of all: 255 a run failed or differed, 1 one broke a claim, 2 one is unknown, else 0."""
        codes = {
            EXIT_CRASH if trial.error or trial.differs else EXIT_CODES[trial.claims_verdict] for trial in self.trials
        }
        return next((code for code in (EXIT_CRASH, 1, 2) if code in codes), 0)

    def in_words(self) -> str:
        """Lines for a person: how many seeds found what, and which one to look at."""
        found: dict[str, list[int]] = {}
        for trial in self.trials:
            for kind in trial.counts:
                found.setdefault(kind, []).append(trial.seed)
        claims = Counter(trial.claims_verdict for trial in self.trials if not trial.error)
        pace = 60 * len(self.trials) / max(self.seconds, 0.001)
        lines = [f"{self.scenario}: {len(self.trials)} seeds in {self.seconds:.0f} s ({pace:.0f} a minute)"]
        lines.append(", ".join(f"claims {verdict}: {count}" for verdict, count in sorted(claims.items())))
        for kind, seeds in sorted(found.items()):
            many = f"{len(seeds)} seeds, the first is" if len(seeds) > 1 else "1 seed,"
            lines.append(f"{kind}: {many} {seeds[0]}")
        lines += [f"seed {trial.seed} failed: {trial.error}" for trial in self.trials if trial.error]
        lines += [f"seed {trial.seed} is not repeatable: {trial.differs}" for trial in self.trials if trial.differs]
        if self.verified:
            same = sum(trial.differs is None and not trial.error for trial in self.trials)
            lines.append(f"run twice: identical in {same} of {len(self.trials)}")
        return "\n".join(line for line in lines if line)

    def to_json(self) -> str:
        """What `run --seeds --json` prints."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode()


def parse_seeds(text: str) -> range:
    """`1..1000`, both included. Raises BadInput."""
    found = _RANGE.fullmatch(text)
    if found is None or int(found[1]) > int(found[2]):
        raise BadInput(f"--seeds {text}: write the first and the last, for example --seeds 1..1000")
    return range(int(found[1]), int(found[2]) + 1)


def run_campaign(
    scenario: Scenario,
    seeds: Sequence[int],
    *,
    jobs: int = 1,
    verify: bool = False,
    server: str | None = None,
    out: Path = Path("runs"),
    on_trial: Callable[[Trial], None] = lambda trial: None,
    allow_faults_on: Sequence[str] = (),
) -> Campaign:
    """Run every seed, `jobs` at a time, each on a processor of its own; `on_trial` hears of them in their order.

    With `verify` each is run twice, and the two are compared (in virtual time only); both are kept if they differ.

    Raises BadInput when the deployment cannot do what the scenario asks, or cannot do it several times at once.
    """
    refuse_disturbance(jobs, scenario.deploy)
    began = time.monotonic()
    trials = []
    with workers(jobs) as each:
        for trial in each(partial(_try, scenario, server, out, allow_faults_on, verify), seeds):
            trials.append(trial)
            on_trial(trial)
    return Campaign(scenario.name, time.monotonic() - began, trials, verify)


def _try(
    scenario: Scenario, server: str | None, out: Path, allow_faults_on: Sequence[str], verify: bool, seed: int
) -> Trial:
    try:
        done = run_scenario(scenario, seed=seed, server=server, out=out, allow_faults_on=allow_faults_on)
        differs = _difference(done.run_dir, server, out) if verify else None
    except BadInput:
        raise
    except CachequakeError as error:
        return Trial(seed, NO_CLAIMS, error=str(error))
    result = done.result
    found = result.counts
    run: str | None = str(done.run_dir)
    if not found and EXIT_CODES[result.claims_verdict] == 0 and result.error is None and differs is None:
        remove_run(done.run_dir)
        run = None
    return Trial(seed, result.claims_verdict, found, run, result.error, differs)


def _difference(run_dir: Path, server: str | None, out: Path) -> str | None:
    """Where a second run differs from this one."""
    again = verify_once(server, out, run_dir)
    return f"{again.in_words()} (second run: {again.run_dir})" if again.differences else None

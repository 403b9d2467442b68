"""Looking for schedules of faults that break a scenario's claims: at random first, then near what led somewhere new.

A failure that was found is kept as a scenario file, and is run first the next time, as hypothesis does with its
examples: a failure that is still there is told at once.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import msgspec

from chaos.claims import broken_kinds
from chaos.errors import BadInput, CachequakeError, RunFailed
from chaos.judge import check_run
from chaos.run import run_scenario
from chaos.scenario import SUFFIX, Scenario, load_scenario
from chaos.schedules import Schedule, Situation, change, draw, possible_kinds, situations, with_faults
from chaos.side_by_side import workers
from chaos.store import HISTORY, read_executed, remove_run
from checkers.history import load
from nemeses.stream import Stream, derive

STORE = Path(".cachequake") / "failures"
PATIENCE = 10
"""When so many runs at the beginning fail, and none goes as planned, something else is wrong."""
FRESH = 0.3
"""The share of schedules that are drawn anew although there are some to change."""


class Outcome(NamedTuple):
    """What one schedule came to."""

    broken: tuple[str, ...]
    """Kinds of anomaly that break a claim (or are looked for)."""
    situations: frozenset[Situation]
    error: str | None = None


class Found(NamedTuple):
    """What a search came to."""

    failure: Scenario | None
    kinds: tuple[str, ...]
    """What the failure shows."""
    file: Path | None
    """Where it is kept."""
    known: bool
    """Whether it was kept from an earlier search."""
    schedules: int
    """How many were run."""
    situations: int
    """How many different ones they led to."""
    failed: Counter[str]
    """Why runs could not be carried out as planned, and how many: they prove nothing."""
    seconds: float

    def in_words(self) -> str:
        """A line for a person."""
        pace = f"{self.schedules} schedules and {self.situations} situations in {self.seconds:.0f} s"
        lost = ""
        if self.failed:
            ((why, _),) = self.failed.most_common(1)
            lost = f"; {self.failed.total()} runs did not go as planned, most often: {why}"
        if self.failure is None:
            return f"nothing found in {pace}{lost}"
        again = "still fails: " if self.known else ""
        faults = " and ".join(fault.fault for fault in self.failure.nemesis if hasattr(fault, "fault")) or "no fault"
        return f"{again}{', '.join(self.kinds)} with {faults}, after {pace}{lost}; kept as {self.file}"


def search(
    scenario: Scenario,
    *,
    budget_s: float,
    seed: int,
    out: Path,
    kinds: Sequence[str] = (),
    wanted: Sequence[str] = (),
    store: Path = STORE,
    server: str | None = None,
    jobs: int = 1,
    dask: str | None = None,
    on_run: Callable[[int, int], None] = lambda schedules, situations: None,
) -> Found:
    """Run schedules until one breaks a claim (or shows an anomaly of one of `wanted`), for at most about `budget_s`.

    `kinds` are the kinds of fault to draw from: all that the scenario can have unless given. The same `seed` tries the
    same schedules as long as they lead to the same situations. With `dask` the runs take place on a Dask cluster (see
    `chaos.on_dask.dask_workers`), as many at a time as it has workers.

    Raises BadInput when there is nothing to look for, and RunFailed when no run goes as planned.
    """
    if not wanted and not any(claim.limit == "count" for claim in scenario.claims):
        raise BadInput(f"{scenario.name} claims nothing about anomalies: name what to look for, with --for lost-write")
    began = time.monotonic()
    attempt = partial(_attempt, tuple(wanted), server)
    for file in sorted(store.glob(f"{scenario.name}-*{SUFFIX}")):
        kept = load_scenario(file)
        outcome = attempt(out, kept)
        if outcome.broken:
            return Found(
                kept, outcome.broken, file, True, 1, len(outcome.situations), Counter(), time.monotonic() - began
            )
    hunt = _Hunt(scenario, list(kinds) or possible_kinds(scenario), seed)
    with _several(attempt, out, jobs, dask) as (width, outcomes):
        while time.monotonic() - began < budget_s:
            batch = [hunt.next() for _ in range(width)]
            for tried, outcome in zip(batch, outcomes(batch), strict=True):
                hunt.learn(tried, outcome)
                if outcome.broken:
                    file = keep(tried, outcome.broken, store)
                    return hunt.found(tried, outcome.broken, file, time.monotonic() - began)
            on_run(hunt.count, len(hunt.seen))
    return hunt.found(None, (), None, time.monotonic() - began)


@contextmanager
def _several(
    attempt: Callable[[Path, Scenario], Outcome], out: Path, jobs: int, dask: str | None
) -> Iterator[tuple[int, Callable[[list[Scenario]], Iterator[Outcome]]]]:
    """How many runs at a time, and what carries them out."""
    if dask is None:
        with workers(jobs) as each:
            yield jobs, lambda batch: each(partial(attempt, out), batch)
        return
    from chaos.on_dask import dask_workers

    with dask_workers(dask, jobs) as cluster:
        yield cluster.count, lambda batch: cluster.each(attempt, out, batch, arrived=check_run)


class _Hunt:
    """The schedules that led to something new, and what they led to."""

    def __init__(self, scenario: Scenario, kinds: list[str], seed: int) -> None:
        if not kinds:
            raise BadInput(f"{scenario.name} can have no fault that schedules are drawn from")
        self._scenario = scenario
        self._kinds = kinds
        self._seed = seed
        self._stream = Stream(derive(seed, "search"))
        self._corpus: list[Schedule] = []
        self.seen: set[Situation] = set()
        self.count = 0
        self.failed: Counter[str] = Counter()

    def next(self) -> Scenario:
        """A scenario to run."""
        while True:
            self.count += 1
            stream = Stream(self._stream.bits())
            if self._corpus and not stream.chance(FRESH):
                schedule = change(self._scenario, self._kinds, stream.choice(self._corpus), stream)
            else:
                schedule = draw(self._scenario, self._kinds, stream)
            try:
                made = with_faults(self._scenario, schedule)
            except BadInput:  # no run could have these faults together: draw again
                continue
            return msgspec.structs.replace(made, seed=derive(self._seed, "run", self.count) % 10**9)

    def learn(self, tried: Scenario, outcome: Outcome) -> None:
        """Remember a schedule that led somewhere new."""
        if outcome.error is not None:
            self.failed[outcome.error] += 1
        if self.failed.total() == self.count >= PATIENCE:
            raise RunFailed(f"none of the first {self.count} runs went as planned; the last: {outcome.error}")
        if outcome.situations - self.seen:
            self.seen |= outcome.situations
            self._corpus.append(tuple(tried.nemesis))  # type: ignore[arg-type]  # no mixtures are drawn

    def found(self, failure: Scenario | None, kinds: tuple[str, ...], file: Path | None, seconds: float) -> Found:
        return Found(failure, kinds, file, False, self.count, len(self.seen), self.failed, seconds)


def keep(failure: Scenario, kinds: tuple[str, ...], store: Path) -> Path:
    """Write a failure into the store, and return its file."""
    store.mkdir(parents=True, exist_ok=True)
    text = failure.to_yaml()
    digest = blake2b(text.encode(), digest_size=4).hexdigest()
    file = store / f"{failure.name}-{kinds[0]}-{digest}{SUFFIX}"
    file.write_text(f"# {', '.join(kinds)}\n{text}", encoding="utf-8")
    return file


def _attempt(wanted: tuple[str, ...], server: str | None, out: Path, scenario: Scenario) -> Outcome:
    """One run; its directory is removed unless it found something."""
    try:
        done = run_scenario(scenario, seed=scenario.seed, server=server, out=out)
    except BadInput:
        raise
    except CachequakeError as error:
        return Outcome((), frozenset(), str(error))
    result = done.result
    broken = (
        {kind for kind in wanted if result.count(kind)} if wanted else broken_kinds(scenario.claims, result.findings)
    )
    led_to = frozenset(situations(load(done.run_dir / HISTORY), read_executed(done.run_dir)))
    if not broken:
        remove_run(done.run_dir)
    return Outcome(tuple(sorted(broken, key=lambda kind: (-result.count(kind), kind))), led_to, result.error)

"""The smallest scenario that still fails as a run did: delta debugging over its faults, clients, keys and time.

A candidate is a whole scenario with the run's seed, so what is left at the end is a file that anybody can run. It is
kept when the anomaly comes back: in virtual time one run decides, for the same seed does the same; on real machines
`NEEDED` of `TRIES` must show it. Faults stand where the run had them, each with a seed of its own. The order of
reductions is that of what they save: what makes runs shorter comes first (Zeller and Hildebrandt's minimizing delta
debugging, with chunks of halves, quarters, ... for the faults).
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from chaos.claims import broken_kinds, parse_claim, subjects
from chaos.errors import BadInput, CachequakeError, RunFailed
from chaos.plan import Plan, read_plan
from chaos.replay import as_executed
from chaos.result import Result, read_result
from chaos.run import run_scenario
from chaos.scenario import FaultSpec, Scenario, validated
from chaos.side_by_side import Each, workers
from chaos.store import PLAN, read_executed, remove_run
from chaos.units import show_duration

TRIES, NEEDED = 5, 4
"""On real machines: how often a candidate is run, and in how many of these runs the anomaly must come back."""
AFTER_MS = 500
"""What is left of the load behind the last fault: clients must see what it did."""
SLOW = 5.0
"""Operations a second and client. Messages are what a run in virtual time costs, so the pace is the first to go."""
SHORTEST_MS = 100
"""A fault is not made shorter than this."""

Candidate = tuple[str, Scenario]
"""What was taken away, in words, and what is left."""


class Step(NamedTuple):
    """A reduction that was kept."""

    words: str
    seconds: float
    """From the beginning."""


class Shrunk(NamedTuple):
    """What is left, and how it came about."""

    scenario: Scenario
    kept: tuple[str, ...]
    """The kinds of anomaly that had to come back."""
    steps: list[Step]
    tried: int
    """Candidates that were run."""
    seconds: float
    complete: bool
    """Whether every further reduction was tried and makes the anomaly go away; else time ran out."""

    def in_words(self) -> str:
        """A paragraph: what is needed for the anomaly, and what turned out not to be."""
        scenario = self.scenario
        faults = [
            f"{f.fault} of {f.target} at {show_duration(f.at_ms)} for {show_duration(f.for_ms)}"
            for f in _faults(scenario)
        ]
        needed = " and ".join(faults) or "no fault at all"
        clients = "1 client" if scenario.clients.count == 1 else f"{scenario.clients.count} clients"
        work = ", ".join(f"{name} {_sizes(options)}".strip() for name, options in scenario.workload.items())
        rest = (
            "Each further cut that was tried makes it go away."
            if self.complete
            else "Time ran out before every further cut was tried."
        )
        return (
            f"{', '.join(self.kept)} needs {needed}, with {clients} at work on {work} "
            f"for {show_duration(scenario.duration_ms)}. {len(self.steps)} reductions of {self.tried} that were tried "
            f"kept it, in {self.seconds:.0f} s. {rest}"
        )


def scenarios_of(run_dir: Path, kinds: Sequence[str], deploy: str | None = None) -> list[Scenario]:
    """The scenario of a run with its seed and the seeds of its faults, in the forms that may fail as the run did.

    First with its faults on the roles that were struck, so that one fault can go without the others striking somebody
    else. To draw a target takes a number from the fault's stream, which may change what is drawn next; so in virtual
    time, where the plan itself gives the same bytes, it is the second form. Both claim that `kinds` do not occur.
    Raises BadInput when it cannot be run elsewhere (`deploy`).
    """
    planned = read_plan(run_dir / PLAN)
    plans = [as_executed(planned, read_executed(run_dir))]
    if (deploy or planned.scenario.deploy) == "virtual":
        plans.append(planned)
    return [_scenario_of(plan, kinds, deploy) for plan in plans]


def _scenario_of(plan: Plan, kinds: Sequence[str], deploy: str | None) -> Scenario:
    faults = [FaultSpec.of(fault) for fault in plan.faults]
    claims = [name for name, subject in subjects().items() if any(kind in subject.kinds for kind in kinds)]
    scenario = msgspec.structs.replace(
        plan.scenario,
        name=f"{plan.scenario.name}-minimal",
        seed=plan.seed,
        deploy=deploy or plan.scenario.deploy,
        nemesis=sorted(faults, key=lambda fault: fault.at_ms),
        claims=[parse_claim(name, 0) for name in claims] or [parse_claim("anomalies", 0)],
    )
    return validated(scenario)


def kinds_to_keep(run_dir: Path, wanted: Sequence[str]) -> tuple[str, ...]:
    """The kinds of anomaly that must come back: those named, or the one that the run had most of.

    Of those that broke a claim, if any did; a lost write comes first. Raises BadInput when the run did not have one
    that is named, or had none at all.
    """
    result = read_result(run_dir)
    found = result.counts
    if not found:
        raise BadInput(f"{run_dir.name} found no anomaly, so there is nothing to keep")
    for kind in wanted:
        if kind not in found:
            raise BadInput(f"--keep {kind}: {run_dir.name} found none; it found {', '.join(sorted(found))}")
    if wanted:
        return tuple(wanted)
    broken = broken_kinds(read_plan(run_dir / PLAN).scenario.claims, result.findings)
    return (max(broken or found, key=lambda kind: (kind == "lost-write", found[kind])),)


def shrink(
    scenarios: Sequence[Scenario],
    kinds: tuple[str, ...],
    *,
    budget_s: float,
    out: Path,
    server: str | None = None,
    jobs: int = 1,
    on_step: Callable[[str], None] = lambda line: None,
) -> Shrunk:
    """Reduce a scenario as long as anomalies of every one of `kinds` come back, for at most about `budget_s`.

    The first of `scenarios` that shows them is reduced. `jobs` candidates are tried at a time (virtual time only).
    Raises RunFailed when none of the scenarios, as they are given, shows them.
    """
    began = time.monotonic()
    shows = partial(_shows, kinds, server, out)
    scenario = next(filter(shows, scenarios), None)
    if scenario is None:
        raise RunFailed(f"{', '.join(kinds)} did not come back when the faults struck again: nothing to shrink")
    search = Search(scenario, shows, on_step, began + budget_s)
    with workers(jobs) as each:
        complete = search.run(each, jobs)
    seconds = time.monotonic() - began
    steps = [Step(words, at - began) for words, at in search.steps]
    return Shrunk(search.scenario, kinds, steps, search.tried, seconds, complete)


class Search:
    """The smallest scenario so far, and the way to it. `shows` says whether a scenario still fails."""

    def __init__(
        self, scenario: Scenario, shows: Callable[[Scenario], bool], on_step: Callable[[str], None], deadline: float
    ) -> None:
        self.scenario = scenario
        self.steps: list[tuple[str, float]] = []
        self.tried = 1
        self._shows = shows
        self._on_step = on_step
        self._deadline = deadline

    def run(self, each: Each, jobs: int) -> bool:
        """Go through all reductions until none helps any more; False when time ran out before."""
        before = None
        while before != self.scenario:
            before = self.scenario
            for reduce in REDUCTIONS:
                while self._reduced(reduce, each, jobs):
                    pass
                if time.monotonic() >= self._deadline:
                    return False
        return True

    def _reduced(self, reduce: Callable[[Scenario], Iterator[Candidate]], each: Each, jobs: int) -> bool:
        """Take the first candidate that still fails, if there is one."""
        candidates = (candidate for candidate in reduce(self.scenario) if candidate[1] != self.scenario)
        while time.monotonic() < self._deadline and (batch := list(islice(candidates, jobs))):
            self.tried += len(batch)
            outcomes = list(each(self._shows, [scenario for _, scenario in batch]))
            for (words, scenario), failed in zip(batch, outcomes, strict=True):
                if failed:
                    self.scenario = scenario
                    self.steps.append((words, time.monotonic()))
                    self._on_step(words)
                    return True
        return False


def _shows(kinds: tuple[str, ...], server: str | None, out: Path, scenario: Scenario) -> bool:
    """Whether anomalies of every kind come back: in one run of virtual time, or often enough in several."""
    once = scenario.deploy == "virtual"
    tries, needed = (1, 1) if once else (TRIES, NEEDED)
    good = 0
    for number in range(tries):
        good += _came_back(kinds, _run(scenario, server, out))
        if good == needed or tries - number - 1 < needed - good:
            break
    return good >= needed


def _came_back(kinds: tuple[str, ...], result: Result | None) -> bool:
    return result is not None and all(result.count(kind) for kind in kinds)


def _run(scenario: Scenario, server: str | None, out: Path) -> Result | None:
    """One run, whose directory is removed; None when it could not be carried out."""
    try:
        done = run_scenario(scenario, seed=scenario.seed, server=server, out=out)
    except BadInput:
        raise
    except CachequakeError:
        return None
    remove_run(done.run_dir)
    return done.result


def _faults(scenario: Scenario) -> list[FaultSpec]:
    return [entry for entry in scenario.nemesis if isinstance(entry, FaultSpec)]


def _sizes(options: dict[str, Any]) -> str:
    sizes = [f"{name} {value}" for name, value in options.items() if _is_size(value)]
    return f"({', '.join(sizes)})" if sizes else ""


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# What can be taken away


def _changed(scenario: Scenario, words: str, **fields: Any) -> Iterator[Candidate]:
    """One candidate, unless no run could do it."""
    try:
        yield words, validated(msgspec.structs.replace(scenario, **fields))
    except BadInput:
        return


def fewer_faults(scenario: Scenario) -> Iterator[Candidate]:
    """Each fault alone, then without one half of them, one quarter, ... one."""
    faults = _faults(scenario)
    if len(faults) > 2:
        for number, fault in enumerate(faults):
            yield from _changed(scenario, f"only the {fault.fault} (fault {number})", nemesis=[fault])
    size = len(faults) // 2 or len(faults)
    while size:
        for begin in range(0, len(faults), size):
            left = faults[:begin] + faults[begin + size :]
            gone = ", ".join(fault.fault for fault in faults[begin : begin + size])
            yield from _changed(scenario, f"without {gone}", nemesis=left)
        size //= 2


def sooner(scenario: Scenario) -> Iterator[Candidate]:
    """All faults earlier, so that the first begins after `AFTER_MS`; and the load no longer than they need."""
    faults = _faults(scenario)
    begin = min((fault.at_ms for fault in faults), default=0)
    if begin > AFTER_MS:
        moved = [msgspec.structs.replace(fault, at_ms=fault.at_ms - begin + AFTER_MS) for fault in faults]
        end = max(fault.at_ms + fault.for_ms for fault in moved) + AFTER_MS
        for duration in (end, scenario.duration_ms - begin + AFTER_MS):
            if duration < scenario.duration_ms:
                yield from _changed(scenario, "all of it sooner", nemesis=moved, duration_ms=duration)
    end = max((fault.at_ms + fault.for_ms for fault in faults), default=0) + AFTER_MS
    for duration in (end, scenario.duration_ms * 3 // 4):
        if duration < scenario.duration_ms:
            yield from _changed(scenario, f"a load of {show_duration(duration)}", duration_ms=duration)


def shorter_faults(scenario: Scenario) -> Iterator[Candidate]:
    """Each fault half as long, and the load by as much."""
    faults = _faults(scenario)
    for number, fault in enumerate(faults):
        if fault.for_ms >= 2 * SHORTEST_MS:
            half = msgspec.structs.replace(fault, for_ms=fault.for_ms // 2)
            changed = [*faults[:number], half, *faults[number + 1 :]]
            yield from _changed(scenario, f"the {fault.fault} for {show_duration(half.for_ms)}", nemesis=changed)


def fewer_workloads(scenario: Scenario) -> Iterator[Candidate]:
    """Without one of several workloads."""
    for name in scenario.workload if len(scenario.workload) > 1 else ():
        left = {other: options for other, options in scenario.workload.items() if other != name}
        yield from _changed(scenario, f"without workload {name}", workload=left)


def fewer_clients(scenario: Scenario) -> Iterator[Candidate]:
    """Half the clients, or one less."""
    count = scenario.clients.count
    for fewer in dict.fromkeys((count // 2, count - 1)):
        if fewer:
            clients = msgspec.structs.replace(
                scenario.clients, count=fewer, processes=min(fewer, scenario.clients.processes)
            )
            yield from _changed(scenario, f"{fewer} clients", clients=clients)


def fewer_keys(scenario: Scenario) -> Iterator[Candidate]:
    """Half of whatever a workload has a number of."""
    for name, options in scenario.workload.items():
        for option, value in options.items():
            if _is_size(value) and value > 1:
                changed = {**scenario.workload, name: {**options, option: value // 2}}
                yield from _changed(scenario, f"{name}: {option} {value // 2}", workload=changed)


def fewer_operations(scenario: Scenario) -> Iterator[Candidate]:
    """A steady pace instead of as many operations as go: a slow one at once, or else half the pace."""
    rate = scenario.clients.rate
    for slower in (SLOW, 50.0) if rate is None else (SLOW, rate / 2):
        if slower >= 1 and (rate is None or slower < rate):
            clients = msgspec.structs.replace(scenario.clients, rate=slower)
            yield from _changed(scenario, f"{slower:g} operations a second and client", clients=clients)


REDUCTIONS: tuple[Callable[[Scenario], Iterator[Candidate]], ...] = (
    fewer_operations,
    fewer_faults,
    fewer_workloads,
    fewer_clients,
    sooner,
    shorter_faults,
    fewer_keys,
)
"""In the order in which they are tried, again and again until none of them keeps the anomaly."""


def save(shrunk: Shrunk, folder: Path) -> list[Path]:
    """Write the scenario, a pytest file that runs it, and what is needed for the anomaly; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    scenario = folder / "minimal.quake.yaml"
    texts = {
        scenario: f"{textwrap.indent(textwrap.fill(shrunk.in_words(), 110), '# ')}\n{shrunk.scenario.to_yaml()}",
        folder / "test_minimal.py": _TEST.format(counts=", ".join(f'"{kind}"' for kind in shrunk.kept)),
        folder / "shrunk.txt": "\n".join(
            [shrunk.in_words(), "", *(f"{step.seconds:7.1f} s  {step.words}" for step in shrunk.steps), ""]
        ),
    }
    for file, text in texts.items():
        file.write_text(text, encoding="utf-8")
    return list(texts)


_TEST = """from pathlib import Path


def test_minimal(cachequake):
    result = cachequake.run(Path(__file__).with_name("minimal.quake.yaml"))
    assert result.count({counts}) == 0, result.explain()
"""


def comes_back(shrunk: Shrunk, deploy: str, tries: int, server: str | None, out: Path) -> int:
    """In how many of so many fresh runs on another deployment the anomaly comes back.

    Raises BadInput when that deployment cannot do what the scenario asks.
    """
    elsewhere = validated(msgspec.structs.replace(shrunk.scenario, deploy=deploy))
    return sum(_came_back(shrunk.kept, _run(elsewhere, server, out)) for _ in range(tries))

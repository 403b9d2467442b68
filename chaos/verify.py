"""Run the seed of a run in virtual time once more, and compare all that the two left: turn by turn, byte by byte."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from chaos.deploy.virtual.trace import TRACE
from chaos.errors import BadInput
from chaos.plan import read_plan
from chaos.run import Listener, run_plan
from chaos.side_by_side import workers
from chaos.store import HISTORY, PLAN, remove_run


@dataclass(frozen=True)
class Difference:
    """The first line in which a file of the two runs differs; None where a run has no such line any more."""

    file: str
    line: int
    """From 1."""
    before: str | None
    after: str | None

    def in_words(self) -> str:
        """What differs and where; of a trace, which turn of which node."""
        lines = f"\n  first:  {self.before or '(ended)'}\n  second: {self.after or '(ended)'}"
        return f"{self.file} differs first in line {self.line}{lines}"


@dataclass(frozen=True)
class Verification:
    """What came of a comparison."""

    run_dir: Path
    """Of the second run."""
    turns: int
    """How many turns the servers had in the first run."""
    differences: list[Difference]
    """One a file; the trace's, which comes first, is the cause of the others."""

    @property
    def exit_code(self) -> int:
        """0 when nothing differs, else 1."""
        return 1 if self.differences else 0

    def in_words(self) -> str:
        """Lines for a person."""
        if not self.differences:
            return f"identical: {self.turns:,} turns of the servers, history, digests and logs"
        return "\n".join(difference.in_words() for difference in self.differences)

    def to_json(self) -> str:
        """What `verify --json` prints."""
        fields = {
            "run": str(self.run_dir),
            "identical": not self.differences,
            "turns": self.turns,
            "differences": self.differences,
        }
        return msgspec.json.format(msgspec.json.encode(fields), indent=2).decode()


def verify_run(
    run_dir: Path, *, server: str | None = None, out: Path, on_progress: Listener | None = None
) -> Verification:
    """Carry the plan of `run_dir` out again and compare. `server` must be the one that was tested there.

    Raises BadInput for a run that was not in virtual time, and what `chaos.run.run_plan` raises.
    """
    plan = read_plan(run_dir / PLAN)
    if not (run_dir / TRACE).is_file():
        raise BadInput(
            f"{run_dir.name} ran on {plan.scenario.deploy}, in real time, which nobody can repeat: verify is for runs "
            "with --deploy virtual; use replay"
        )
    again = run_plan(plan, server=server, out=out, on_progress=on_progress).run_dir
    files = [TRACE, HISTORY, *sorted(f"logs/{path.name}" for path in (run_dir / "logs").glob("n*.log"))]
    found = [difference for file in files if (difference := _compare(file, run_dir, again)) is not None]
    return Verification(again, len((run_dir / TRACE).read_bytes().splitlines()), found)


@dataclass(frozen=True)
class Verifications:
    """What came of several repetitions of one run."""

    each: list[Verification]

    @property
    def identical(self) -> int:
        """How many of them were."""
        return sum(not one.differences for one in self.each)

    @property
    def exit_code(self) -> int:
        """0 when all were identical, else 1."""
        return 0 if self.identical == len(self.each) else 1

    def in_words(self) -> str:
        """Lines for a person: how many, and of those that were not where they differ."""
        lines = [f"identical in {self.identical} of {len(self.each)}: {self.each[0].turns:,} turns of the servers each"]
        lines += [f"{one.run_dir}: {one.in_words()}" for one in self.each if one.differences]
        return "\n".join(lines)

    def to_json(self) -> str:
        """What `verify --times --json` prints."""
        fields = {
            "identical": self.identical,
            "times": len(self.each),
            "turns": self.each[0].turns,
            "different": {str(one.run_dir): one.differences for one in self.each if one.differences},
        }
        return msgspec.json.format(msgspec.json.encode(fields), indent=2).decode()


def verify_times(run_dir: Path, times: int, *, jobs: int = 1, server: str | None = None, out: Path) -> Verifications:
    """Carry the plan of `run_dir` out so many times, `jobs` at a time, and compare each; only what differs is kept.

    Raises what `verify_run` raises.
    """
    with workers(jobs) as each:
        return Verifications(list(each(partial(verify_once, server, out), [run_dir] * times)))


def verify_once(server: str | None, out: Path, run_dir: Path) -> Verification:
    """As `verify_run`, but the second run is kept only if it differs."""
    done = verify_run(run_dir, server=server, out=out)
    if not done.differences:
        remove_run(done.run_dir)
    return done


def _compare(file: str, first: Path, second: Path) -> Difference | None:
    before, after = (_lines(run_dir / file) for run_dir in (first, second))
    for line, (one, other) in enumerate(itertools.zip_longest(before, after), 1):
        if one != other:
            return Difference(file, line, one, other)
    return None


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []

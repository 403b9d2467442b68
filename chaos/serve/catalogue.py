"""Which runs a directory has, and what each came to in short. Nothing is written; only what changed is read again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from chaos.result import Server
from chaos.store import PARTS, PLAN, made_at

RECENT_S = 5
"""A run that has recorded nothing for longer is taken to have ended, whatever became of it."""


class _Plan(msgspec.Struct):
    class _Scenario(msgspec.Struct):
        name: str
        deploy: str

    scenario: _Scenario
    seed: int


class _Finding(msgspec.Struct):
    counts: dict[str, int] = {}


class _Result(msgspec.Struct):
    """What the list needs of `results.json`."""

    server: Server
    verdict: str
    claims_verdict: str
    operations: dict[str, int]
    findings: dict[str, _Finding]
    error: str | None = None


@dataclass(frozen=True)
class Summary:
    """One run in a line."""

    name: str
    scenario: str
    seed: int
    deployment: str
    began: float
    """Seconds since the epoch."""
    state: str
    """`hold`, `broken`, `unknown` or `none` of a run that was checked; `running` or `unfinished` of others."""
    server: str = ""
    operations: int = 0
    counts: Mapping[str, int] | None = None
    """Anomalies by kind; None before the run was checked."""
    error: str | None = None

    @property
    def anomalies(self) -> int:
        """How many were found."""
        return sum((self.counts or {}).values())


class Catalogue:
    """The runs below a directory. May be asked by several threads at once."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._known: dict[Path, tuple[int, Summary]] = {}
        """By run directory, with the time of its `results.json`."""

    def runs(self) -> list[Summary]:
        """Every run, the newest first; what is no run, or cannot be read, is left out."""
        found = [self.run(plan.parent.name) for plan in self.out.glob(f"*/{PLAN}") if not plan.parent.is_symlink()]
        return sorted((run for run in found if run is not None), key=lambda run: (-run.began, run.name))

    def directory(self, name: str) -> Path | None:
        """Where a run of this name is; None when there is none. A name that is a path is no name."""
        run_dir = self.out / name
        fits = name not in ("", ".", "..") and "/" not in name and "\\" not in name and "\0" not in name
        return run_dir if fits and (run_dir / PLAN).is_file() else None

    def run(self, name: str) -> Summary | None:
        """One run in short, or None where there is none that can be read."""
        run_dir = self.directory(name)
        if run_dir is None:
            return None
        try:
            results = run_dir / "results.json"
            stamp = results.stat().st_mtime_ns if results.exists() else 0
            known = self._known.get(run_dir)
            if known is not None and stamp and known[0] == stamp:
                return known[1]
            summary = _summary(run_dir, results.read_bytes() if stamp else None)
        except (OSError, msgspec.MsgspecError):
            return None
        self._known[run_dir] = stamp, summary
        return summary


def _summary(run_dir: Path, results: bytes | None) -> Summary:
    plan = msgspec.json.decode((run_dir / PLAN).read_bytes(), type=_Plan)
    about = (run_dir.name, plan.scenario.name, plan.seed, plan.scenario.deploy, made_at(run_dir))
    if results is None:
        return Summary(*about, "running" if is_running(run_dir) else "unfinished")
    result = msgspec.json.decode(results, type=_Result)
    counts: dict[str, int] = {}
    for finding in result.findings.values():
        for kind, count in finding.counts.items():
            counts[kind] = counts.get(kind, 0) + count
    server = f"{result.server.name} {result.server.version}"
    operations = sum(result.operations.values())
    return Summary(*about, result.claims_verdict, server, operations, counts, result.error)


def is_running(run_dir: Path) -> bool:
    """Whether the run records: a part of its history has grown a moment ago."""
    latest = max((part.stat().st_mtime for part in (run_dir / PARTS).glob("*")), default=0.0)
    return time.time() - latest < RECENT_S

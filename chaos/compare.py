"""Systems side by side: every cell of a suite, several seeds each, and what was measured in one table.

Runs go one after the other: side by side they would disturb each other's time. A row is one system under one fault;
its figures are the median over the seeds, with the least and the most. What was not measured in a run stays out of
its row, and a row that could not be run has the reason.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import msgspec

from chaos.errors import BadInput, CachequakeError
from chaos.result import Result
from chaos.run import run_scenario
from chaos.store import INTERRUPTED
from chaos.suite import Cell, Suite


class Measure(NamedTuple):
    """One column."""

    name: str
    unit: str
    """Empty for a count."""
    of: Callable[[Result], float | None]


def _metric(checker: str, *path: str) -> Callable[[Result], float | None]:
    """A number in the metrics of a checker; None where it has none."""

    def of(result: Result) -> float | None:
        found: Any = result.findings[checker].metrics if checker in result.findings else None
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        return found if isinstance(found, int | float) else None

    return of


def _percent(checker: str, key: str) -> Callable[[Result], float | None]:
    share = _metric(checker, key)
    return lambda result: None if (found := share(result)) is None else 100 * found


ENOUGH = 20
"""Reads that a stretch of time must have for its hit rate to say something."""


def _lowest_hit_rate(result: Result) -> float | None:
    """The dip: the lowest hit rate of any stretch of time, in per cent."""
    balance = result.findings.get("balance")
    stretches = balance.metrics.get("hit_rate_over_time", ()) if balance is not None else ()
    return min((100 * stretch["rate"] for stretch in stretches if stretch["reads"] >= ENOUGH), default=None)


def _count(*kinds: str) -> Callable[[Result], float | None]:
    return lambda result: result.count(*kinds)


MEASURES: tuple[Measure, ...] = (
    Measure("lost writes", "", _count("lost-write")),
    Measure("stale reads", "", _count("stale-read")),
    Measure("stalest", "ms", _metric("staleness", "max_ms")),
    Measure("versions behind", "", _metric("staleness", "max_versions")),
    Measure("torn reads", "", _count("torn-read")),
    Measure("no writes for", "ms", _metric("availability", "longest_ms")),
    Measure("keys moved", "%", _percent("balance", "keys_moved")),
    Measure("hottest node", "%", _percent("balance", "hottest_share")),
    Measure("hit rate", "%", _percent("balance", "hit_rate")),
    Measure("lowest hit rate", "%", _lowest_hit_rate),
    Measure("database loads", "/s", _metric("cachefill", "loads_per_s")),
    Measure("hops", "", _metric("balance", "hops_mean")),
    Measure("operations", "/s", _metric("availability", "operations_per_second")),
    Measure("p50", "ms", _metric("availability", "latency_ms", "p50")),
    Measure("p99", "ms", _metric("availability", "latency_ms", "p99")),
)
"""Every column, in the order of the table."""


class Spread(msgspec.Struct, frozen=True):
    """One figure over all seeds."""

    least: float
    median: float
    most: float


class Row(msgspec.Struct):
    """One system under one fault."""

    system: str
    fault: str
    runs: list[str] = []
    """The run directories, by seed."""
    measured: dict[str, Spread] = {}
    """By the name of the measure."""
    reason: str | None = None
    """Why it was not run, or what kept some of its runs from going as planned."""


class Comparison(msgspec.Struct):
    """The table."""

    suite: str
    seeds: int
    servers: list[str]
    """Name and version of every server that was tested."""
    rows: list[Row]

    @property
    def measures(self) -> list[Measure]:
        """The columns that any row has something in."""
        return [measure for measure in MEASURES if any(measure.name in row.measured for row in self.rows)]

    def to_json(self) -> str:
        """Everything."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode()

    def to_csv(self) -> str:
        """A line a row: medians, with the least and the most beside them."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        names = [f"{m.name} ({m.unit})" if m.unit else m.name for m in self.measures]
        ends = [f"{name} {end}" for name in names for end in ("median", "least", "most")]
        writer.writerow(["system", "fault", *ends, "reason"])
        for row in self.rows:
            spreads = [row.measured.get(measure.name) for measure in self.measures]
            figures = [figure for s in spreads for figure in ((s.median, s.least, s.most) if s else ("", "", ""))]
            writer.writerow([row.system, row.fault, *figures, row.reason or ""])
        return out.getvalue()


def compare(
    suite: Suite,
    *,
    seeds: int | None = None,
    server: str | None = None,
    out: Path = Path("runs"),
    on_run: Callable[[str], None] = lambda line: None,
) -> Comparison:
    """Run every cell with seeds from 1, and measure; `on_run` gets a line before each run.

    A cell that this machine cannot run is told as such, like one that no run could do. Ctrl-C ends it with the run
    that is under way, and the rows before that are returned.
    """
    rows: list[Row] = []
    servers: set[str] = set()
    for cell in suite.cells:
        row = Row(cell.system, cell.fault, reason=cell.reason)
        results = []
        for result in _results(cell, row, range(1, 1 + (seeds or suite.seeds)), server, out, on_run):
            if result.error == INTERRUPTED:
                return Comparison(suite.name, seeds or suite.seeds, sorted(servers), rows)
            results.append(result)
        servers.update(f"{result.server.name} {result.server.version}" for result in results)
        row.measured = _spreads(results)
        rows.append(row)
    return Comparison(suite.name, seeds or suite.seeds, sorted(servers), rows)


def _results(
    cell: Cell, row: Row, seeds: range, server: str | None, out: Path, on_run: Callable[[str], None]
) -> Iterator[Result]:
    """The result of each run of a cell that went as planned; the row is told what did not."""
    for seed in seeds if cell.scenario is not None else ():
        assert cell.scenario is not None
        on_run(f"{cell.system}, {cell.fault}, seed {seed}")
        try:
            done = run_scenario(cell.scenario, seed=seed, server=server, out=out)
        except BadInput as error:  # this machine cannot: no other seed can
            row.reason = str(error)
            return
        except CachequakeError as error:
            row.reason = f"seed {seed}: {error}"
            continue
        row.runs.append(str(done.run_dir))
        if done.result.error in (None, INTERRUPTED):
            yield done.result
        else:
            row.reason = f"seed {seed}: {done.result.error}"


def _spreads(results: Sequence[Result]) -> dict[str, Spread]:
    spreads = {}
    for measure in MEASURES:
        figures = [figure for result in results if (figure := measure.of(result)) is not None]
        if figures:
            spreads[measure.name] = Spread(min(figures), median(figures), max(figures))
    return spreads

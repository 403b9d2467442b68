"""Reads over replicas: what each further copy of one primary brings, and how old is what it answers.

    python benchmarks/read_scaling.py [--seconds 6] [--rounds 3] [--cpus 0.01] [--clients 100] [--writes 5%]

One primary with 0 to 3 replicas, watched by Sentinels. Reads go to all servers in turn (route `replica` with
`primary: true`), writes to the primary. Each measurement is a whole run on real servers; rows take turns, a figure is
the median of the rounds, stale reads are the sum of all. Every server is held to the same share of a processor (root,
control groups), else they share this machine's and more of them are no faster: the line above the table says which it
was. A Sentinel has a share of its own.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
from capped import find, held, in_words  # noqa: E402
from hotkey import WARM_UP_S, latencies  # noqa: E402

from chaos.run import run_scenario  # noqa: E402
from chaos.scenario import load_scenario  # noqa: E402
from checkers import load  # noqa: E402

REPLICAS = (0, 1, 2, 3)


class Figures(NamedTuple):
    """What one run showed."""

    rate: float
    """Operations a second that succeeded."""
    p50: float
    p99: float
    """Milliseconds."""
    hottest: float
    """Share of the requests that the busiest server got."""
    stale: int
    stalest: float
    """Milliseconds."""
    reads: int


def measure(replicas: int, options: argparse.Namespace, server: str, seed: int, out: Path) -> Figures:
    """One run with so many replicas."""
    chosen: dict[str, Any] = {
        "nemesis": [],
        "claims": {},
        "cluster": {"topology": "replication", "replicas": replicas, "down_after": "10s"},
        "clients": {"count": options.clients, "processes": 2, "timeout": "2s", "route": "replica", "primary": True},
        "workload": {"register": {"keys": 1000, "writes": options.writes}},
        "duration": f"{WARM_UP_S + options.seconds:g}s",
    }
    run = run_scenario(load_scenario("replica-reads", chosen), seed=seed, server=server, out=out)
    findings = run.result.findings
    took_ms = latencies(load(run.run_dir / "history.jsonl"))
    return Figures(
        len(took_ms) / options.seconds,
        float(np.quantile(took_ms, 0.5)),
        float(np.quantile(took_ms, 0.99)),
        findings["balance"].metrics["hottest_share"],
        findings["staleness"].metrics["stale"],
        findings["staleness"].metrics["max_ms"],
        findings["staleness"].metrics["checked"],
    )


def row(replicas: int, found: list[Figures], alone: float) -> str:
    """A line of the table; `alone` is the rate without replicas."""
    middle = {field: median(getattr(one, field) for one in found) for field in Figures._fields}
    stale, reads = sum(one.stale for one in found), sum(one.reads for one in found)
    return (
        f"| {replicas} | {middle['rate']:,.0f} | {middle['rate'] / alone:.2f} | {middle['p50']:.2f} | "
        f"{middle['p99']:.1f} | {middle['hottest']:.0%} | {stale:,} ({stale / reads:.2%}) | "
        f"{max(one.stalest for one in found):,.1f} ms |"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=6.0, help="length of one run's load, after the warm-up")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpus", type=float, default=0.01, help="share of a processor that each server gets")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--writes", default="5%", help="share of the operations that write")
    parser.add_argument("--server", help="the server program; else the one that runs would take")
    options = parser.parse_args()
    server = find(options.server)
    figures: dict[int, list[Figures]] = {replicas: [] for replicas in REPLICAS}
    with tempfile.TemporaryDirectory() as out:
        for seed in range(1, options.rounds + 1):
            for replicas, found in figures.items():
                with held(server, options.cpus) as program:
                    found.append(measure(replicas, options, str(program), seed, Path(out)))
                print(f"round {seed}: {row(replicas, found[-1:], figures[0][-1].rate)}", file=sys.stderr)
    what = f"{options.clients} clients, {options.writes} writes"
    cap = in_words(options.cpus)
    print(f"{what}, {cap}; {options.rounds} runs of {options.seconds:g} s each\n")
    print("| replicas | operations/s | times | p50 ms | p99 ms | busiest server's share | stale reads | stalest |")
    print("|---|---|---|---|---|---|---|---|")
    alone = median(one.rate for one in figures[0])
    for replicas, found in figures.items():
        print(row(replicas, found, alone))
    return 0


if __name__ == "__main__":
    sys.exit(main())

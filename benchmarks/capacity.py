"""How much a cache holds: one node whose memory the working set outgrows, and the same items over several such nodes.

    python benchmarks/capacity.py [--seconds 5] [--rounds 3] [--cpus 0.03] [--memory 4mb] [--items 500 1000 2000]

Clients read items of 4 KB through the cache, all as often as any other, and load what is missing from the database,
5 ms each; 2 % of the operations write. A node evicts what was used least recently (`allkeys-lru`) when it is full.
Each measurement is a whole run on real servers; rows take turns, and a figure is the median of the rounds. A run counts
from the moment at which every item has been asked for some three times (`--warm-up` is the most that is waited for
that). Every node is held to the same memory and the same share of a processor (root, control groups), else the rates
say little and only the hit rates count: the line above the table says which it was.
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

from chaos.run import run_scenario  # noqa: E402
from chaos.scenario import load_scenario  # noqa: E402
from checkers import load  # noqa: E402
from checkers.events import OK  # noqa: E402
from checkers.fillings import HITS, fillings  # noqa: E402

CLIENTS = 30
SIZE = 4_000
ASKED = 3
"""How often each item has been asked for, on average, when counting begins."""
TOPOLOGIES: dict[str, dict[str, Any]] = {
    "one node": {"topology": "shards", "primaries": 1},
    "ring of 4": {"topology": "shards", "primaries": 4},
    "cluster of 3": {"topology": "cluster", "primaries": 3, "replicas": 0},
}


class Figures(NamedTuple):
    """What one run showed once it was warm."""

    hit_rate: float
    loads: float
    """Loads of the database a second."""
    rate: float
    """Operations a second that succeeded."""
    p50: float
    p99: float
    """Milliseconds."""
    evicted: int
    """Entries that all nodes together evicted, from the beginning."""


def measure(topology: str, items: int, options: argparse.Namespace, server: str, seed: int, out: Path) -> Figures:
    """One run of so many items on one topology."""
    config = {"maxmemory": options.memory, "maxmemory-policy": "allkeys-lru"}
    workload = {"keys": items, "skew": 0.0, "writes": "2%", "ttl": "10m", "load": "5ms", "size": SIZE}
    chosen = {
        "nemesis": [],
        "claims": {},
        "cluster": {**TOPOLOGIES[topology], "config": config},
        "clients": {"count": CLIENTS, "timeout": "2s"},
        "workload": {"cachefill": workload},
        "duration": f"{options.warm_up + options.seconds:g}s",
    }
    run = run_scenario(load_scenario("cachefill-stampede", chosen), seed=seed, server=server, out=out)
    operations = load(run.run_dir / "history.jsonl").operations
    found = fillings(operations)
    begins = np.sort(found.reads.start)
    warm = int(min(options.warm_up * 1e9, begins[min(ASKED * items, len(begins) - 1)]))
    lasted_s = options.warm_up + options.seconds - warm / 1e9
    reads = found.reads.start >= warm
    done = (operations.type == OK) & ~operations.final & (operations.start >= warm)
    took_ms = (operations.end[done] - operations.start[done]) / 1e6
    return Figures(
        float(found.reads.by(*HITS)[reads].mean()),
        int((found.loads.begin >= warm).sum()) / lasted_s,
        len(took_ms) / lasted_s,
        float(np.quantile(took_ms, 0.5)),
        float(np.quantile(took_ms, 0.99)),
        sum(run.result.findings["cachefill"].metrics["evicted"].values()),
    )


def row(items: int, topology: str, found: list[Figures]) -> str:
    """A line of the table."""
    middle = {field: median(getattr(one, field) for one in found) for field in Figures._fields}
    return (
        f"| {items:,} ({items * SIZE / 1e6:.0f} MB) | {topology} | {middle['hit_rate']:.0%} | {middle['loads']:,.0f} "
        f"| {middle['rate']:,.0f} | {middle['p50']:.1f} | {middle['p99']:.0f} | {middle['evicted']:,.0f} |"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one run's load, after the warm-up")
    parser.add_argument("--warm-up", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpus", type=float, default=0.03, help="share of a processor that each node gets")
    parser.add_argument("--memory", default="4mb", help="maxmemory of each node")
    parser.add_argument("--items", type=int, nargs="+", default=[500, 1_000, 2_000])
    parser.add_argument("--server", help="the server program; else the one that runs would take")
    options = parser.parse_args()
    server = find(options.server)
    plan = [(items, topology) for items in options.items for topology in TOPOLOGIES]
    figures: dict[tuple[int, str], list[Figures]] = {pair: [] for pair in plan}
    with tempfile.TemporaryDirectory() as out:
        for seed in range(1, options.rounds + 1):
            for items, topology in plan:
                with held(server, options.cpus) as program:
                    figures[items, topology].append(measure(topology, items, options, str(program), seed, Path(out)))
                print(f"round {seed}: {row(items, topology, figures[items, topology][-1:])}", file=sys.stderr)
    cap = in_words(options.cpus)
    print(f"{CLIENTS} clients, nodes of {options.memory}, {cap}; {options.rounds} runs of {options.seconds:g} s each\n")
    print("| items | topology | hit rate | loads/s | operations/s | p50 ms | p99 ms | evicted |")
    print("|---|---|---|---|---|---|---|---|")
    for (items, topology), found in figures.items():
        print(row(items, topology, found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

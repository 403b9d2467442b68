"""A hot key without and with each mitigation: where the requests go, what that brings, and what it costs.

    python benchmarks/hotkey.py [--seconds 6] [--rounds 3] [--cpus 0.03] [--tracking REDIS]

Each measurement is a whole run on real servers, three primaries with two replicas each, and the same operations: 30 %
on one viral key, the others by Zipf's law, 5 % of all are writes. Rows take turns; a figure is the median of the
rounds, stale reads are the sum of all. Every node is held to a share of a processor where that can be done (root,
control groups), else the rates say little and only the shares count: the table says which it was.

`--tracking` names a Redis of 7.4 or later for redis-py's own cache; beside it stands redis-py without one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
from capped import find, held, in_words  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from chaos.run import run_scenario  # noqa: E402
from chaos.scenario import load_scenario  # noqa: E402
from checkers import load  # noqa: E402
from checkers.events import OK  # noqa: E402
from checkers.history import History  # noqa: E402

CLIENTS = 30
WARM_UP_S = 2.0
"""Not counted in rates and latencies: a capped node needs a while to accept all connections."""
SCENARIO: dict[str, Any] = {
    "nemesis": [],
    "claims": {},
    "workload": {"hotkey": {"keys": 50, "viral": "30%", "writes": "5%"}},
    "cluster": {"primaries": 3, "replicas": 2, "config": {"cluster-node-timeout": "15s", "appendonly": "no"}},
}
ROUTES: dict[str, dict[str, Any]] = {
    "none": {"route": "bare"},
    "l1, 100 ms": {"route": "l1", "ttl": "100ms"},
    "l1, 1 s": {"route": "l1", "ttl": "1s"},
    "split, 3 copies": {"route": "split", "copies": 3},
    "replicas": {"route": "replica"},
    "replicas and primary": {"route": "replica", "primary": True},
}
TRACKING: dict[str, dict[str, Any]] = {
    "redis-py": {"route": "cluster"},
    "redis-py, tracking": {"route": "tracking"},
}


class Figures(NamedTuple):
    """What one run showed."""

    hottest: float
    """Share of the requests that the node with the most of them got."""
    rate: float
    """Operations a second that succeeded."""
    p50: float
    p99: float
    kept: float
    """Share of the operations that a client's own cache answered."""
    stale: int
    stalest: float
    """Milliseconds."""
    reads: int


def requests(history: History) -> Counter[str]:
    """Requests by node: an operation that asked several nodes was one to each."""
    operations = history.operations
    asked: Counter[str] = Counter()
    for row in range(len(operations)):
        detail = operations.details.get(row, {})
        if not operations.final[row] and detail.get("via") != "cache":
            asked.update(detail.get("hops") or filter(None, [operations.node_name(row)]))
    return asked


def latencies(history: History) -> NDArray[np.float64]:
    """Milliseconds that each operation took which succeeded and began after the warm-up."""
    operations = history.operations
    warm = (operations.type == OK) & ~operations.final & (operations.start >= WARM_UP_S * 1e9)
    return (operations.end[warm] - operations.start[warm]) / 1e6


def measure(clients: dict[str, Any], server: str, seconds: float, seed: int, out: Path) -> Figures:
    """One run of the hot keys by one route."""
    chosen = {
        **SCENARIO,
        "clients": {"count": CLIENTS, "timeout": "2s", **clients},
        "duration": f"{WARM_UP_S + seconds:g}s",
    }
    run = run_scenario(load_scenario("hotkey-l1", chosen), seed=seed, server=server, out=out)
    history = load(run.run_dir / "history.jsonl")
    staleness = run.result.findings["staleness"].metrics
    asked = requests(history)
    done = int((~history.operations.final).sum())
    kept = sum(detail.get("via") == "cache" for detail in history.operations.details.values())
    took_ms = latencies(history)
    return Figures(
        max(asked.values()) / sum(asked.values()),
        len(took_ms) / seconds,
        float(np.quantile(took_ms, 0.5)),
        float(np.quantile(took_ms, 0.99)),
        kept / done,
        staleness["stale"],
        staleness["max_ms"],
        staleness["checked"],
    )


def row(name: str, found: list[Figures]) -> str:
    """A line of the table."""
    middle = {field: median(getattr(one, field) for one in found) for field in Figures._fields}
    stale, reads = sum(one.stale for one in found), sum(one.reads for one in found)
    worst = max(one.stalest for one in found)
    return (
        f"| {name} | {middle['hottest']:.0%} | {middle['rate']:,.0f} | {middle['p50']:.2f} | {middle['p99']:.1f} "
        f"| {middle['kept']:.0%} | {stale:,} ({stale / reads:.2%}) | {worst:,.0f} ms |"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=6.0, help="length of one run's load, after the warm-up")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpus", type=float, default=0.03, help="share of a processor that each node gets")
    parser.add_argument("--server", help="the server program; else the one that runs would take")
    parser.add_argument("--tracking", help="a Redis of 7.4 or later, for redis-py's own cache")
    options = parser.parse_args()
    plan = [(name, clients, find(options.server)) for name, clients in ROUTES.items()]
    if options.tracking:
        plan += [(name, clients, find(options.tracking)) for name, clients in TRACKING.items()]
    figures: dict[str, list[Figures]] = {name: [] for name, _, _ in plan}
    with tempfile.TemporaryDirectory() as out:
        for seed in range(1, options.rounds + 1):
            for name, clients, server in plan:
                with held(server, options.cpus) as program:
                    figures[name].append(measure(clients, str(program), options.seconds, seed, Path(out)))
                print(f"round {seed}: {row(name, figures[name][-1:])}", file=sys.stderr)
    cap = in_words(options.cpus)
    print(f"{CLIENTS} clients, nine nodes, {cap}; {options.rounds} runs of {options.seconds:g} s each\n")
    print("| mitigation | hottest node's share | operations/s | p50 ms | p99 ms | own cache | stale reads | stalest |")
    print("|---|---|---|---|---|---|---|---|")
    for name, found in figures.items():
        print(row(name, found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

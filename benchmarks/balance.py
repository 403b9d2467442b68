"""What a resize from 4 to 5 nodes moves, and how evenly keys are shared, by the way they are placed.

    python benchmarks/balance.py                 # computed over 10^5 keys, and by how many points a node has
    python benchmarks/balance.py --measure       # and measured: real servers, real clients, 10^5 keys (minutes)

Computed are `modulo`, the ring with 1 to 400 points a node, and the slots of a cluster of which the fifth node takes
an even share of each of the four. Measured are both routes and a cluster on real servers: the share of the keys for
which another node answered afterwards, reads that found nothing although the key had been written, and the hit rate
over time.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from chaos.run import run_scenario
from chaos.scenario import load_scenario
from chaos.sharding import Locate, modulo, ring
from checkers.keyslot import SLOTS, key_slot

KEYS = 100_000
POINTS = (1, 10, 40, 100, 160, 400)
FOUR = ["n1", "n2", "n3", "n4"]
FIVE = [*FOUR, "n5"]
MEASURED = ("shards-resize-modulo", "shards-resize-ring", "cluster-resize")
"""Built-in scenarios with a resize from 4 to 5 nodes."""
THEORY = {"modulo": 0.8}
"""Share of keys that move; of the others a fifth does."""


class Shared(NamedTuple):
    """How one way shares the keys."""

    way: str
    moved: float
    four: float
    """The keys of the fullest of four nodes over the mean."""
    five: float


def slots_of(nodes: int) -> Locate:
    """Slots in equal ranges over four nodes; the fifth takes the last fifth of each range."""
    share = SLOTS // 4

    def locate(key: str) -> str:
        owner, place = divmod(key_slot(key), share)
        return "n5" if nodes == 5 and place >= share * 4 // 5 else f"n{owner + 1}"

    return locate


def ways() -> Iterator[tuple[str, Locate, Locate]]:
    """Name and placement of each way, over four nodes and over five."""
    yield "modulo", modulo(FOUR), modulo(FIVE)
    for points in POINTS:
        yield f"ring, {points} points", ring(FOUR, points), ring(FIVE, points)
    yield "cluster slots", slots_of(4), slots_of(5)


def fullest(place: Callable[[str], str], nodes: int, keys: list[str]) -> float:
    """The keys of the fullest node over the mean of all."""
    return max(Counter(map(place, keys)).values()) * nodes / len(keys)


def compute(count: int) -> list[Shared]:
    """Every way over that many keys."""
    keys = [f"k{number}" for number in range(count)]
    return [
        Shared(
            way,
            sum(before(key) != after(key) for key in keys) / count,
            fullest(before, 4, keys),
            fullest(after, 5, keys),
        )
        for way, before, after in ways()
    ]


def measure(name: str, keys: int, seconds: int) -> dict[str, Any]:
    """A resize in the middle of a run on real servers: what checker `balance` says of it."""
    overrides = {
        "duration": f"{seconds}s",
        "workload": {"register": {"keys": keys, "writes": "50%"}},
        "nemesis": [{"fault": "resize", "add": 1, "at": f"{seconds // 2}s", "for": "10m"}],
        "claims": {},
    }
    with tempfile.TemporaryDirectory(prefix="cachequake-balance-") as out:
        done = run_scenario(load_scenario(name, overrides), seed=7, out=Path(out))
    return done.result.findings["balance"].metrics


def show(metrics: dict[str, Any], name: str) -> None:
    """A run in three lines and its hit rate over time."""
    (resize,) = metrics["resizes"]
    print(
        f"\n{name}: {resize['moved_share']:.1%} of {resize['keys']:,} keys moved (theory {resize['theory']:.0%}), "
        f"told within {resize['told_within_ms']:.1f} ms\n  {metrics['checked']:,} requests, "
        f"hottest node {metrics['hottest_share']:.1%}, {resize['missed']:,} reads missed what was written before\n"
        f"  hit rate {resize['hit_rate_before']:.1%} in the second before, {resize['hit_rate_after']:.1%} right after"
    )
    for bucket in metrics["hit_rate_over_time"]:
        print(f"  {bucket['at_ms'] / 1000:7.2f} s {bucket['rate']:6.1%}  {'#' * round(bucket['rate'] * 50)}")


def main() -> None:
    """Print what is computed, and what is measured if that is asked for."""
    parser = argparse.ArgumentParser(description="Keys moved from 4 to 5 nodes, and how evenly they are shared.")
    parser.add_argument("--keys", type=int, default=KEYS)
    parser.add_argument("--measure", action="store_true", help="on real servers, too")
    parser.add_argument("--seconds", type=int, default=40, help="of each measured run")
    options = parser.parse_args()
    print(f"{options.keys:,} keys, 4 -> 5 nodes\n\n{'':<18}{'moved':>8}{'theory':>8}{'max/mean of 4':>15}{'of 5':>7}")
    for way, moved, four, five in compute(options.keys):
        print(f"{way:<18}{moved:>8.1%}{THEORY.get(way, 0.2):>8.0%}{four:>15.2f}{five:>7.2f}")
    for name in MEASURED if options.measure else ():
        show(measure(name, options.keys, options.seconds), name)


if __name__ == "__main__":
    main()

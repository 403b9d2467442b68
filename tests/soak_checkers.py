"""Generate valid histories of every workload, check them, and count the accusations: there must be none.

    python tests/soak_checkers.py --histories 100000

Prints a line for each workload and the sum; exits 1 and shows the findings if anything was found. The same seed makes
the same histories. Several small histories, each with keys and clients of its own, are checked in one record; whole
simulated runs take half a second each, and one history in a thousand is one.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from valid_runs import NAMES, RUNS, batch  # noqa: E402 - found by the line above

LARGEST = 100
"""Histories that one record has at most; how many is drawn."""
ROUND = " {:<28} {:>9} histories {:>11} operations {:>6} accusations {:>7.1f} s"


def soak(kind: str, histories: int, seed: int) -> tuple[int, int, int]:
    """Histories made, their operations, and the findings that are not valid, each of which is shown."""
    rng = random.Random(seed)
    made = operations = wrong = 0
    while made < histories:
        size = min(histories - made, rng.choice((1, 2, LARGEST)))
        number = rng.randrange(2**40)
        one = batch(kind, number, size)
        made += one.histories
        operations += len(one.history.operations)
        for name, found in one.accusations():
            wrong += 1
            print(f"{kind}, seed {number}, {size} in one record: {name} says {found}", file=sys.stderr)
    return made, operations, wrong


def main() -> int:
    """Run it all; 1 if anybody was accused."""
    parser = argparse.ArgumentParser(description="Valid histories must be found valid.")
    parser.add_argument("--histories", type=int, default=100_000, help="how many in all (default 100000)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    runs = max(1, options.histories // 1000 // len(RUNS))
    small = -(-(options.histories - runs * len(RUNS)) // (len(NAMES) - len(RUNS)))
    total = [0, 0, 0]
    begun = time.monotonic()
    for kind in NAMES:
        start = time.monotonic()
        counts = soak(kind, runs if kind in RUNS else small, options.seed)
        total = [before + more for before, more in zip(total, counts, strict=True)]
        print(ROUND.format(kind, *counts, time.monotonic() - start), flush=True)
    print(ROUND.format("all", *total, time.monotonic() - begun))
    return 1 if total[2] else 0


if __name__ == "__main__":
    sys.exit(main())

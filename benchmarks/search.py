"""How long the general search takes on histories as such tools record them: one command, one table.

    python benchmarks/search.py [--histories 100] [--budget 60]

The histories are made up, linearizable by construction; in the rows marked *wrong* one answered read in each was
changed, so that most have to be refuted. Times are CPU seconds per history, which is what a user waits on a core of
its own; `most` is the slowest of them.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests" / "support")]

from object_histories import record  # noqa: E402

from checkers.events import Event  # noqa: E402
from checkers.finding import Finding  # noqa: E402
from checkers.history import History, from_events  # noqa: E402
from checkers.linearizability_general import check_model  # noqa: E402


class Row(NamedTuple):
    """Histories of one kind, and the goal for each in milliseconds."""

    name: str
    model: str
    share: float
    """Of the histories asked for on the command line, how many to make."""
    options: dict[str, Any]
    goal_ms: float | None = None
    wrong: bool = False


REGISTER = {"count": 80, "clients": 5, "lost": 0.35, "most_lost": 19}
STRINGS = {"count": 2000, "keys": 10}
ROWS = [
    Row("80 operations, 19 of them indeterminate", "cas-register", 1, REGISTER, 10),
    Row("the same, wrong", "cas-register", 1, REGISTER, 10, wrong=True),
    Row("50 clients, 2,000 operations, 10 keys", "kv", 0.1, STRINGS | {"clients": 50}, 1000),
    Row("the same, wrong", "kv", 0.1, STRINGS | {"clients": 50}, 1000, wrong=True),
    Row("the same, 2 % indeterminate", "kv", 0.1, STRINGS | {"clients": 50, "lost": 0.04}),
    Row("100 clients", "kv", 0.1, STRINGS | {"clients": 100}),
    Row("10 clients, 1,000 operations, 3 keys", "set", 0.1, {"count": 1000, "clients": 10, "keys": 3}),
    Row("8 clients, 300 operations, 3 keys", "queue", 0.1, {"count": 300, "clients": 8, "keys": 3}),
]


def main() -> None:
    """Measure every row and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=100, help="histories in the largest rows")
    parser.add_argument("--budget", type=float, default=60, help="seconds for one history")
    arguments = parser.parse_args()
    columns = [
        "model",
        "histories",
        "mean ms",
        "most ms",
        "goal ms",
        "over",
        "configurations",
        "valid / invalid / unknown",
    ]
    table = Table("histories of", *columns, title="General search")
    for row in ROWS:
        table.add_row(*measured(row, max(1, round(arguments.histories * row.share)), arguments.budget))
    Console(width=max(140, Console().width)).print(table)


def measured(row: Row, count: int, budget_s: float) -> list[str]:
    times, findings = [], []
    for seed in range(count):
        history = made(row, seed)
        started = time.process_time()
        findings.append(check_model(history, row.model, budget_s=budget_s))
        times.append(1000 * (time.process_time() - started))
    goal = [f"{row.goal_ms:g}", str(sum(ms > row.goal_ms for ms in times))] if row.goal_ms else ["", ""]
    looked_at = statistics.mean(finding.metrics["configurations"] for finding in findings)
    spread = " / ".join(str(number) for number in verdicts(findings))
    figures = [f"{statistics.mean(times):.1f}", f"{max(times):.1f}", *goal, f"{looked_at:,.0f}", spread]
    return [row.name, row.model, str(count), *figures]


def verdicts(findings: list[Finding]) -> list[int]:
    found = [finding.verdict for finding in findings]
    return [sum(verdict == name for verdict in found) for name in ("valid", "invalid", "unknown")]


def made(row: Row, seed: int) -> History:
    events = record(row.model, seed=seed, **row.options)
    if row.wrong:
        spoil(events, random.Random(seed))
    return from_events(events)


def spoil(events: list[Event], rng: random.Random) -> None:
    """Let one read of the second half return what another one on its key did."""
    reads = [event for event in events if event.type == "ok" and event.f in ("read", "get")]
    chosen = rng.choice(reads[len(reads) // 2 :])
    others = [event.value for event in reads if event.key == chosen.key and event.value != chosen.value]
    chosen.value = rng.choice(others) if others else chosen.value


if __name__ == "__main__":
    main()

"""How fast transactions are checked: seconds and memory by size, reading apart from checking.

    python benchmarks/transactions.py [LARGEST]     # 10^4, 10^5 ... transactions, 10^6 unless told otherwise

Every size runs in a process of its own, so that its peak memory is its own. Histories are strict serializable by
construction (each transaction happens at a hidden moment between its start and its end), and then once more with two
contradictions put in.
"""

from __future__ import annotations

import math
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

CLIENTS = 10
ACTIVE = 10
"""Keys in use at a time."""
LONGEST = 32
"""Elements of a list, after which the clients go on to another key."""
INDETERMINATE = 0.01


def transactions(rng: random.Random) -> Iterator[list[list[Any]]]:
    """Values of transactions in the order in which they happen: 1 to 4 appends and reads of lists in use."""
    lists: dict[str, list[int]] = {f"l{number}": [] for number in range(ACTIVE)}
    names = list(lists)
    fresh, element = count(ACTIVE), count(1)
    while True:
        value: list[list[Any]] = []
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(ACTIVE)
            name = names[place]
            if rng.random() < 0.5:
                value.append(["r", name, list(lists[name])])
                continue
            number = next(element)
            lists[name].append(number)
            value.append(["append", name, number])
            if len(lists[name]) == LONGEST:
                del lists[name]
                names[place] = f"l{next(fresh)}"
                lists[names[place]] = []
        yield value


def contradictions(time_ns: int) -> Iterator[dict[str, Any]]:
    """Events of a G1c and of a G-single between transactions on keys of their own, all at the same time."""
    values = [
        [["append", "a", 1], ["r", "b", [2]]],
        [["append", "b", 2], ["r", "a", [1]]],
        [["r", "c", []], ["r", "d", [4]]],
        [["append", "c", 3], ["append", "d", 4]],
        [["r", "c", [3]]],
    ]
    for number, value in enumerate(values):
        yield {"time": time_ns, "process": 1000 + number, "type": "invoke", "f": "txn", "value": unread(value)}
    for number, value in enumerate(values):
        yield {"time": time_ns, "process": 1000 + number, "type": "ok", "f": "txn", "value": value}


def unread(value: list[list[Any]]) -> list[list[Any]]:
    return [[kind, key, None if kind == "r" else argument] for kind, key, argument in value]


def write(path: Path, number: int, *, broken: bool) -> None:
    """Write a history of `number` transactions as a run would have recorded it."""
    rng, numbers = random.Random(7), np.random.default_rng(7)
    each = number // CLIENTS
    gaps, lasts = numbers.integers(1_000, 50_000, (CLIENTS, each)), numbers.integers(50_000, 400_000, (CLIENTS, each))
    end = np.cumsum(gaps + lasts, axis=1)
    start = end - lasts
    moment = (start + lasts * numbers.random((CLIENTS, each))).ravel()
    info = numbers.random((CLIENTS, each)) < INDETERMINATE
    process = (np.arange(CLIENTS)[:, None] + CLIENTS * (np.cumsum(info, axis=1) - info)).ravel().tolist()
    value: list[Any] = [None] * (CLIENTS * each)
    for place, happened in zip(np.argsort(moment).tolist(), transactions(rng), strict=False):
        value[place] = happened
    unknown = info.ravel().tolist()
    times = np.concatenate((start.ravel(), end.ravel()))
    encode = msgspec.json.Encoder().encode
    with path.open("wb") as file:
        file.write(b'{"format":"cachequake-history","version":1,"run":"synthetic"}\n')
        for event, time_ns in zip(np.argsort(times, kind="stable").tolist(), np.sort(times).tolist(), strict=True):
            place = event % len(value)
            kind = "invoke" if event < len(value) else "info" if unknown[place] else "ok"
            shown = value[place] if kind == "ok" else unread(value[place])
            line = {"time": time_ns, "process": process[place], "type": kind, "f": "txn", "value": shown}
            file.write(encode(line) + b"\n")
        for line in contradictions(int(times.max()) + 1) if broken else ():
            file.write(encode(line) + b"\n")


def measure(path: Path) -> None:
    """Read and check one file; print seconds, megabytes and what was found, as JSON."""
    from checkers.history import load
    from checkers.transactions import check_transactions

    begun = time.perf_counter()
    history = load(path)
    read = time.perf_counter()
    read_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    finding = check_transactions(history)
    checked = time.perf_counter()
    report = {
        "transactions": finding.metrics["checked"],
        "micro": finding.metrics["micro_operations"],
        "edges": sum(finding.metrics["edges"].values()),
        "read_s": read - begun,
        "check_s": checked - read,
        "read_mb": read_peak / 1024,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "verdict": finding.verdict,
        "counts": finding.counts,
        "ruled_out": finding.metrics["ruled_out"],
        "explanations": [anomaly.explanation for anomaly in finding.anomalies],
    }
    sys.stdout.buffer.write(msgspec.json.encode(report))


def run(number: int, *, broken: bool) -> dict[str, Any]:
    """What one size takes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history.jsonl"
        write(path, number, broken=broken)
        command = [sys.executable, __file__, "--measure", str(path)]
        done = subprocess.run(
            command, check=True, capture_output=True, env={"PYTHONPATH": str(Path(__file__).parents[1])}
        )
    return dict(msgspec.json.decode(done.stdout))


def main(largest: int) -> None:
    """Print the table, the growth exponent, and what was found where something was put in."""
    print("transactions  micro-ops     edges   read s  check s  txn/s checked  read MB  peak MB  verdict")
    rows = []
    for power in range(4, round(math.log10(largest)) + 1):
        row = run(10**power, broken=False)
        rows.append(row)
        print(
            f"{row['transactions']:12,} {row['micro']:10,} {row['edges']:9,} {row['read_s']:8.2f} {row['check_s']:8.2f}"
            f" {row['transactions'] / row['check_s']:14,.0f} {row['read_mb']:8.0f} {row['peak_mb']:8.0f}"
            f"  {row['verdict']}"
        )
    if len(rows) > 1:
        logs = np.log([[row["transactions"], row["check_s"]] for row in rows])
        print(f"check time grows as n^{np.polyfit(logs[:, 0], logs[:, 1], 1)[0]:.2f}")
    row = run(min(largest, 10**5), broken=True)
    print(f"\nwith two contradictions put in: {row['check_s']:.2f} s, {row['verdict']}, {row['counts']}")
    print(f"models ruled out: {', '.join(row['ruled_out'])}")
    for explanation in row["explanations"]:
        print(f"- {explanation}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(Path(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 10**6)

"""Operations a second that are recorded, with every event written to the history: bare clients beside redis-py's.

    python benchmarks/load.py [--seconds 4] [--rounds 3]

Starts a cluster of six real servers on this machine. Every measurement is made the way a run makes it: driver
processes that write histories. They take turns, and the median of the rounds counts, because a shared machine is
noisy. redis-benchmark or valkey-benchmark, when one is on PATH, shows what the servers could do; it records nothing.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from plain_cluster import PlainCluster  # noqa: E402

from nemeses.stream import derive  # noqa: E402

CLIENTS = 10
WORKLOADS: dict[str, dict[str, Any]] = {"register": {}}
CANDIDATES = {
    "bare, 1 process": ("bare", 1),
    "bare, 2 processes": ("bare", 2),
    "redis-py RedisCluster": ("cluster", 1),
}
GOAL = 4.0
"""How many times as much as redis-py the bare clients in one process should record."""


def measure(cluster: PlainCluster, directory: Path, route: str, processes: int, seconds: float) -> float:
    """Operations a second of `CLIENTS` clients in so many driver processes."""
    drivers = []
    for number in range(processes):
        streams = {client: derive(7, "client", client) for client in range(number, CLIENTS, processes)}
        job = cluster.job(
            directory / f"part-{number}.jsonl",
            CLIENTS,
            WORKLOADS,
            streams=streams,
            route=route,
            duration_ms=round(seconds * 1000),
        )
        job.save(directory / f"job-{number}.json")
        command = [sys.executable, "-m", "chaos.drive", str(directory / f"job-{number}.json")]
        drivers.append(subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    for driver in drivers:
        assert driver.stdout is not None
        driver.stdout.readline()
    start = time.monotonic_ns() + 50_000_000
    for driver in drivers:
        assert driver.stdin is not None
        driver.stdin.write(b"go %d\n" % start)
        driver.stdin.flush()
    done = 0
    for driver in drivers:
        assert driver.stdin is not None
        assert driver.stdout is not None
        done += msgspec.json.decode(driver.stdout.read().splitlines()[-1])["ok"]
        driver.stdin.close()
        driver.stdout.close()
        if driver.wait() != 0:
            raise SystemExit("a driver failed")
    recorded = sum(part.read_bytes().count(b'"type":"ok"') for part in directory.glob("part-*.jsonl"))
    if recorded != done:
        raise SystemExit(f"{done} operations were done and {recorded} are in the history")
    for file in directory.iterdir():
        file.unlink()
    return done / seconds


def server_benchmark(cluster: PlainCluster) -> float | None:
    """What the program that comes with the server reaches with as many connections; None when it is not here."""
    program = shutil.which("valkey-benchmark") or shutil.which("redis-benchmark")
    if program is None:
        return None
    node = cluster.nodes["n1"]
    command = [program, "--cluster", "-h", node.host, "-p", str(node.port), "-c", str(CLIENTS), "-n", "100000"]
    output = subprocess.run([*command, "-t", "set,get", "-q"], capture_output=True, text=True, check=True).stdout
    return median(float(rate) for rate in re.findall(r"([\d.]+) requests per second", output))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each; the median counts")
    options = parser.parse_args()
    rates: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    with (
        tempfile.TemporaryDirectory() as home,
        tempfile.TemporaryDirectory() as parts,
        PlainCluster(Path(home)) as cluster,
    ):
        for _ in range(options.rounds):
            for name, (route, processes) in CANDIDATES.items():
                rates[name].append(measure(cluster, Path(parts), route, processes, options.seconds))
        best = server_benchmark(cluster)
    print(f"{CLIENTS} clients, six servers on this machine, operations a second recorded (median of {options.rounds}):")
    for name, found in rates.items():
        print(f"  {name:<24}{median(found):>9,.0f}   ({', '.join(f'{rate:,.0f}' for rate in found)})")
    shown = "not on PATH" if best is None else f"{best:>9,.0f}   (records nothing)"
    print(f"  {'server benchmark':<24}{shown:>9}")
    ratio = median(rates["bare, 1 process"]) / median(rates["redis-py RedisCluster"])
    print(f"bare in one process records {ratio:.1f} times what redis-py does (goal: {GOAL:.0f})")
    return 0 if ratio >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())

"""Virtual time beside real time: what it finds, how fast it is, and whether failovers take as long.

    python benchmarks/virtual.py parity [SCENARIO...] [--seed 1] [--server PATH]
    python benchmarks/virtual.py times [SCENARIO...] [--seeds 10] [--server PATH]

`parity` runs each scenario once on `local` and once on `virtual` (all built-in ones that run there, unless named) and
prints the kinds of anomaly found, and the time that the virtual run played beside the real time that it took.
`times` says how long the servers took to form a cluster (from the first line of a log to the last "Cluster state
changed: ok" before the load) and to fail over (from when the first fault held to the first election won), as the
median over seeds with the least and the most.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from chaos.errors import BadInput  # noqa: E402
from chaos.report.logs import Line, read_logs  # noqa: E402
from chaos.run import Run, run_scenario  # noqa: E402
from chaos.scenario import builtin_names, incident_names, load_scenario  # noqa: E402
from chaos.store import HISTORY, read_executed  # noqa: E402
from checkers import load  # noqa: E402

DEPLOYMENTS = ("local", "virtual")
FORMED, ELECTED = "Cluster state changed: ok", "Failover election won"


def run(name: str, deploy: str, seed: int, arguments: argparse.Namespace) -> Run:
    scenario = load_scenario(name, {"deploy": deploy})
    return run_scenario(scenario, seed=seed, server=arguments.server, out=arguments.out)


def parity(arguments: argparse.Namespace) -> None:
    print(
        "| scenario | found on both | only on `local` | only on `virtual` | played, s | took, s | of CPU, s | faster |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name in arguments.scenarios or [*builtin_names(), *incident_names()]:
        began, used = time.perf_counter(), sum(os.times()[:4])
        try:
            virtual = run(name, "virtual", arguments.seed, arguments)
        except BadInput as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        took, used = time.perf_counter() - began, sum(os.times()[:4]) - used
        real = run(name, "local", arguments.seed, arguments)
        played = played_ns(virtual)
        here, there = kinds(real), kinds(virtual)
        found = [", ".join(sorted(some)) or "–" for some in (here & there, here - there, there - here)]
        spent = f"{played / 1e9:.1f} | {took:.1f} | {used:.1f} | {played / 1e9 / took:.1f}"
        print(f"| `{name}` | {' | '.join(found)} | {spent} |", flush=True)


def played_ns(each: Run) -> int:
    """From the first line of a server's log to the last thing that the history tells."""
    history = load(each.run_dir / HISTORY)
    began = min(line.time for line in read_logs(each.run_dir / "logs", history))
    return max(event.time or 0 for event in history.context) - began


def kinds(each: Run) -> set[str]:
    if each.result.error:
        print(f"{each.run_dir}: {each.result.error}", file=sys.stderr)
    return set(each.result.counts)


def times(arguments: argparse.Namespace) -> None:
    print("| scenario | deployment | to form, s | to fail over, s |\n|---|---|---|---|")
    for name in arguments.scenarios or ["primary-kill", "primary-partition"]:
        for deploy in DEPLOYMENTS:
            formed: list[float] = []
            failed_over: list[float] = []
            for seed in range(1, arguments.seeds + 1):
                each = run(name, deploy, seed, arguments)
                lines = read_logs(each.run_dir / "logs", load(each.run_dir / HISTORY))
                formed += formation(lines)
                failed_over += failover(lines, read_executed(each.run_dir).faults[0].injected_ns)
            print(f"| `{name}` | `{deploy}` | {spread(formed)} | {spread(failed_over)} |", flush=True)


def formation(lines: list[Line]) -> Iterator[float]:
    formed = [line.time for line in lines if FORMED in line.text and line.time <= 0]
    if formed:
        yield (max(formed) - min(line.time for line in lines)) / 1e9


def failover(lines: list[Line], held_ns: int | None) -> Iterator[float]:
    if held_ns is not None and (won := [at for at, _, text in lines if ELECTED in text and at > held_ns]):
        yield (min(won) - held_ns) / 1e9


def spread(seconds: list[float]) -> str:
    if not seconds:
        return "never"
    return f"{median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f}; {len(seconds)} runs)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("parity", "times"))
    parser.add_argument("scenarios", nargs="*")
    parser.add_argument("--server")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=10)
    with tempfile.TemporaryDirectory(prefix="cachequake-bench-") as directory:
        parser.add_argument("--out", type=Path, default=Path(directory))
        arguments = parser.parse_args()
        {"parity": parity, "times": times}[arguments.what](arguments)


if __name__ == "__main__":
    main()

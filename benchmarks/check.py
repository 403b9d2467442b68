"""How long reading and checking take, how much memory, and how both grow: one command, one table.

    python benchmarks/check.py [--sizes 10000,100000,1000000] [--checkers linearizability,staleness,...]

Every figure comes from a process of its own, because the most memory that a process ever had is all the system
tells. The history is of registers (see `synthetic.py`), so checkers of other objects only show what it costs to find
that there is nothing for them. `wall` is what a user waits; `cpu` is what it would be on a core of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import synthetic  # noqa: E402

from checkers import CHECKERS, load  # noqa: E402

READING = "reading"
Figures = dict[str, Any]


def main() -> None:
    """Measure every checker at every size and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10000,100000,1000000", help="numbers of operations")
    parser.add_argument("--checkers", default=",".join(CHECKERS), help="names of checkers")
    parser.add_argument("--one", nargs=2, metavar=("CHECKER", "FILE"), help="measure here and print JSON")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one)))
        return
    sizes = [int(size) for size in arguments.sizes.split(",")]
    names = [name for name in arguments.checkers.split(",") if name]
    figures: dict[tuple[str, int], Figures] = {}
    with tempfile.TemporaryDirectory(prefix="cachequake-bench-") as folder:
        for size in sizes:
            path = Path(folder) / f"{size}.jsonl"
            synthetic.save(synthetic.history(size), path)
            for name in [READING, *names]:
                figures[name, size] = in_a_process_of_its_own(name, path)
            path.unlink()
    Console(width=max(100, Console().width)).print(table(figures, [READING, *names], sizes))


def in_a_process_of_its_own(name: str, path: Path) -> Figures:
    """Seconds, memory and verdict of one checker (or of reading alone) on one file."""
    command = [sys.executable, __file__, "--one", name, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: Figures = json.loads(done.stdout)
    return figures


def measure(name: str, path: str) -> Figures:
    """Read the file and, unless only reading is asked for, check it; the clock runs for the part that is meant."""
    history, figures = clocked(lambda: load(path))
    if name != READING:
        finding, figures = clocked(lambda: CHECKERS[name](history))
        figures["verdict"] = finding.verdict
    figures["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    return figures


def clocked(work: Callable[[], Any]) -> tuple[Any, Figures]:
    """What the work returned, and how long it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def table(figures: dict[tuple[str, int], Figures], names: list[str], sizes: list[int]) -> Table:
    """One line a checker and size; the exponent is the slope of log(cpu) over log(operations), all sizes together."""
    drawn = Table("", "operations", "wall s", "cpu s", "operations/s", "peak MB", "exponent", "verdict")
    for column in drawn.columns[1:7]:
        column.justify = "right"
    for name in names:
        cpu = [max(figures[name, size]["cpu"], 1e-6) for size in sizes]
        slope = float(np.polyfit(np.log(sizes), np.log(cpu), 1)[0]) if len(sizes) > 1 else float("nan")
        for size in sizes:
            found = figures[name, size]
            last = size == sizes[-1]
            drawn.add_row(
                name if size == sizes[0] else "",
                f"{size:,}",
                f"{found['wall']:.3f}",
                f"{found['cpu']:.3f}",
                f"{size / found['wall']:,.0f}",
                f"{found['peak_mb']:.0f}",
                f"{slope:.2f}" if last else "",
                found.get("verdict", ""),
                end_section=last,
            )
    return drawn


if __name__ == "__main__":
    main()

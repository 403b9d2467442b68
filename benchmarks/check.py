"""How long reading and checking take, how much memory, and how both grow: one command, one table.

    python benchmarks/check.py [--sizes 10000,100000,1000000] [--checkers linearizability,staleness,...]
    python benchmarks/check.py --large --checkers linearizability     # 10^7 as well: 2 GB of disk for a while

Every figure comes from a process of its own, because the most memory that a process ever had is all the system
tells. The history is of registers, for `multikey` of groups (see `synthetic.py`); checkers of other objects only show
what it costs to find that there is nothing for them. `wall` is what a user waits; `cpu` is what it would be on a core
of its own. Transactions have a benchmark of their own (`transactions.py`), and so has the general search (`search.py`).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import synthetic  # noqa: E402

from checkers import CHECKERS, History, load  # noqa: E402

READING = "reading"
LARGE = 10_000_000
MADE_FOR = {"multikey": synthetic.groups}
"""What makes the history of a checker; of registers when nothing is said."""
Figures = dict[str, Any]
Maker = Callable[[int], History]


def main() -> None:
    """Measure every checker at every size and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10000,100000,1000000", help="numbers of operations")
    parser.add_argument("--large", action="store_true", help=f"measure {LARGE:,} operations as well")
    parser.add_argument("--checkers", default=",".join(CHECKERS), help="names of checkers")
    parser.add_argument("--one", nargs=2, metavar=("CHECKER", "FILE"), help="measure here and print JSON")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one)))
        return
    sizes = [int(size) for size in arguments.sizes.split(",")] + [LARGE] * arguments.large
    names = [name for name in arguments.checkers.split(",") if name]
    figures: dict[tuple[str, int], Figures] = {}
    with tempfile.TemporaryDirectory(prefix="cachequake-bench-") as folder:
        for size in sizes:
            for make in (synthetic.history, synthetic.groups):
                chosen = [name for name in [READING, *names] if MADE_FOR.get(name, synthetic.history) is make]
                figures |= {(name, size): found for name, found in measured(make, size, chosen, Path(folder))}
    Console(width=max(100, Console().width)).print(table(figures, [READING, *names], sizes))


def measured(make: Maker, size: int, names: list[str], folder: Path) -> Iterator[tuple[str, Figures]]:
    """The figures of checkers (or reading) on one history, whose file is removed afterwards."""
    if not names:
        return
    path = folder / "history.jsonl"
    synthetic.save(make(size), path)
    for name in names:
        yield name, in_a_process_of_its_own(name, path)
    path.unlink()


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

"""In how many of ten seeds each published failure shows, on each server: the table of docs/incidents.md.

    python benchmarks/incidents.py [--seeds 10] [--only NAME] [--server PATH ...] [--deploy KIND]

Runs go one after the other, in virtual time where the scenario can be carried out there, else on this machine; a row
is printed when it is done, with Wilson's interval (95 % confidence). A run in which a fault could not be injected
shows nothing and counts as such; the row says how many there were.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from chaos.errors import BadInput, CachequakeError  # noqa: E402
from chaos.replays import wilson  # noqa: E402
from chaos.result import Result  # noqa: E402
from chaos.run import run_scenario  # noqa: E402
from chaos.scenario import incident_names, load_scenario  # noqa: E402

COLUMNS = ("incident", "server", "runs on", "expected", "shown", "95% interval", "found, in how many seeds")


def row(name: str, seeds: int, server: str | None, deployments: Sequence[str], out: Path) -> str:
    for deploy in deployments:
        try:
            return _measured(name, seeds, server, deploy, out)
        except BadInput as error:  # this deployment cannot: no other seed can
            reason = str(error)
    return f"| `{name}` | | | | | | not run: {reason} |"


def _measured(name: str, seeds: int, server: str | None, deploy: str, out: Path) -> str:
    scenario = load_scenario(name, {"deploy": deploy})
    incident = scenario.incident
    assert incident is not None
    results: list[Result] = []
    failed = 0
    for seed in range(1, 1 + seeds):
        try:
            result = run_scenario(scenario, seed=seed, server=server, out=out).result
        except BadInput:
            raise
        except CachequakeError as error:
            print(f"{name}, seed {seed}: {error}", file=sys.stderr)
            failed += 1
            continue
        print(f"{name}, seed {seed}: {result.error or incident.shown(result)} {result.counts}", file=sys.stderr)
        failed += result.error is not None
        results.append(result)
    shown = sum(incident.shown(result) for result in results)
    low, high = wilson(shown, seeds)
    found = Counter(kind for result in results for kind in result.counts)
    kinds = ", ".join(f"{kind} {times}" for kind, times in found.most_common()) or "nothing"
    trouble = f"; {failed} not as planned" if failed else ""
    tested = results[0].server if results else None
    expected = ", ".join(incident.expect)
    return (
        f"| `{scenario.name}` | {f'{tested.name} {tested.version}' if tested else '?'} | {deploy} | {expected} | "
        f"{shown}/{seeds} | {low:.0%} to {high:.0%} | {kinds}{trouble} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", action="append", metavar="NAME", help="as `cachequake list` says; several times")
    parser.add_argument("--server", action="append", metavar="PATH", help="several times; the one that is found")
    parser.add_argument("--deploy", metavar="KIND", help="nowhere else")
    parser.add_argument("--out", type=Path, help="keep the run directories there")
    arguments = parser.parse_args()
    deployments = [arguments.deploy] if arguments.deploy else ["virtual", "local"]
    print(f"| {' | '.join(COLUMNS)} |\n{len(COLUMNS) * '|---'}|", flush=True)
    with tempfile.TemporaryDirectory(prefix="cachequake-incidents-") as scratch:
        for name in arguments.only or incident_names():
            for server in arguments.server or [None]:
                row_ = row(name, arguments.seeds, server, deployments, arguments.out or Path(scratch))
                print(row_, flush=True)


if __name__ == "__main__":
    main()

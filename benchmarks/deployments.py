"""How long six nodes take to be ready and to be gone, and a fault to be injected and to end in a failover.

    python benchmarks/deployments.py [--rounds 5] [--only local]

Node timeout 1,000 ms, three primaries with a replica each, no clients. Prints a Markdown table: the median of the
rounds, and the worst in brackets. `ready`: from nothing to a cluster that serves everywhere with every replica
linked, images being there already. `failover`: from the fault to the replica that calls itself primary; the server
takes its node timeout and an election delay drawn from 500 to 1,000 ms for it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from chaos.deploy import namespace, servers  # noqa: E402
from chaos.deploy.local import LocalDeployment  # noqa: E402
from chaos.store import locked  # noqa: E402
from chaos.topologies import ClusterSpec  # noqa: E402
from chaos.topologies.cluster import ClusterTopology  # noqa: E402
from nemeses.view import View  # noqa: E402

NODES = 6
MEMBERS = ClusterTopology(ClusterSpec(primaries=NODES // 2)).members
COLUMNS = (
    "ready",
    "removed",
    "kill",
    "failover after kill",
    "pause",
    "failover after pause",
    "cut",
    "failover after cut",
)


def local(run: Path) -> Any:
    return LocalDeployment(servers.find(), MEMBERS, run / "work", began_ns=time.monotonic_ns(), clients=1)


def docker(run: Path, enter: bool | None = None) -> Any:
    from chaos.deploy.docker.deployment import DockerDeployment
    from chaos.deploy.docker.engine import Engine
    from chaos.deploy.docker.images import server_image

    engine = Engine()
    image = partial(server_image, engine, None, None)
    began_ns = time.monotonic_ns()
    return DockerDeployment(engine, image, MEMBERS, run, run / "work", began_ns=began_ns, clients=1, enter=enter)


DEPLOYMENTS: Mapping[str, Callable[[Path], Any]] = {
    "local": local,
    "docker": docker,
    "docker, as without root": partial(docker, enter=False),
}


def measure(make: Callable[[Path], Any]) -> dict[str, float]:
    """One round, in seconds."""
    with tempfile.TemporaryDirectory(prefix="cachequake-bench-") as directory, locked(Path(directory)):
        began = time.perf_counter()
        deployment = make(Path(directory))
        try:
            deployment.start_all()
            topology = ClusterTopology(ClusterSpec(primaries=NODES // 2))
            topology.form(deployment)
            took = {"ready": time.perf_counter() - began}
            others = [name for name in deployment.nodes if name != "n3"]
            faults: dict[str, Callable[[], object]] = {
                "kill": lambda: deployment.kill("n1"),
                "pause": lambda: deployment.pause("n2"),
                "cut": lambda: (deployment.cut(["n3"], others), deployment.cut(others, ["n3"])),
            }
            undo: dict[str, Callable[[], object]] = {
                "kill": lambda: deployment.start("n1"),
                "pause": lambda: deployment.resume("n2"),
                "cut": deployment.heal_all,
            }
            for (name, inject), replica in zip(faults.items(), ("n4", "n5", "n6"), strict=True):
                took |= struck(deployment, name, inject, replica)
                undo[name]()
                topology.converge(deployment, 20_000)
        finally:
            ends = time.perf_counter()
            deployment.stop_all()
        return {**took, "removed": time.perf_counter() - ends}


def struck(deployment: Any, name: str, inject: Callable[[], object], replica: str) -> dict[str, float]:
    began = time.perf_counter()
    inject()
    injected = time.perf_counter()
    deployment.wait("failover", lambda: replica in View.fetch(deployment, replica).primaries(), 20_000)
    return {name: injected - began, f"failover after {name}": time.perf_counter() - began}


def rounds(name: str, count: int) -> list[dict[str, float]]:
    """So many rounds, in a process of their own where the deployment needs namespaces."""
    prefix = namespace.prefix() if name == "local" else []
    command = [*prefix, sys.executable, __file__, "--inside", name, "--rounds", str(count)]
    done = subprocess.run(
        command, env=os.environ | namespace.environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", choices=DEPLOYMENTS)
    parser.add_argument("--inside", choices=DEPLOYMENTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        namespace.prepare()
        for _ in range(arguments.rounds):
            print(json.dumps(measure(DEPLOYMENTS[arguments.inside])), flush=True)
        return
    print("| seconds | " + " | ".join(COLUMNS) + " |\n|---" + "|---" * len(COLUMNS) + "|")
    for name in arguments.only or DEPLOYMENTS:
        measured = rounds(name, arguments.rounds)
        cells = [[one[column] for one in measured] for column in COLUMNS]
        print(f"| {name} | " + " | ".join(f"{median(cell):.2f} ({max(cell):.2f})" for cell in cells) + " |", flush=True)


if __name__ == "__main__":
    main()

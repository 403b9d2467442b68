"""What the hop through a proxy costs: the same servers, reached directly, through Twemproxy and through Envoy.

    python benchmarks/proxy.py [--seconds 3] [--rounds 5]

One run has four servers, one Twemproxy and one Envoy, each on a loopback address of its own in a network namespace.
The clients are the same machines each time; only where they connect differs: directly to the server that route `ring`
computes, or to a proxy. The ways take turns, and the median of the rounds counts, because a shared machine is noisy.
One client shows the latency of the hop, ten show what a proxy, which has one thread, does to the throughput. Latencies
are those in the histories: from just before sending to just after the reply was read.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from chaos.deploy import envoy, namespace, servers, twemproxy  # noqa: E402
from chaos.deploy.local import LocalDeployment  # noqa: E402
from chaos.errors import ServerError  # noqa: E402
from chaos.job import Job, Share  # noqa: E402
from chaos.member import Member  # noqa: E402
from chaos.member import servers as members  # noqa: E402
from checkers import load  # noqa: E402
from checkers.events import OK  # noqa: E402
from nemeses.stream import derive  # noqa: E402

SHARDS = 4
SETTINGS = {"behind": "shards", "auto_eject": False, "timeout_ms": 400}
PROXIES: Mapping[str, tuple[Member, Callable[[], Path]]] = {
    "Twemproxy": (Member("p1", {**SETTINGS, "hashing": "ketama"}, "twemproxy"), twemproxy.find),
    "Envoy": (Member("p2", {**SETTINGS, "hashing": "ring_hash"}, "envoy"), envoy.find),
}
CLIENTS = (1, 10)


class Cost(NamedTuple):
    """Of one measurement."""

    p50_us: float
    p99_us: float
    rate: float
    """Operations a second."""


def measure(system: LocalDeployment, directory: Path, way: str, clients: int, seconds: float) -> Cost:
    """So many clients going one way for so long."""
    proxies = [PROXIES[way][0].name] if way in PROXIES else []
    part = directory / "part.jsonl"
    part.unlink(missing_ok=True)
    job = Job(
        part=str(part),
        streams={client: derive(7, "client", client) for client in range(clients)},
        total=clients,
        workloads={"register": Share({"keys": 1000})},
        route="proxy" if proxies else "ring",
        duration_ms=round(seconds * 1000),
        nodes={name: (node.host, node.port) for name, node in system.nodes.items()},
        sources={client: system.client_address(client) for client in range(clients)},
        slots=[],
        groups={"shards": [f"n{number}" for number in range(1, SHARDS + 1)], "proxies": proxies},
        placement={"virtual_nodes": 160},
    )
    job.save(directory / "job.json")
    command = [sys.executable, "-m", "chaos.drive", str(directory / "job.json")]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as driver:
        assert driver.stdin is not None
        assert driver.stdout is not None
        driver.stdout.readline()
        driver.stdin.write(b"go %d\n" % (time.monotonic_ns() + 50_000_000))
        driver.stdin.flush()
        driver.stdout.read()
    operations = load(part).operations
    ended_well = np.count_nonzero(operations.type == OK)
    if not ended_well or ended_well != len(operations.type):
        raise SystemExit(f"{way}: only {ended_well} of {len(operations.type)} operations were done")
    took = (operations.end - operations.start) / 1000
    return Cost(float(np.quantile(took, 0.5)), float(np.quantile(took, 0.99)), len(took) / seconds)


def present() -> dict[str, Member]:
    """The proxies that are on this machine; says which are not."""
    found = {}
    for name, (member, find) in PROXIES.items():
        try:
            find()
            found[name] = member
        except ServerError as error:
            print(f"{name} is left out: {error}")
    return found


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description="The cost of the hop through a proxy.")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    proxies = present()
    nodes = [*members(SHARDS, {}), *proxies.values()]
    costs: dict[tuple[int, str], list[Cost]] = {
        (clients, way): [] for clients in CLIENTS for way in ("direct", *proxies)
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        server = servers.find()
        with LocalDeployment(
            server, nodes, path / "work", began_ns=time.monotonic_ns(), clients=max(CLIENTS)
        ) as system:
            system.start_all()
            for _ in range(given.rounds):
                for clients, way in costs:
                    costs[clients, way].append(measure(system, path, way, clients, given.seconds))
    print(f"{server}, {SHARDS} servers, {given.rounds} rounds of {given.seconds:g} s, load {os.getloadavg()[0]:.1f}")
    print(f"{'clients':>7}  {'way':10} {'p50 µs':>8} {'p99 µs':>8} {'ops/s':>8} {'p50 against direct':>20}")
    for (clients, way), rounds in costs.items():
        p50, p99, rate = (median(column) for column in zip(*rounds, strict=True))
        added = p50 - median(cost.p50_us for cost in costs[clients, "direct"])
        more = "" if way == "direct" else f"{added:+17.0f} µs"
        print(f"{clients:7}  {way:10} {p50:8.0f} {p99:8.0f} {rate:8,.0f} {more}")


if __name__ == "__main__":
    if not namespace.entered():
        if (reason := namespace.available()) is not None:
            raise SystemExit(f"without a network namespace another proxy would be in the way ({reason})")
        command = [*namespace.prefix(), sys.executable, *sys.argv]
        os.execvpe(command[0], command, {**os.environ, **namespace.environment()})
    main()

"""The plan: everything that the seed decides, written down before anything runs.

Operation `n` of client `c` is a pure function of the client's stream and `n`; the faults are listed with their
times, targets by role, options, and a stream of their own. Streams are derived by name, so a client or a nemesis
more does not change what the others do.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import msgspec

from chaos.scenario import FaultSpec, MixtureSpec, Scenario
from chaos.topologies import make_topology
from nemeses import stream
from nemeses.fault import PlannedFault
from nemeses.mixture import expand
from nemeses.stream import Stream, derive


class Plan(msgspec.Struct, frozen=True):
    """What will be done; `plan.json` is this, as JSON."""

    scenario: Scenario
    seed: int
    generator: int
    """Version of the random numbers; the same seed means the same plan only under the same version."""
    streams: dict[str, int]
    """Seed of each stream by name: `client/0`, `nemesis/0`."""
    faults: list[PlannedFault]

    def client_streams(self) -> dict[int, int]:
        """Seed of each client's stream by client number."""
        return {client: self.streams[f"client/{client}"] for client in range(self.scenario.clients.count)}

    def save(self, path: Path) -> None:
        """Write the plan as JSON."""
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")


def read_plan(path: Path) -> Plan:
    """Read a plan that `save` wrote."""
    return msgspec.json.decode(path.read_bytes(), type=Plan)


def draw_seed() -> int:
    """A fresh seed, short enough to be typed."""
    return secrets.randbelow(1_000_000_000)


def make_plan(scenario: Scenario, seed: int) -> Plan:
    """Decide everything: a pure function of scenario and seed."""
    clients = {f"client/{client}": derive(seed, "client", client) for client in range(scenario.clients.count)}
    nemeses = {f"nemesis/{entry}": derive(seed, "nemesis", entry) for entry in range(len(scenario.nemesis))}
    topology, route = make_topology(scenario.cluster), scenario.clients.way
    faults: list[PlannedFault] = []
    # Those with an hour of their own come first: what is drawn keeps clear of them.
    for entry, spec in sorted(enumerate(scenario.nemesis), key=lambda pair: isinstance(pair[1], MixtureSpec)):
        own = nemeses[f"nemesis/{entry}"]
        if isinstance(spec, FaultSpec):
            faults.append(_single(spec, len(faults), own, topology.target(spec.target, route)))
        else:
            draw = Stream(own)
            count = len(faults)
            faults += expand(spec.random, spec.every_ms, scenario.duration_ms, draw, first_number=count, taken=faults)
    return Plan(scenario, seed, stream.VERSION, clients | nemeses, faults)


def _single(spec: FaultSpec, number: int, own: int, target: str) -> PlannedFault:
    seed = derive(own, 0) if spec.seed is None else spec.seed
    return PlannedFault(number, spec.fault, target, spec.at_ms, spec.for_ms, seed, spec.options)

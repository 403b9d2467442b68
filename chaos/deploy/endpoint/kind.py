"""The kind `endpoint`: what can be asked of servers that somebody else runs, and whether we may."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.deploy.base import Deployment
from chaos.deploy.endpoint.deployment import MARKER, EndpointDeployment
from chaos.deploy.endpoint.spec import EndpointSpec
from chaos.errors import BadInput, Impossible
from chaos.keyspace import KEYS, SCRIPTS, KeySpace, commands_of
from chaos.workloads import WORKLOADS
from nemeses import FAULTS
from nemeses.stream import Stream
from nemeses.system import FORMED, ReplyError, Unreachable, WaitTimeout

if TYPE_CHECKING:
    from chaos.plan import Plan

SAMPLE = 1_000
"""Operations that are looked at to know which commands a workload sends."""
PROMOTION = "promotion"
CLIENTS_MS = 60_000
"""How long clients may take to end once their controller is gone: their timeout, and redis-py's retries."""


class EndpointKind:
    """Servers that run already; see `chaos.deploy.endpoint.deployment`."""

    def refuse_impossible(self, plan: Plan, server: str | None, image: str | None) -> None:
        """Compare what the plan needs with what the offering has. Nothing is sent to it."""
        spec = _spec(plan)
        if server is not None or image is not None:
            raise BadInput("--server and --image: an endpoint's servers run already; leave them out")
        for fault in plan.faults:
            needed = FAULTS[fault.kind].requires
            if missing := sorted(needed - (FORMED & {PROMOTION})):
                raise Impossible(f"fault {fault.kind} needs {missing[0]}, which {spec.profile} does not offer")
            if PROMOTION in needed:
                _refuse_promotion(spec, fault.kind)
        route = plan.scenario.clients.route
        if route not in spec.offering.routes:
            fitting = ", ".join(spec.offering.routes)
            raise Impossible(f"route {route} does not lead to {spec.profile}; use one of {fitting}")
        for name, options in plan.scenario.workload.items():
            for command in sorted(_commands(name, options)):
                if not spec.access.offers(command):
                    raise Impossible(f"workload {name} needs {command}, which {spec.profile} does not offer")
                if command not in KEYS and command not in SCRIPTS:
                    raise Impossible(f"workload {name} sends {command}, whose keys cannot be told apart on an endpoint")
        if route == "replica" and not _has_readers(spec):
            raise Impossible("route replica needs the endpoint of readers: give it as the second of urls")
        spec.access.credentials()
        spec.access.context()

    def refuse_unallowed(self, plan: Plan, allowed: Collection[str]) -> None:
        """See `NeedsLeave`: every host whose servers may be struck must be spelled out."""
        for host, _ in _spec(plan).addresses if plan.faults else []:
            if host not in allowed:
                raise BadInput(f"faults on {host} need your leave: add --allow-faults-on {host}")

    def prefix(self) -> list[str]:
        """Nothing: controller and clients run as they are."""
        return []

    def environment(self) -> Mapping[str, str]:
        """Nothing but what there is: user and password may be in it."""
        return {}

    def open(self, plan: Plan, run_dir: Path, server: str | None, image: str | None) -> Deployment:
        """See `Kind.open`."""
        return EndpointDeployment(_spec(plan), run_dir, began_ns=time.monotonic_ns())

    def clean(self, run_dir: Path) -> list[str]:
        """Remove the keys that a killed controller left, once its clients have ended."""
        from chaos.plan import read_plan  # its scenario names the kinds of deployments
        from chaos.store import PLAN

        marker = run_dir / MARKER
        if not marker.exists():
            return []
        keys = KeySpace(marker.read_text(encoding="utf-8"))
        plan = read_plan(run_dir / PLAN)
        try:
            deployment = EndpointDeployment(_spec(plan), run_dir, began_ns=time.monotonic_ns())
            with contextlib.closing(deployment):
                deployment.wait("its clients have ended", lambda: not any(_drivers(run_dir)), CLIENTS_MS)
                deployment.discover()
                removed = deployment.remove_keys(keys)
        except (BadInput, Unreachable, ReplyError, WaitTimeout) as error:
            return [f"{run_dir.name}: keys that begin with {keys.prefix} may be left at its endpoint: {error}"]
        return [f"{run_dir.name}: removed {removed} keys from its endpoint"]

    def clean_shared(self) -> list[str]:
        """Nothing is shared."""
        return []


def _spec(plan: Plan) -> EndpointSpec:
    spec = plan.scenario.endpoint
    if spec is None:
        raise BadInput("deploy: endpoint needs to know where: name it with --endpoint URL, or endpoint.urls")
    return spec


def _refuse_promotion(spec: EndpointSpec, kind: str) -> None:
    if kind not in spec.offering.faults:
        raise Impossible(f"fault {kind} needs {PROMOTION}, which {spec.profile} does not offer")
    by_itself = spec.offering.topology == "endpoint-cluster" and spec.access.offers("CLUSTER", "FAILOVER")
    if kind not in spec.faults and not by_itself:
        example = f", for example {spec.offering.example}" if spec.offering.example else ""
        raise Impossible(f"fault {kind} needs a command of yours at {spec.profile}: endpoint.faults.{kind}{example}")


def _has_readers(spec: EndpointSpec) -> bool:
    return spec.offering.topology == "endpoint-cluster" or len(spec.urls) > 1


def _commands(workload: str, options: Mapping[str, object]) -> set[str]:
    """The commands that a workload sends; operations are drawn, so the first thousand show them all."""
    planned = WORKLOADS[workload](options)
    return commands_of([planned.operation(0, n, Stream(n)) for n in range(SAMPLE)])


def _drivers(run_dir: Path) -> Iterator[int]:
    """Client processes of a run that are still at work on this machine: their command names a job in its directory."""
    wanted = os.fsencode(run_dir.absolute())
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                command = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if b"chaos.drive" in command and wanted in command:
                yield int(process.name)

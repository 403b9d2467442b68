"""The kind `local`: what the machine must allow, and how a plan becomes server processes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.backing import backed_by
from chaos.deploy import namespace, probe, servers, skew
from chaos.deploy.base import Deployment
from chaos.deploy.local import CAPABILITIES, LocalDeployment
from chaos.deploy.processes import remove_left
from chaos.deploy.programs import PROGRAMS, unbound
from chaos.errors import BadInput, ServerError
from chaos.topologies import make_topology
from nemeses import FAULTS
from nemeses.system import FORMED

if TYPE_CHECKING:
    from chaos.plan import Plan

WORK = "work"
"""Folder of the nodes' data in a run directory; removed when the run ends."""


def reason_against(capability: str) -> str | None:
    """Why this machine lacks a capability beyond `CAPABILITIES`, in one sentence; None when it has it."""
    if capability == "skew":
        return skew.reason_against()
    in_kernel = probe.reasons_against()
    if capability not in in_kernel:
        return "no local deployment can"
    reason = in_kernel[capability]
    if reason is None or capability == "loss":
        return reason
    if namespace.available() is not None or in_kernel["links"] is not None:
        return None  # links go through the proxy then, which can slow them
    return f"{reason}; {namespace.CHOICE}=proxy slows links without the kernel's help"


LINK_FAULTS = frozenset({"links", "loss", "delay", "bandwidth"})
"""What needs to tell by its address who speaks."""


def _refuse_missing(plan: Plan) -> None:
    """Find the proxies, and refuse faults on links where who speaks cannot be told. Raises BadInput."""
    members = make_topology(plan.scenario.cluster).members
    for program in dict.fromkeys(member.program for member in members):
        if (proxy := PROGRAMS[program].proxy) is not None:
            try:
                proxy.find()
            except ServerError as error:
                raise BadInput(str(error)) from error
    nameless = unbound(members)
    on_links = [fault.kind for fault in plan.faults if FAULTS[fault.kind].requires & LINK_FAULTS]
    if not nameless or not on_links:
        return
    program = next(member.program for member in members if member.name == nameless[0])
    if len(nameless) > 1:
        raise BadInput(
            f"fault {on_links[0]}: {program} binds no address, so only one of it can be told apart; proxies: 1"
        )
    if (reason := namespace.available()) is not None:
        raise BadInput(f"fault {on_links[0]}: {program} binds no address, and without a namespace ({reason}) has none")


class LocalKind:
    """Server processes on this machine; see `chaos.deploy.local`."""

    def refuse_impossible(self, plan: Plan, server: str | None, image: str | None) -> None:
        """Find the server, and compare what the faults need with what processes on one machine can do."""
        if image is not None:
            raise BadInput(f"--image {image}: local runs no containers; add --deploy docker, or name a --server")
        try:
            servers.find(server)
        except ServerError as error:
            raise BadInput(str(error)) from error
        _refuse_missing(plan)
        database = backed_by(plan.scenario.workload, Path())
        if database is not None and database.host is not None and namespace.available() is None:
            raise BadInput(
                f"database: {database.url}: local runs in a network of its own, which does not reach it: write "
                f"postgresql:///NAME?host=/DIRECTORY for the server's socket, or set {namespace.CHOICE}=proxy"
            )
        for fault in plan.faults:
            for capability in sorted(FAULTS[fault.kind].requires - FORMED - CAPABILITIES):
                if (reason := reason_against(capability)) is not None:
                    raise BadInput(f"fault {fault.kind} needs {capability}, which local cannot do here: {reason}")

    def prefix(self) -> list[str]:
        """Namespaces of the run's own, where they can be had."""
        return namespace.prefix()

    def environment(self) -> Mapping[str, str]:
        """Tells the controller that it was started in namespaces of its own."""
        return namespace.environment()

    def open(self, plan: Plan, run_dir: Path, server: str | None, image: str | None) -> Deployment:
        """See `Kind.open`."""
        return LocalDeployment(
            servers.find(server),
            make_topology(plan.scenario.cluster).members,
            run_dir / WORK,
            began_ns=time.monotonic_ns(),
            clients=plan.scenario.clients.count,
            wanted={capability for fault in plan.faults for capability in FAULTS[fault.kind].requires},
        )

    def clean(self, run_dir: Path) -> list[str]:
        """Kill the servers that are left of a run, and remove their data; logs that nobody collected are kept."""
        return remove_left(run_dir, run_dir / WORK)

    def clean_shared(self) -> list[str]:
        """Nothing is shared."""
        return []

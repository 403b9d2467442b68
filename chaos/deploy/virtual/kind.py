"""The kind `virtual`: what it cannot do is refused before anything starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.backing import backed_by
from chaos.deploy import servers
from chaos.deploy.base import Deployment
from chaos.deploy.processes import remove_left
from chaos.deploy.programs import OF_THE_SERVER, refuse_others
from chaos.deploy.virtual.launching import refuse_static
from chaos.deploy.virtual.shim_library import shim
from chaos.errors import BadInput, ServerError
from chaos.topologies import make_topology
from nemeses import FAULTS
from nemeses.stream import derive
from nemeses.system import FORMED

if TYPE_CHECKING:
    from chaos.plan import Plan

WORK = "work"
"""Folder of the nodes' data in a run directory; removed when the run ends."""


class VirtualKind:
    """Server processes in virtual time; see `chaos.deploy.virtual.deployment`."""

    def refuse_impossible(self, plan: Plan, server: str | None, image: str | None) -> None:
        """Find the server, make the shim, and compare what is asked with what virtual time can do."""
        from chaos.deploy.virtual.deployment import CAPABILITIES  # the deployment imports what imports this module

        refuse_others(make_topology(plan.scenario.cluster).members, OF_THE_SERVER, "virtual")
        if image is not None:
            raise BadInput(f"--image {image}: virtual runs no containers; add --deploy docker, or name a --server")
        try:
            found = servers.find(server)
            shim()
        except ServerError as error:
            raise BadInput(str(error)) from error
        refuse_static(found.path)
        scenario = plan.scenario
        _refuse_directives(scenario.cluster.config)
        database = backed_by(scenario.workload, Path())
        if database is not None and not database.on_disk:
            raise BadInput(f"database: {database.url} answers in real time: with virtual use sqlite")
        for fault in plan.faults:
            if missing := sorted(FAULTS[fault.kind].requires - FORMED - CAPABILITIES):
                raise BadInput(f"fault {fault.kind} needs {', '.join(missing)}, which virtual cannot do")

    def prefix(self) -> list[str]:
        """Nothing: there is nothing to isolate, since nothing is opened but unix sockets."""
        return []

    def environment(self) -> Mapping[str, str]:
        """The order of sets of strings must not differ between runs."""
        return {"PYTHONHASHSEED": "0"}

    def open(self, plan: Plan, run_dir: Path, server: str | None, image: str | None) -> Deployment:
        """See `Kind.open`."""
        from chaos.deploy.virtual.deployment import VirtualDeployment

        _pin()
        return VirtualDeployment(
            servers.find(server),
            shim(),
            make_topology(plan.scenario.cluster).members,
            run_dir / WORK,
            seed=derive(plan.seed, "virtual"),
        )

    def clean(self, run_dir: Path) -> list[str]:
        """Kill servers that are left of a run (they end with its controller), and remove their data; logs are kept."""
        return remove_left(run_dir, run_dir / WORK)

    def clean_shared(self) -> list[str]:
        """Nothing is shared; the compiled shim is a cache and stays."""
        return []


def _pin() -> None:
    """Keep this process, and the servers it will start, on one processor: only one of them runs at a time anyway.

    Handing over a turn within a processor is quicker than between two of them.
    """
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {allowed[os.getpid() % len(allowed)]})


def _refuse_directives(config: Mapping[str, str]) -> None:
    if int(config.get("io-threads", "1")) > 1:
        raise BadInput("io-threads above 1: how threads share the work cannot be repeated; leave it out")
    for name in config:
        if name.startswith("tls-"):
            raise BadInput(f"{name}: virtual has no TLS; use --deploy local or docker")

"""The kind `docker`: what the engine must allow, and how a plan becomes containers."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.deploy import namespace, probe, skew
from chaos.deploy.base import Deployment
from chaos.deploy.namespace import CHOICE
from chaos.deploy.programs import OF_THE_SERVER, refuse_others
from chaos.errors import BadInput, ServerError
from chaos.topologies import make_topology
from nemeses import FAULTS
from nemeses.fault import PlannedFault
from nemeses.system import FORMED

if TYPE_CHECKING:
    from chaos.plan import Plan

WORK = "work"
"""Folder of the nodes' data in a run directory; removed when the run ends."""
SENT_TO = "engine"
"""File in that folder of a run whose controller is on the engine: where that engine is."""


def _elsewhere() -> bool:
    """Whether controller and clients run on the engine: by choice, or as nodes can be reached from there only."""
    from chaos.deploy.docker.engine import UNIX, url

    return os.environ.get(CHOICE) == "engine" or not url().startswith(UNIX)


def _reason_against_holding() -> str | None:
    """Why the kernel cannot have packets held; None also where that cannot be tried out beforehand."""
    return None if namespace.available() is not None else probe.reasons_against()["held"]


def _concerns_clients(fault: PlannedFault) -> bool:
    """Whether it cuts or slows links of clients; without these options it concerns nodes only."""
    return bool(fault.options.get("with_clients")) or fault.options.get("between", "nodes") != "nodes"


class DockerKind:
    """Containers on a Docker engine; see `chaos.deploy.docker.deployment`."""

    def refuse_impossible(self, plan: Plan, server: str | None, image: str | None) -> None:
        """Ask the engine whether it is there, and compare what the faults need with what containers can do."""
        from chaos.deploy.docker.deployment import CAPABILITIES  # only here: the docker library takes 0.2 s to load
        from chaos.deploy.docker.engine import Engine

        refuse_others(make_topology(plan.scenario.cluster).members, OF_THE_SERVER, "docker")
        try:
            engine = Engine()
        except ServerError as error:
            raise BadInput(f"{error}; start it, or run on this machine with --deploy local") from error
        engine.close()
        if _elsewhere() and (reason := engine.reason_against_our_programs()) is not None:
            raise BadInput(f"the controller cannot run on the Docker engine: {reason}")
        for fault in plan.faults:
            missing = FAULTS[fault.kind].requires - FORMED - CAPABILITIES
            if "skew" in missing and (reason := skew.reason_against()) is not None:
                raise BadInput(f"fault {fault.kind} cannot be done here: {reason}")
            if (
                FAULTS[fault.kind].requires & {"delay", "bandwidth"}
                and not _elsewhere()
                and (reason := _reason_against_holding()) is not None
            ):
                raise BadInput(f"fault {fault.kind} needs packets to be held, which this kernel cannot do: {reason}")
            if others := sorted(missing - {"skew"}):
                raise BadInput(f"fault {fault.kind} needs {', '.join(others)}, which docker cannot do")

    def prefix(self) -> list[str]:
        """Nothing: the controller and the clients run on this machine as they are; or what sends them to the engine."""
        return [sys.executable, "-m", "chaos.deploy.docker.elsewhere"] if _elsewhere() else []

    def environment(self) -> Mapping[str, str]:
        """Nothing."""
        return {}

    def open(self, plan: Plan, run_dir: Path, server: str | None, image: str | None) -> Deployment:
        """See `Kind.open`. First removes what runs of killed controllers have left on the engine.

        A controller that was sent to the engine cannot tell which these are; who sent it has done it.
        """
        from chaos.deploy.docker.deployment import DockerDeployment
        from chaos.deploy.docker.engine import Engine
        from chaos.deploy.docker.images import server_image
        from chaos.deploy.docker.leftovers import remove_orphans
        from chaos.deploy.docker.orders import given

        engine = Engine()
        if (orders := given()) is None:
            remove_orphans(engine)
        chosen = os.environ.get(CHOICE)
        deployment = DockerDeployment(
            engine,
            partial(server_image, engine, image, server),
            make_topology(plan.scenario.cluster).members,
            run_dir if orders is None else Path(orders.run),
            run_dir / WORK,
            began_ns=time.monotonic_ns(),
            clients=plan.scenario.clients.count,
            wanted={capability for fault in plan.faults for capability in FAULTS[fault.kind].requires},
            enter=False if chosen == "helper" else None,
            published=True if chosen == "published" else None,
        )
        if deployment.publishes and (concerned := sorted({f.kind for f in plan.faults if _concerns_clients(f)})):
            deployment.stop_all()
            raise BadInput(
                f"fault {concerned[0]} concerns links between single clients and nodes, which cannot be told apart "
                "here: clients reach the containers by published ports, behind which they all have the address of the "
                f"engine; leave with_clients out, say between: nodes, or set {CHOICE}=engine to have the clients there"
            )
        return deployment

    def clean(self, run_dir: Path) -> list[str]:
        """Remove the containers, the network and the data that are left of a run."""
        work = run_dir / WORK
        if not work.exists():
            return []
        from chaos.deploy.docker.engine import Engine, url
        from chaos.deploy.docker.leftovers import remove_run

        sent = work / SENT_TO
        if sent.exists() and (there := sent.read_text()) != url():
            return [f"{run_dir.name}: what it made is on the engine {there}: set DOCKER_HOST to that, and clean again"]
        try:
            engine = Engine()
            said = remove_run(engine, run_dir)
        except ServerError as error:
            return [f"{run_dir.name}: its containers, if any, are left: {error}"]
        engine.close()
        shutil.rmtree(work)
        return [*said, f"{run_dir.name}: removed the data of its nodes"]

    def clean_shared(self) -> list[str]:
        """Remove what runs elsewhere have left, and the images that were built here unless a run is under way."""
        from chaos.deploy.docker.engine import Engine
        from chaos.deploy.docker.leftovers import remove_orphans, remove_shared

        try:
            engine = Engine()
        except ServerError:
            return []  # no engine, nothing on it
        try:
            return [*remove_orphans(engine), *remove_shared(engine)]
        finally:
            engine.close()

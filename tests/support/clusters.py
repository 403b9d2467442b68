"""Real clusters for tests: formed in a directory of their own, and gone when the context ends."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chaos import member
from chaos.deploy import servers
from chaos.deploy.control import Control
from chaos.deploy.local import LocalDeployment
from chaos.deploy.network import Isolation
from chaos.topologies import ClusterSpec
from chaos.topologies.cluster import IN_CLUSTER, ClusterTopology
from nemeses.system import System

CLIENTS = 3


@contextmanager
def nodes(
    count: int,
    config: dict[str, Any] | None = None,
    isolation: Isolation | None = None,
    wanted: Collection[str] = (),
) -> Iterator[LocalDeployment]:
    """Started nodes that do not know each other."""
    with tempfile.TemporaryDirectory(prefix="cachequake-test-") as directory:
        deployment = LocalDeployment(
            servers.find(),
            member.servers(count, IN_CLUSTER | {"cluster-node-timeout": 500} | (config or {})),
            Path(directory),
            began_ns=time.monotonic_ns(),
            clients=CLIENTS,
            isolation=isolation,
            wanted=wanted,
        )
        with deployment:
            deployment.start_all()
            yield deployment


def load(deployment: System, node: str) -> None:
    """Return once a node that was started again has read its data: `start` returns while it may still say LOADING."""
    deployment.wait(f"{node} has loaded its data", lambda: deployment.call(node, "PING") == b"PONG")


@contextmanager
def cluster(
    primaries: int = 3,
    replicas: int = 1,
    config: dict[str, Any] | None = None,
    isolation: Isolation | None = None,
    wanted: Collection[str] = (),
) -> Iterator[tuple[LocalDeployment, ClusterTopology]]:
    """A formed cluster of nodes."""
    topology = ClusterTopology(ClusterSpec(primaries=primaries, replicas=replicas))
    with nodes(len(topology.names), config, isolation, wanted) as deployment:
        topology.form(deployment)
        yield deployment, topology


@contextmanager
def client(deployment: LocalDeployment, number: int) -> Iterator[Control]:
    """A client's way to the nodes: from the address of client `number`, so that cuts concern it."""
    control = Control(
        lambda node: (deployment.nodes[node].host, deployment.nodes[node].port), deployment.client_address(number)
    )
    try:
        yield control
    finally:
        control.close()

"""Real clusters in containers, for tests, with whatever Docker engine answers here."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from chaos.deploy.docker.deployment import DockerDeployment
from chaos.deploy.docker.engine import RUN, Engine
from chaos.deploy.docker.images import server_image
from chaos.errors import ServerError
from chaos.member import servers
from chaos.store import locked
from chaos.topologies import ClusterSpec
from chaos.topologies.cluster import IN_CLUSTER, ClusterTopology

CLIENTS = 3


def require_engine() -> None:
    """Skip the test when no engine answers; where CI=true, fail it."""
    try:
        Engine().close()
    except ServerError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"continuous integration needs a Docker engine: {error}")
        pytest.skip(str(error))


def left_on_engine(run_dir: Path) -> list[str]:
    """Ids of the containers, networks, volumes and images that the engine still has of a run."""
    engine = Engine()
    mark = {"label": f"{RUN}={run_dir}"}
    try:
        containers, networks = engine.api.containers(all=True, filters=mark), engine.api.networks(filters=mark)
        found = [*containers, *networks, *engine.api.images(filters=mark)]
        volumes = engine.api.volumes(filters=mark)["Volumes"] or []
        return [*(str(item["Id"]) for item in found), *(str(volume["Name"]) for volume in volumes)]
    finally:
        engine.close()


@contextmanager
def container_nodes(
    count: int,
    config: dict[str, Any] | None = None,
    enter: bool | None = None,
    published: bool | None = None,
    wanted: Collection[str] = (),
) -> Iterator[DockerDeployment]:
    """Started nodes that do not know each other."""
    engine = Engine()
    with tempfile.TemporaryDirectory(prefix="cachequake-test-") as directory, locked(Path(directory)):
        run = Path(directory)
        deployment = DockerDeployment(
            engine,
            partial(server_image, engine, None, None),
            servers(count, IN_CLUSTER | {"cluster-node-timeout": 500} | (config or {})),
            run,
            run / "work",
            began_ns=time.monotonic_ns(),
            clients=CLIENTS,
            enter=enter,
            published=published,
            wanted=wanted,
        )
        with deployment:
            deployment.start_all()
            yield deployment


@contextmanager
def container_cluster(
    primaries: int = 3,
    replicas: int = 1,
    config: dict[str, Any] | None = None,
    enter: bool | None = None,
    published: bool | None = None,
    wanted: Collection[str] = (),
) -> Iterator[tuple[DockerDeployment, ClusterTopology]]:
    """A formed cluster of nodes."""
    topology = ClusterTopology(ClusterSpec(primaries=primaries, replicas=replicas))
    with container_nodes(len(topology.names), config, enter, published, wanted) as deployment:
        topology.form(deployment)
        yield deployment, topology

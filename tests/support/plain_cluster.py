"""A real cluster on ports of 127.0.0.1, without namespaces or links to cut: for tests and benchmarks of clients."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Self

from chaos.deploy import servers
from chaos.deploy.clock import Clock
from chaos.deploy.control import Control
from chaos.deploy.processes import with_parent
from chaos.job import Job, Share
from chaos.topologies import ClusterSpec
from chaos.topologies.cluster import ClusterTopology
from nemeses.stream import derive
from nemeses.system import Node

CONFIG = {
    "cluster-enabled": "yes",
    "cluster-node-timeout": "10000",
    "repl-diskless-sync-delay": "0",
    "save": "",
    "appendonly": "no",
    "protected-mode": "no",
    "bind": "127.0.0.1",
}


class PlainCluster(Clock):
    """Implements `nemeses.system.System` as far as forming a cluster and talking to it needs it."""

    capabilities: frozenset[str] = frozenset()

    def __init__(self, directory: Path, primaries: int = 3, replicas: int = 1) -> None:
        super().__init__(time.monotonic_ns())
        self.topology = ClusterTopology(ClusterSpec(primaries=primaries, replicas=replicas))
        self.nodes = {name: _node(name) for name in self.topology.names}
        self._directory = directory
        self._control = Control(lambda node: (self.nodes[node].host, self.nodes[node].port), "127.0.0.1")
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        path = servers.find().path
        for name, node in self.nodes.items():
            home = self._directory / name
            home.mkdir()
            options = {**CONFIG, "port": str(node.port), "cluster-port": str(node.bus_port), "dir": str(home)}
            arguments = [part for key, value in options.items() for part in (f"--{key}", value)]
            with (home / "server.log").open("wb") as log:
                self.processes[name] = subprocess.Popen(with_parent([str(path), *arguments]), stdout=log, stderr=log)
        for name in self.nodes:
            self.wait(f"{name} answers", lambda name=name: self.call(name, "PING"))
        self.topology.form(self)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
        self._control.close()

    def call(self, node: str, *arguments: str | bytes | int, timeout_ms: int = 1_000) -> Any:
        return self._control.call(node, *arguments, timeout_ms=timeout_ms)

    def pause(self, node: str) -> None:
        self.processes[node].send_signal(signal.SIGSTOP)

    def resume(self, node: str) -> None:
        self.processes[node].send_signal(signal.SIGCONT)

    def kill(self, node: str) -> None:
        self.processes[node].kill()
        self.processes[node].wait()

    def node_id(self, node: str) -> str:
        return str(self.call(node, "CLUSTER", "MYID").decode())

    def job(self, part: Path, clients: int, workloads: dict[str, dict[str, Any]], **more: Any) -> Job:
        """A job for clients 0 to `clients` - 1; `more` are fields of the job."""
        given: dict[str, Any] = {
            "part": str(part),
            "streams": {client: derive(7, "client", client) for client in range(clients)},
            "total": clients,
            "workloads": {name: Share(options) for name, options in workloads.items()},
            "duration_ms": 1_000,
            "nodes": {name: (node.host, node.port) for name, node in self.nodes.items()},
            "slots": self.topology.initial_map(),
            "replicas": self.topology.replicas_of,
        }
        return Job(**(given | more))


def _node(name: str) -> Node:
    return Node(name, "127.0.0.1", _free_port(), _free_port())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

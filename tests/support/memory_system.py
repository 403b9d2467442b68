"""A deployment without servers: the fake cluster as the system under test of the real controller, in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import hiredis
from fake_cluster import Connection, FakeCluster, Scene

from chaos.controller import Controller
from chaos.member import Member
from chaos.plan import Plan, make_plan
from chaos.progress import Progress
from chaos.recorder import Recorder
from chaos.roles import by_slot
from chaos.scenario import load_scenario
from chaos.store import PARTS, create_run_dir
from chaos.topologies.rest import Unrest
from chaos.workloads import WORKLOADS, Mixture
from checkers.keyslot import key_slot
from nemeses.system import Interrupted, Node, ReplyError, WaitTimeout
from nemeses.view import Owners


class MemoryDeployment:
    """Implements `Deployment` and `OwnsTime`: clients, servers and controller share one clock and one thread."""

    server = "fake 1.0"
    isolation = "none"
    notes: tuple[str, ...] = ()
    capabilities: frozenset[str] = frozenset()
    epoch_ns = 0

    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster = cluster
        self.began_ns = 0
        self.nodes = {name: Node(name, *node.address, 0) for name, node in cluster.nodes.items()}
        self.started = False
        self.stopped = False
        self._interrupted = False
        self._connections = {name: Connection(node) for name, node in cluster.nodes.items()}

    def start_all(self) -> None:
        self.started = True

    def stop_all(self) -> None:
        self.stopped = True

    def collect_logs(self, target: Path) -> None:
        (target / "n1.log").write_text("nothing to say\n")

    def client_address(self, client: int) -> str:
        return f"10.1.0.{client}"

    def translate(self, host: str, port: int) -> str | None:
        return next((name for name, node in self.nodes.items() if (node.host, node.port) == (host, port)), None)

    def interrupt(self) -> None:
        self._interrupted = True

    def clear_interrupt(self) -> None:
        self._interrupted = False

    def now_ns(self) -> int:
        return self.cluster.clock() - self.began_ns

    def sleep_until(self, time_ns: int) -> None:
        if self._interrupted:
            raise Interrupted("the run was asked to end")
        self.cluster.now = max(self.cluster.now, self.began_ns + time_ns)

    def wait(self, what: str, condition: Callable[[], Any], timeout_ms: int = 10_000) -> Any:
        found = condition()
        if not found:
            raise WaitTimeout(f"{what}: nothing changes by itself here")
        return found

    def call(self, node: str, *arguments: str | bytes | int, timeout_ms: int = 1_000) -> Any:
        reader = hiredis.Reader()
        command = [part if isinstance(part, bytes) else str(part).encode() for part in arguments]
        if command[0] == b"READWRITE":
            self._connections[node].readonly = False
            return b"OK"
        reader.feed(self.cluster.answer(self._connections[node], [command[0].decode(), *command[1:]]))
        reply = reader.gets()
        if isinstance(reply, hiredis.ReplyError):
            raise ReplyError(str(reply))
        return reply

    def load(self, plan: Plan, run_dir: Path, topology: Any) -> AbstractContextManager[MemoryLoad]:
        return nullcontext(MemoryLoad(self.cluster, plan, run_dir))


class MemoryLoad:
    """Implements `Clients` on the fake cluster."""

    def __init__(self, cluster: FakeCluster, plan: Plan, run_dir: Path) -> None:
        parts = [(WORKLOADS[name](options), 1.0) for name, options in plan.scenario.workload.items()]
        self._recorder = Recorder(run_dir / PARTS / "clients-0.jsonl")
        self._scene = Scene(Mixture(parts), plan.scenario.clients.count, cluster=cluster, recorder=self._recorder)
        self._duration_ms = plan.scenario.duration_ms
        self.executed: dict[int, int] = {}

    @property
    def total(self) -> dict[str, int]:
        return dict(self._scene.effects.counts)

    def go(self) -> int:
        return 0

    def stop(self) -> None:
        pass

    def counters(self) -> Iterator[dict[str, int]]:
        self._scene.crew.run(self._duration_ms * 1_000_000, lambda: False, lambda: None)
        self._recorder.close()
        self.executed = self._scene.crew.executed
        yield self.total


class MemoryTopology:
    """Implements `Topology` for the fake cluster, which is formed from the start and always at rest."""

    def __init__(self, cluster: FakeCluster, unrest: Unrest | None = None) -> None:
        self.cluster = cluster
        self.unrest = unrest
        self.replicas_of = cluster.replicas
        self.members = [Member(name) for name in cluster.nodes]
        self.groups: Mapping[str, list[str]] = {}
        self.patience_ms = 1_000

    def target(self, text: str, route: str) -> str:
        return by_slot(text)

    def initial_map(self) -> Owners:
        return self.cluster.ranges

    def form(self, system: Any) -> None:
        assert system.started

    @contextmanager
    def observed(self, system: Any, emit: Callable[[Mapping[str, Any]], None]) -> Iterator[None]:
        for first, last, name in self.cluster.ranges:
            state = {"state": "up", "role": "primary", "primary": None, "epoch": 1, "cluster": "ok"}
            emit({"node": name, "slots": [[first, last]], **state})
        yield

    def converge(self, system: Any, deadline_ms: int) -> Unrest | None:
        self.cluster.settle()
        return self.unrest

    def maps(self, system: Any) -> dict[str, Owners]:
        return dict.fromkeys(self.cluster.nodes, self.cluster.ranges)

    def owner(self, system: Any, maps: Mapping[str, Owners]) -> Callable[[str], str]:
        owners = {slot: name for first, last, name in self.cluster.ranges for slot in range(first, last + 1)}
        return lambda key: owners[key_slot(key)]

    def holds(self, system: Any, patterns: Any) -> dict[str, list[str]]:
        nodes = [node for node in self.cluster.nodes.values() if node.primary is None]
        return {node.name: sorted(key.decode() for key in node.data) for node in nodes}

    def current_replicas(self, system: Any) -> dict[str, list[str]]:
        return self.cluster.replicas


def run(
    out: Path,
    cluster: FakeCluster,
    *,
    unrest: Unrest | None = None,
    seed: int = 7,
    topology: Any = None,
    **overrides: Any,
) -> tuple[Path, list[Progress]]:
    """Run a short version of `steady` on it; the run directory, and what the controller told."""
    plan = make_plan(load_scenario("steady", {"duration": "400ms", "clients.count": 4, **overrides}), seed)
    run_dir = create_run_dir(out, plan)
    deployment = MemoryDeployment(cluster)
    told: list[Progress] = []
    controller = Controller(plan, run_dir, deployment, topology or MemoryTopology(cluster, unrest), told.append)
    try:
        controller.run()
    finally:
        assert deployment.stopped
    return run_dir, told

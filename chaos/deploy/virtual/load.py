"""The clients of a run in virtual time: the same machines as everywhere, in the controller's own process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from chaos.deploy.virtual.transport import VirtualTransport
from chaos.load import job_of
from chaos.recorder import Recorder
from chaos.routes import machine_crew
from chaos.routes.links import Link
from chaos.store import PARTS

if TYPE_CHECKING:
    from chaos.deploy.virtual.deployment import VirtualDeployment
    from chaos.plan import Plan
    from chaos.topologies.base import Topology

LEAD_NS = 1_000_000
"""From the word `go` to the first operation."""


class VirtualLoad:
    """What `chaos.load.Load` is to driver processes; used in the same way."""

    def __init__(self, plan: Plan, run_dir: Path, deployment: VirtualDeployment, topology: Topology) -> None:
        clients = plan.client_streams()
        job = job_of(plan, run_dir / PARTS / "clients-0.jsonl", clients, deployment, topology)
        names = {address: f"c{client}" for client, address in job.sources.items()}
        transport: VirtualTransport[Link] = VirtualTransport(
            deployment.world, deployment.network, lambda source: names[source or ""]
        )
        self._duration_ns = job.duration_ms * 1_000_000
        self._deployment = deployment
        self._recorder = Recorder(Path(job.part))
        self._crew = machine_crew(job, transport, self._recorder, deployment.now_ns)
        self._stopped = False
        self._said = deployment.event()
        self._failure: Exception | None = None
        self.executed: dict[int, int] = {}
        """Operations begun, by client; complete once `counters` has ended."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._recorder.close()

    def go(self) -> int:
        """Give the word; returns the time of the world at which the run begins."""
        return self._deployment.world.now + LEAD_NS

    def stop(self) -> None:
        """Ask the clients to finish early: what is under way is still waited for."""
        self._stopped = True

    def tell(self, nodes: Sequence[str]) -> dict[str, int]:
        """Have the clients share the keys among these nodes, at once; see `chaos.load.Load.tell`."""
        if self.executed or self._failure is not None:
            return {}
        self._crew.adopt(nodes)
        return {"0": self._deployment.now_ns()}

    def begun(self, client: int, operations: int) -> bool:
        """Whether a client has begun so many operations; see `nemeses.fault.Progress`."""
        return self._crew.executed[client] >= operations

    def counters(self) -> Iterator[dict[str, int]]:
        """Operations completed so far by outcome, again and again until all clients are done.

        Raises what broke the clients, if anything did.
        """
        clients = self._deployment.thread(self._work, "clients")
        clients.start()
        over = False
        while not over:
            self._said.wait()
            self._said.clear()
            over = bool(self.executed) or self._failure is not None
            yield self.total
        clients.join()
        if self._failure is not None:
            raise self._failure

    @property
    def total(self) -> dict[str, int]:
        """Operations completed so far, by outcome."""
        return dict(self._crew.counts)

    def _work(self) -> None:
        try:
            self._crew.run(self._duration_ns, lambda: self._stopped, self._said.set)
            self.executed = self._crew.executed
        except Exception as error:  # noqa: BLE001 - it is raised where the run can end for it
            self._failure = error
        self._said.set()

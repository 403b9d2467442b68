"""The clients of a run that are redis-py's, in virtual time: a program each, on a machine of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec

from chaos.crew import REPORT_NS
from chaos.deploy.virtual.program import Program
from chaos.errors import RunFailed
from chaos.load import job_of
from chaos.store import PARTS

if TYPE_CHECKING:
    from chaos.deploy.virtual.deployment import VirtualDeployment
    from chaos.plan import Plan
    from chaos.topologies.base import Topology

LEAD_NS = 2_000_000_000
"""From the start of the programs to the first operation: each has its map of the nodes by then."""
BOOT_NS = 1_000_000_000_000
"""What the shim's monotonic clocks say at the beginning of the world."""
READY_NS = 1_000_000
"""From when all is ready to the first operation."""
GRACE_NS = 10_000_000_000
"""How long a client may go on after the end: redis-py's retries outlast the timeout of one attempt."""


class ProgramLoad:
    """What `chaos.load.Load` is to driver processes; used in the same way."""

    def __init__(self, plan: Plan, run_dir: Path, deployment: VirtualDeployment, topology: Topology) -> None:
        self._deployment = deployment
        self._world = deployment.world
        self._duration_ns = plan.scenario.duration_ms * 1_000_000
        self._began_ns = 0
        self._programs: dict[int, Program] = {}
        self._stopped = False
        self.executed: dict[int, int] = {}
        """Operations begun, by client; complete once `counters` has ended."""
        self._jobs: dict[int, Path] = {}
        self._records: dict[int, _Record] = {}
        for client, seed in plan.client_streams().items():
            part = run_dir / PARTS / f"clients-{client}.jsonl"
            self._records[client] = _Record(part)
            self._jobs[client] = part.with_suffix(".job")
            job_of(plan, part, {client: seed}, deployment, topology).save(self._jobs[client])

    def __enter__(self) -> Self:
        """The programs, started; they begin to work after `LEAD_NS`. Raises RunFailed."""
        self._began_ns = self._world.now + LEAD_NS
        more = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONDONTWRITEBYTECODE": "1"}
        for client, job in self._jobs.items():
            command = (sys.executable, "-m", "chaos.deploy.virtual.client", str(job), str(BOOT_NS + self._began_ns))
            self._programs[client] = self._deployment.program(client, command, more)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for program in self._programs.values():
            program.kill()

    def go(self) -> int:
        """Let them get ready; returns the time of the world at which the run begins, which is about to come."""
        self._world.sleep_until(self._began_ns - READY_NS, interruptible=False)
        return self._began_ns

    def stop(self) -> None:
        """Ask the clients to finish early: what is under way is still waited for."""
        if not self._stopped:
            self._stopped = True
            for program in self._programs.values():
                program.terminate()

    def tell(self, nodes: Sequence[str]) -> dict[str, int]:
        """See `chaos.load.Load.tell`: these clients ask the nodes themselves, so there is nothing to tell."""
        now = self._deployment.now_ns()
        return {str(client): now for client, program in self._programs.items() if program.running}

    def begun(self, client: int, operations: int) -> bool:
        """Whether a client has begun so many operations; see `nemeses.fault.Progress`."""
        return self._records[client].counts()["invoke"] >= operations

    def counters(self) -> Iterator[dict[str, int]]:
        """Operations completed so far by outcome, again and again until all clients are done.

        An operation that outlasts the grace after the end stays open: its outcome is not known. Raises RunFailed when
        a client dies.
        """
        deadline = self._began_ns + self._duration_ns + GRACE_NS
        while any(program.running for program in self._programs.values()) and self._world.now < deadline:
            self._world.sleep_until(min(self._world.now + REPORT_NS, deadline), interruptible=False)
            yield self.total
        for client, program in self._programs.items():
            if program.status:
                said = program.output.read_text(errors="replace").strip().splitlines()[-3:]
                raise RunFailed(f"client {client} ended early: {' | '.join(said) or 'it said nothing'}")
            program.kill()
        self.executed = {client: record.counts()["invoke"] for client, record in self._records.items()}
        yield self.total

    @property
    def total(self) -> dict[str, int]:
        """Operations completed so far, by outcome."""
        counts = [record.counts() for record in self._records.values()]
        return {outcome: sum(count[outcome] for count in counts) for outcome in ("ok", "fail", "info")}


class _Line(msgspec.Struct):
    type: str


class _Record:
    """The events that a client has written so far, counted by type."""

    def __init__(self, part: Path) -> None:
        self._part = part
        self._read = 0
        self._counts = dict.fromkeys(("invoke", "ok", "fail", "info"), 0)

    def counts(self) -> dict[str, int]:
        if self._part.exists():
            with self._part.open("rb") as file:
                file.seek(self._read)
                lines = file.read()
            for line in msgspec.json.Decoder(_Line).decode_lines(lines):  # a client stands still between two lines
                self._counts[line.type] += 1
            self._read += len(lines)
        return self._counts

"""The load: driver processes that make the clients work, and what they report."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from chaos.access import Access
from chaos.backing import backed_by
from chaos.deploy.base import Borrows, Deployment, Publishes
from chaos.errors import RunFailed
from chaos.job import Job, Share
from chaos.plan import Plan
from chaos.store import PARTS
from chaos.topologies.base import Topology
from nemeses.system import WaitTimeout

LEAD_NS = 50_000_000
"""From the word `go` to the first operation: the drivers must all have heard it."""
READY_TIMEOUT_S = 30.0
TOLD_TIMEOUT_S = 10.0
"""How long drivers may take to do what they are told; they look for it every 50 ms."""
GRACE_S = 15.0
"""How long a driver may take to finish after its last operation could have timed out."""


def job_of(plan: Plan, part: Path, streams: dict[int, int], deployment: Deployment, topology: Topology) -> Job:
    """What the clients of one process have to know: `streams` has them with their seeds, `part` is their history."""
    scenario = plan.scenario
    elsewhere = deployment.published if isinstance(deployment, Publishes) else {}
    return Job(
        part=str(part),
        streams=streams,
        total=scenario.clients.count,
        workloads={name: Share(options) for name, options in scenario.workload.items()},
        route=scenario.clients.route,
        route_options=scenario.clients.options,
        timeout_ms=scenario.clients.timeout_ms,
        rate=scenario.clients.rate,
        duration_ms=scenario.duration_ms,
        nodes={name: elsewhere.get(name, (node.host, node.port)) for name, node in deployment.nodes.items()},
        aliases={f"{node.host}:{node.port}": name for name, node in deployment.nodes.items() if name in elsewhere},
        sources={client: deployment.client_address(client) for client in streams},
        slots=topology.initial_map(),
        replicas=topology.replicas_of,
        groups=dict(topology.groups),
        placement=scenario.cluster.options,
        database=backed_by(scenario.workload, part.parent.parent),
        prefix=deployment.keys.prefix if isinstance(deployment, Borrows) else "",
        access=deployment.access if isinstance(deployment, Borrows) else Access(),
    )


class Load:
    """The driver processes of a run, from `with` (started, waiting for the word) to their last report."""

    def __init__(self, plan: Plan, run_dir: Path, deployment: Deployment, topology: Topology) -> None:
        self._plan = plan
        self._run_dir = run_dir
        self._said: queue.Queue[tuple[int, dict[str, Any] | None]] = queue.Queue()
        jobs = [self._save_job(number, deployment, topology) for number in range(plan.scenario.clients.processes)]
        self._drivers = [self._start(number, job) for number, job in enumerate(jobs)]
        self._latest: list[dict[str, int]] = [{} for _ in jobs]
        self._heard: queue.Queue[tuple[int, dict[str, Any] | None]] = queue.Queue()
        """What drivers say of what `tell` asked for; None from one that works no more."""
        self._working = set(range(len(jobs)))
        self._asked: set[tuple[int, int]] = set()
        self._reached: set[tuple[int, int]] = set()
        """Marks of the progress of a client that drivers were asked for, and those that they say it has come to."""
        self.executed: dict[int, int] = {}
        """Operations begun, by client; complete once `counters` has ended."""

    def __enter__(self) -> Self:
        """The drivers, ready to go. Raises RunFailed when one does not get ready."""
        try:
            for number, driver in enumerate(self._drivers):
                assert driver.stdout is not None
                if driver.stdout.readline() != b"ready\n":
                    raise RunFailed(self._why(number))
                threading.Thread(target=self._listen, args=(number,), daemon=True).start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def go(self) -> int:
        """Give the word; returns the reading of the monotonic clock (nanoseconds) at which the run begins."""
        began_ns = time.monotonic_ns() + LEAD_NS
        for driver in self._drivers:
            assert driver.stdin is not None
            driver.stdin.write(b"go %d\n" % began_ns)
            driver.stdin.flush()
        return began_ns

    def stop(self) -> None:
        """Ask the drivers to finish early: what is under way is still waited for."""
        for driver in self._drivers:
            if driver.stdin is not None and not driver.stdin.closed:
                with contextlib.suppress(BrokenPipeError):
                    driver.stdin.close()

    def tell(self, nodes: Sequence[str]) -> dict[str, int]:
        """Have the clients share the keys among these nodes. To be called by one thread at a time.

        Returns, by number of the driver, when its clients began to (nanoseconds since the run began), once all have
        that are still at work; empty when none is. Raises WaitTimeout.
        """
        waited = set(self._working)
        for number in waited:
            self._say(number, f"nodes {' '.join(nodes)}")
        heard: dict[str, int] = {}
        deadline = time.monotonic() + TOLD_TIMEOUT_S
        while waited:
            try:
                number, said = self._heard.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                late = ", ".join(map(str, sorted(waited)))
                raise WaitTimeout(f"client processes {late} did not take the list of nodes up in time") from None
            if said is None or said["nodes"] == list(nodes):  # else it speaks of an earlier list
                waited.discard(number)
            if said is not None and said["nodes"] == list(nodes):
                heard[str(number)] = said["at"]
        return heard

    def begun(self, client: int, operations: int) -> bool:
        """Whether a client has begun so many operations; see `nemeses.fault.Progress`.

        Its driver is asked once and says when. Clients whose driver is gone will begin no more, and have begun enough.
        """
        number = client % len(self._drivers)
        if (client, operations) not in self._asked:
            self._asked.add((client, operations))
            self._say(number, f"mark {client} {operations}")
        return (client, operations) in self._reached or number not in self._working

    def counters(self) -> Iterator[dict[str, int]]:
        """Operations completed so far by outcome, again and again until all drivers are done.

        Raises RunFailed when a driver dies, or does not end long after its time.
        """
        scenario = self._plan.scenario
        deadline = time.monotonic() + (scenario.duration_ms + 2 * scenario.clients.timeout_ms) / 1000 + GRACE_S
        running = len(self._drivers)
        while running:
            try:
                number, said = self._said.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise RunFailed("the clients did not come to an end; see driver logs") from None
            if said is None:
                raise RunFailed(self._why(number))
            self._latest[number] = {outcome: said[outcome] for outcome in ("ok", "fail", "info")}
            if said.get("done"):
                self.executed.update({int(client): count for client, count in said["executed"].items()})
                running -= 1
            yield self.total

    @property
    def total(self) -> dict[str, int]:
        """Operations completed so far, by outcome."""
        return {outcome: sum(one.get(outcome, 0) for one in self._latest) for outcome in ("ok", "fail", "info")}

    def _save_job(self, number: int, deployment: Deployment, topology: Topology) -> Path:
        streams, processes = self._plan.client_streams(), self._plan.scenario.clients.processes
        mine = {client: seed for client, seed in streams.items() if client % processes == number}
        path = self._run_dir / PARTS / f"clients-{number}.job"
        job_of(self._plan, path.with_suffix(".jsonl"), mine, deployment, topology).save(path)
        return path

    def _start(self, number: int, job: Path) -> subprocess.Popen[bytes]:
        with self._log(number).open("wb") as errors:
            return subprocess.Popen(
                [sys.executable, "-m", "chaos.drive", str(job)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    def _say(self, number: int, line: str) -> None:
        stdin = self._drivers[number].stdin
        assert stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):  # it has ended, or is about to: it will be heard of
            stdin.write(line.encode() + b"\n")
            stdin.flush()

    def _listen(self, number: int) -> None:
        """Pass on what a driver says; None when it ends without having said that it is done."""
        output = self._drivers[number].stdout
        assert output is not None
        done = False
        for line in output:
            said = msgspec.json.decode(line)
            if "nodes" in said:
                self._heard.put((number, said))
                continue
            if "mark" in said:
                client, operations = said["mark"]
                self._reached.add((client, operations))
                continue
            done = bool(said.get("done"))
            self._said.put((number, said))
        self._working.discard(number)
        self._heard.put((number, None))
        if not done:
            self._said.put((number, None))

    def _end(self) -> None:
        self.stop()
        for driver in self._drivers:
            try:
                driver.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                driver.kill()
                driver.wait()
            if driver.stdout is not None:
                driver.stdout.close()

    def _log(self, number: int) -> Path:
        return self._run_dir / "logs" / f"clients-{number}.log"

    def _why(self, number: int) -> str:
        said = self._log(number).read_text(errors="replace").strip().splitlines()[-3:]
        return f"client process {number} ended early: {' | '.join(said) or 'it said nothing'}"

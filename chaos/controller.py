"""The controller: carries one plan out on a real system, as a process of its own.

    form the system -> load and faults -> heal -> converge -> final reads -> stop -> history and logs

`python -m chaos.controller RUN_DIR` reads the plan from the run directory and leaves everything that happened there.
It may be the first process of a namespace: it reaps what it inherits, and what it started is gone when it ends. When
its standard input closes, or on SIGTERM, it ends the load early, heals, and still takes the final reads.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from cachequake.plugins import distributions
from chaos.backing import Backing, backed_by
from chaos.deploy.base import Borrows, Clients, Deployment, OwnsTime
from chaos.deploy.kinds import DEPLOYMENTS
from chaos.errors import BadInput, CachequakeError
from chaos.finals import FinalReader, Rest, Unreached
from chaos.keyspace import KeySpace
from chaos.load import Load
from chaos.plan import Plan, read_plan
from chaos.progress import Failure, Progress
from chaos.recorder import Recorder
from chaos.routes import ROUTES
from chaos.store import INTERRUPTED, PARTS, PLAN, Executed, finish_history, locked, save_executed, write_header
from chaos.topologies import make_topology
from chaos.topologies.base import Shared, Topology
from chaos.workloads import WORKLOADS
from chaos.workloads.cachefill import NAME as CACHE_FILL
from chaos.workloads.cachefill import CacheFill
from checkers.events import FORMAT, VERSION, Event
from nemeses.schedule import Schedule
from nemeses.system import Membership, SystemFault, Thread, threads_of
from nemeses.undoing import undo_all

STALL_MS = 200
"""A gap in the clock of a thread that asked to sleep 50 ms: the machine stood still, and the history says so."""


class Controller:
    """One run. `tell` is given progress; everything else goes into the run directory."""

    def __init__(
        self, plan: Plan, run_dir: Path, deployment: Deployment, topology: Topology, tell: Callable[[Progress], None]
    ) -> None:
        self.plan = plan
        self.scenario = plan.scenario
        self.run_dir = run_dir
        self.deployment = deployment
        self.topology = topology
        self.tell = tell
        self.workloads = {name: WORKLOADS[name](options) for name, options in self.scenario.workload.items()}
        self.executed = Executed()
        self.active: dict[int, str] = {}
        self.nodes: dict[str, str] = {}
        self.interrupted = threading.Event()
        self.keys = KeySpace("")
        self.recorder = Recorder(run_dir / PARTS / "controller.jsonl")
        self.backing: Backing | None = None
        database, workload = backed_by(self.scenario.workload, run_dir), self.workloads.get(CACHE_FILL)
        if database is not None and isinstance(workload, CacheFill):
            self.backing = Backing(workload, database, self._record)

    def run(self) -> Executed:
        """Carry the plan out. Whatever happens, the system is stopped and what was done is written down."""
        try:
            with self._system(), contextlib.ExitStack() as observing:
                self._load(observing)
                self._settle(observing)
        except (CachequakeError, SystemFault) as error:
            self.executed.error = self.executed.error or f"{type(error).__name__}: {error}"
            raise
        finally:
            if self.backing is not None:
                self.backing.close()
            self.recorder.close()
            save_executed(self.run_dir, self.executed)
            finish_history(self.run_dir)
        return self.executed

    def interrupt(self) -> None:
        """End the load early: faults are healed, what is under way is waited for, and the final reads are taken."""
        self.interrupted.set()
        self.deployment.interrupt()

    @contextlib.contextmanager
    def _system(self) -> Iterator[None]:
        try:
            self.deployment.start_all()
            for note in self.deployment.notes:
                self.tell(Progress("start", 0, self.scenario.duration_ms, note=note))
            if isinstance(self.deployment, Borrows):
                self.keys = self.deployment.keys
            if (reason := ROUTES[self.scenario.clients.route].unfit(str(self.deployment.server))) is not None:
                raise BadInput(reason)
            self.topology.form(self.deployment)
            if self.backing is not None:
                self.backing.create()
            yield
        finally:
            self.deployment.stop_all()
            self.deployment.collect_logs(self.run_dir / "logs")

    # -- load and faults

    def _load(self, observing: contextlib.ExitStack) -> None:
        with self._clients() as load:
            write_header(self.run_dir, self._header())
            membership = None
            if isinstance(self.topology, Shared):
                membership = self.topology.shared(self.scenario.clients.way, load.tell)
            self.deployment.began_ns = load.go()
            start = {"phase": "start", "wall": self._wall_clock()}
            self._record(Event(type="info", f="phase", process="controller", time=0, value=start))
            observing.enter_context(self.topology.observed(self.deployment, self._observed))
            with self._stalls_noted():
                schedule = self._schedule(membership, load)
                faults = threads_of(self.deployment).thread(schedule.run, "faults")
                faults.start()
                for counters in load.counters():
                    self._progress("load", counters)
                    if self.interrupted.is_set():
                        self.executed.error = INTERRUPTED
                        load.stop()
                self._phase("stop")
                self._progress("heal", load.total)
                self._end_faults(schedule, faults)
            self.executed.operations = {str(client): count for client, count in load.executed.items()}

    def _wall_clock(self) -> str:
        """What the clock on the wall says when the run begins, in UTC: servers' logs go by it."""
        began = self.deployment.began_ns
        if isinstance(self.deployment, OwnsTime):
            wall = self.deployment.epoch_ns + began
        else:
            wall = time.time_ns() - (time.monotonic_ns() - began)
        return datetime.fromtimestamp(wall / 1e9, UTC).isoformat(timespec="milliseconds")

    def _clients(self) -> contextlib.AbstractContextManager[Clients]:
        if isinstance(self.deployment, OwnsTime):
            return self.deployment.load(self.plan, self.run_dir, self.topology)
        return Load(self.plan, self.run_dir, self.deployment, self.topology)

    def _schedule(self, membership: Membership | None, load: Clients) -> Schedule:
        return Schedule(
            self.deployment,
            self.plan.faults,
            self.scenario.clients.count,
            self._fault_event,
            membership=membership,
            progress=load,
        )

    def _end_faults(self, schedule: Schedule, faults: Thread) -> None:
        """A fault that outlasts the load is healed now; an interrupt ends here, for all that follows must happen."""
        self.deployment.interrupt()
        faults.join()
        self.deployment.clear_interrupt()
        self.executed.faults = schedule.finish()
        undo_all(self.deployment)
        self._phase("healed")
        failed = [fault for fault in self.executed.faults if fault.error]
        if failed:
            self.executed.error = "; ".join(f"fault {fault.number} ({fault.kind}): {fault.error}" for fault in failed)

    def _run_name(self) -> str:
        """The run directory's; where time is the run's own, a name without the time of day, which nothing else has."""
        if isinstance(self.deployment, OwnsTime):
            return f"{self.scenario.name}-seed{self.plan.seed}"
        return self.run_dir.name

    def _header(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "run": self._run_name(),
            "scenario": self.scenario.name,
            "seed": self.plan.seed,
            "server": str(self.deployment.server),
            "deployment": self.scenario.deploy,
            "isolation": self.deployment.isolation,
            "notes": list(self.deployment.notes),
            "clients": self.scenario.clients.count,
            "topology": self.scenario.cluster.topology,
            "route": self.scenario.clients.route,
            "way": self.scenario.clients.way,
            "nodes": {name: {"host": n.host, "port": n.port} for name, n in self.deployment.nodes.items()},
            "slots": self.topology.initial_map(),
            "replicas": self.topology.replicas_of,
            "groups": dict(self.topology.groups),
            "workloads": self.scenario.workload,
            **({"plugins": plugins} if (plugins := distributions()) else {}),
        }

    # -- after the load

    def _settle(self, observing: contextlib.ExitStack) -> None:
        """Who takes over or steps down after the last fault still belongs to the story, until all are at rest."""
        self._progress("converge")
        unrest = self.topology.converge(self.deployment, deadline_ms=self.topology.patience_ms)
        observing.close()
        if unrest is None:
            self._phase("converged")
        else:
            self._phase("split-for-good" if unrest.lasting else "not-converged", unrest.reason)
        self._progress("final reads")
        self._final_reads()
        self._phase("closed")

    def _final_reads(self) -> None:
        executed = {int(client): count for client, count in self.executed.operations.items()}
        finals = [op for workload in self.workloads.values() for op in workload.finals(executed)]
        reads = [self.keys.operation(op) for op in finals]
        rest = self._at_rest()
        reader = FinalReader(self.deployment, self._node_at, self._record)
        reader.from_owners(reads, rest.owner)
        if rest.redirects:
            reader.from_everywhere(rest.worth_starting_everywhere(reads))
        held = {
            replica: [read for read in reads if rest.owner(read.routing) == primary]
            for primary, replicas in self.topology.current_replicas(self.deployment).items()
            for replica in replicas
        }
        reader.from_replicas(held, on_request=rest.redirects)
        if self.backing is not None:
            self.backing.final_reads(self.deployment.now_ns)

    def _at_rest(self) -> Rest:
        """Find out, and record, what every node believes and what every primary holds."""
        maps = self.topology.maps(self.deployment)
        stored = self.topology.holds(self.deployment, [self.keys.pattern])
        holds = {node: [self.keys.plain(key) for key in keys] for node, keys in stored.items()}
        for node, ranges in maps.items():
            self._event("controller", "map", {"node": node, "slots": ranges})
        for node, keys in holds.items():
            self._event("controller", "holds", {"node": node, "keys": keys})
        if self.backing is not None:
            self.backing.counted(self.deployment)
            self.backing.left(self.deployment, holds, self.keys.stored)
        return Rest(self.topology.owner(self.deployment, maps), holds, redirects=bool(maps))

    def _node_at(self, host: str, port: int) -> str:
        node = self.deployment.translate(host, port)
        if node is None:
            raise Unreached(f"redirected to {host}:{port}, which is no node of this run")
        return node

    # -- what the history and the person in front of the screen are told

    def _event(self, process: str, f: str, value: Any) -> None:
        self._record(Event(type="info", f=f, process=process, time=self.deployment.now_ns(), value=value))

    def _record(self, event: Event) -> None:
        self.recorder.write(event)

    def _observed(self, value: Mapping[str, Any]) -> None:
        self._event("observer", "view", value)
        self.nodes[value["node"]] = value.get("role", value["state"])

    def _phase(self, phase: str, reason: str | None = None) -> None:
        self._event("controller", "phase", {"phase": phase} | ({"reason": reason} if reason else {}))

    def _fault_event(self, kind: str, value: dict[str, Any]) -> None:
        time_ns = value.get("since_ns", self.deployment.now_ns())  # when it held, not when that was seen
        self._record(Event(type="info", f=kind, process="nemesis", time=time_ns, value=value))
        if value["phase"] == "inject":
            self.active[value["fault"]] = f"{kind} of {', '.join(value['nodes'])}"
        elif value["phase"] in ("heal", "failed"):
            self.active.pop(value["fault"], None)

    def _progress(self, phase: str, counters: dict[str, int] | None = None) -> None:
        elapsed_ms = max(0, self.deployment.now_ns() // 1_000_000)
        progress = Progress(phase, elapsed_ms, self.scenario.duration_ms, faults=list(self.active.values()))
        progress.nodes = dict(sorted(self.nodes.items()))
        for outcome, count in (counters or {}).items():
            setattr(progress, outcome, count)
        self.tell(progress)

    @contextlib.contextmanager
    def _stalls_noted(self) -> Iterator[None]:
        """Record when the machine itself stood still: a thread that asked for 50 ms of sleep got much more."""
        if isinstance(self.deployment, OwnsTime):  # then it stands still all the time, and nobody can tell
            yield
            return
        done = threading.Event()

        def watch() -> None:
            before = time.monotonic_ns()
            while not done.wait(0.05):
                now = time.monotonic_ns()
                if (gap_ms := (now - before) // 1_000_000) >= STALL_MS:
                    self._event("controller", "stall", {"ms": gap_ms})
                before = now

        thread = threading.Thread(target=watch, name="stalls")
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def main() -> int:
    """Run the plan of a run directory; progress goes to standard output as JSON lines."""
    parser = argparse.ArgumentParser(prog="python -m chaos.controller")
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--server")
    parser.add_argument("--image")
    arguments = parser.parse_args()
    plan = read_plan(arguments.run_dir / PLAN)
    encoder = msgspec.json.Encoder()

    def say(line: Progress | Failure) -> None:
        with contextlib.suppress(BrokenPipeError):  # nobody listens any more; the input closes as well, and we end
            os.write(sys.stdout.fileno(), encoder.encode(line) + b"\n")

    try:
        with locked(arguments.run_dir):
            kind = DEPLOYMENTS[plan.scenario.deploy]
            deployment = kind.open(plan, arguments.run_dir, arguments.server, arguments.image)
            topology = make_topology(plan.scenario.cluster)
            controller = Controller(plan, arguments.run_dir, deployment, topology, say)
            _end_when_told(controller.interrupt)
            controller.run()
    except BadInput as error:
        say(Failure(str(error), bad_input=True))
    except (CachequakeError, SystemFault) as error:
        say(Failure(f"{type(error).__name__}: {error}"))
    return 0


def _end_when_told(interrupt: Callable[[], None]) -> None:
    """Call `interrupt` on SIGTERM, on SIGINT, and when the parent closes our input or dies."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: interrupt())

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1):  # not sys.stdin, whose lock a daemon thread may not hold at the end
            pass
        interrupt()

    threading.Thread(target=watch, name="parent", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())

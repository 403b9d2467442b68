"""A fault in time: each planned fault waits for its hour, strikes, is verified, and is undone after its length.

Every fault runs in a thread of its own, so a slow one delays nobody. Whatever happens between, a fault that was
begun is healed: after a failure, after any exception, and at once when the run is asked to end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from nemeses import FAULTS
from nemeses.fault import ExecutedFault, Fault, PlannedFault, Progress, Strike
from nemeses.stream import Stream
from nemeses.system import FORMED, InjectionFailed, Interrupted, Membership, System, WaitTimeout, threads_of
from nemeses.targets import Survey, parse, pick

Emit = Callable[[str, dict[str, Any]], None]
"""`emit(kind, value)` writes one event of the nemesis into the history; see `Schedule`."""
RESOLVE_MS = 5_000
"""How long a role that nobody has may take to be somebody's again."""


class Schedule:
    """The planned faults of a run.

    `emit` is never called by two threads at once. Values of events are `{"fault", "phase", "nodes", "roles", ...}`;
    those of `inject` and `heal` have `since_ns`: the fault held from then on (or no longer), and was only seen to by
    now, so that is the time to stamp the event with. An interrupt ends faults early and is no error of theirs.
    Faults that wait for the load to have come so far need `progress`, and strike at their time without it.
    """

    def __init__(
        self,
        system: System,
        planned: Sequence[PlannedFault],
        clients: int,
        emit: Emit,
        faults: Mapping[str, Fault] = FAULTS,
        membership: Membership | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._system = system
        lock = threading.Lock()

        def alone(kind: str, value: dict[str, Any]) -> None:
            with lock:
                emit(kind, value)

        moving: dict[int, int] = {}
        self._runs = [
            _Run(system, each, clients, alone, faults[each.kind], moving, membership, progress) for each in planned
        ]

    def run(self) -> None:
        """Carry all of them out; returns when each is over, or an interrupt has ended it."""
        threads = [threads_of(self._system).thread(each.go, f"fault-{each.planned.number}") for each in self._runs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def finish(self) -> list[ExecutedFault]:
        """Heal again what could not be healed, and return what became of each, in the order of the plan.

        One fault can stand in the way of undoing another, and an interrupt in the way of any that needs time: this
        comes after `run`, when the interrupt has been cleared.
        """
        for each in self._runs:
            each.finish()
        return [each.executed for each in self._runs]


class _Run:
    """One planned fault from waiting to healed."""

    def __init__(
        self,
        system: System,
        planned: PlannedFault,
        clients: int,
        emit: Emit,
        fault: Fault,
        moving: dict[int, int],
        membership: Membership | None,
        progress: Progress | None,
    ) -> None:
        self.system = system
        self.planned = planned
        self.fault = fault
        self.executed = ExecutedFault(planned.number, planned.kind, planned.target, [], {})
        self._emit = emit
        self._progress = progress
        draw = Stream(planned.seed)
        self._strike = Strike(system, planned, [], clients, draw, self._note, moving=moving, membership=membership)
        self._unhealed = False
        """Whether something may have been done to the system that is not undone yet."""
        self._errors: dict[str, str] = {}
        self._survey = Survey({})

    def go(self) -> None:
        try:
            self._await()
            self.executed.struck_ns = self.system.now_ns()
            self._inject()
            self.system.sleep_until(self._ends_ns())
        except Interrupted:
            if self._unhealed and self.executed.injected_ns is None:
                self._tell(
                    "failed", during="inject", error="the run was asked to end before the effect of the fault was seen"
                )
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and the fault is healed
            self._fail("inject", error)
        finally:
            if self._unhealed:
                self._heal()

    def finish(self) -> None:
        """Heal again what could not be healed, and settle whether that is an error."""
        if self._unhealed:
            self._heal()
        self.executed.error = next(iter(self._errors.values()), None)

    def _await(self) -> None:
        """Its time has come; or the load has come so far, where that decides."""
        when, progress = self.planned.when, self._progress
        if when is None or progress is None:
            self.system.sleep_until(self.planned.at_ms * 1_000_000)
            return
        self.system.sleep_until(when.earliest_ms * 1_000_000)
        window_ms = when.latest_ms - self.system.now_ns() // 1_000_000
        awaited = f"operation {when.operations} of client {when.client}"
        with suppress(WaitTimeout):  # then it is late enough
            self.system.wait(awaited, lambda: progress.begun(when.client, when.operations), max(0, window_ms))

    def _inject(self) -> None:
        missing = self.fault.requires - FORMED - self.system.capabilities
        if missing:
            raise InjectionFailed(f"this deployment cannot do {self.fault.kind}: it lacks {', '.join(sorted(missing))}")
        self._survey, nodes = self._resolve()
        self._strike.nodes.extend(nodes)
        self.executed.resolved = {node: self._survey.role(node) for node in nodes}
        self._unhealed = True
        self.executed.evidence = {"inject": self.fault.inject(self._strike)}
        self.executed.injected_ns = self._began_ns()
        evidence = self.executed.evidence["inject"]
        self._tell("inject", **self.planned.options, since_ns=self.executed.injected_ns, evidence=evidence)

    def _resolve(self) -> tuple[Survey, list[str]]:
        """Who the target is; while a failover goes on, a role may be nobody's for a moment."""
        target, stream = parse(self.planned.target), self._strike.draw
        errors: list[InjectionFailed] = []

        def found() -> tuple[Survey, list[str]] | None:
            survey = Survey.take(self.system)
            try:
                return survey, pick(survey, self.system.nodes, target, stream)
            except InjectionFailed as error:
                errors.append(error)
                return None

        try:
            return self.system.wait(f"a node that is {target}", found, RESOLVE_MS)
        except WaitTimeout:
            raise errors[-1] from None

    def _heal(self) -> None:
        try:
            evidence = self._heal_through()
        except Exception as error:  # noqa: BLE001 - the others must be healed all the same
            self._fail("heal", error)
            return
        self._unhealed = False
        for slot, number in list(self._strike.moving.items()):
            if number == self.planned.number:
                del self._strike.moving[slot]
        self._errors.pop("heal", None)
        self.executed.healed_ns = evidence.get("since_ns", self.system.now_ns())
        self.executed.evidence["heal"] = evidence
        self._tell("heal", since_ns=self.executed.healed_ns, evidence=evidence)

    def _heal_through(self) -> dict[str, Any]:
        """Heal although the run was asked to end: what was started before a wait was cut short is found done then."""
        for _ in range(2):
            with suppress(Interrupted):
                return self.fault.heal(self._strike)
        return self.fault.heal(self._strike)

    def _began_ns(self) -> int:
        since: int = self._strike.state.get("since_ns", self.system.now_ns())
        return since

    def _ends_ns(self) -> int:
        """Its length counts from when it held, unless it was lying in wait before that."""
        since: int = self._strike.state.get("waited_since_ns", self._began_ns())
        return since + self.planned.for_ms * 1_000_000

    def _fail(self, during: str, error: Exception) -> None:
        self._errors[during] = str(error) or type(error).__name__
        self._tell("failed", during=during, error=self._errors[during])

    def _note(self, step: str, value: Mapping[str, Any]) -> None:
        self._emit(self.planned.kind, {"fault": self.planned.number, "phase": "step", "step": step, **value})

    def _tell(self, phase: str, **more: Any) -> None:
        nodes = self._strike.nodes  # a kind may have struck others than the target named: a whole ring, a victim
        self.executed.nodes = list(nodes)
        self.executed.roles = {node: self._survey.role(node) for node in nodes}
        value = {
            "fault": self.planned.number,
            "phase": phase,
            "nodes": self.executed.nodes,
            "roles": self.executed.roles,
            "clients": list(self._strike.state.get("clients", [])),
        }
        self._emit(self.planned.kind, value | more)

"""The clients of one process at work: machines in one loop.

Clock and transport are given, so the same loop runs on sockets in real time and on a simulated network in virtual
time. One round of the loop: hear what happened, let the machines whose time has come act, write all their events
in one go, and only then open connections and send. Every event has its own reading of the clock: the end of an
operation is read after its reply was, its beginning before it is recorded, so intervals are never too short.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Protocol

from chaos.recorder import Recorder
from chaos.routes.links import Link
from chaos.routes.machine import Effects, Machine
from chaos.transport import Address, Kind, Transport

LOOK_NS = 50_000_000
"""At least this often the loop looks whether it is asked to stop."""
REPORT_NS = 250_000_000
"""Between two reports of progress."""

Clock = Callable[[], int]
"""Nanoseconds since the run began; negative before that."""


class Crew(Protocol):
    """All clients of one process."""

    @property
    def counts(self) -> Mapping[str, int]:
        """Operations completed, by outcome."""

    @property
    def executed(self) -> dict[int, int]:
        """Operations begun, by client."""

    def run(self, until_ns: int, stopped: Callable[[], bool], report: Callable[[], None]) -> None:
        """Work from time 0 until `until_ns` or until `stopped` says so, then finish what is under way and close.

        `report` is called every `REPORT_NS`, and `stopped` at least as often, by the same thread.
        """

    def adopt(self, nodes: Sequence[str]) -> None:
        """The keys are shared among these nodes from now on. To be called between two rounds: by `stopped`, say."""


class MachineCrew:
    """Machines, one transport, one loop. Implements `Crew`."""

    def __init__(
        self,
        machines: Sequence[Machine],
        effects: Effects,
        transport: Transport[Link],
        recorder: Recorder,
        clock: Clock,
        nodes: Mapping[str, Address],
        sources: Mapping[int, str],
    ) -> None:
        """`effects` is what all the machines write to; `sources` are the local addresses of clients, if they matter."""
        self._machines = machines
        self._effects = effects
        self._transport = transport
        self._recorder = recorder
        self._clock = clock
        self._nodes = nodes
        self._sources = sources

    @property
    def counts(self) -> Mapping[str, int]:
        """Operations completed, by outcome."""
        return self._effects.counts

    @property
    def executed(self) -> dict[int, int]:
        """Operations begun, by client."""
        return {machine.client: machine.executed for machine in self._machines}

    def run(self, until_ns: int, stopped: Callable[[], bool], report: Callable[[], None]) -> None:
        """See `Crew`."""
        clock = self._clock
        next_report = clock() + REPORT_NS
        while (now := clock()) < until_ns and not stopped():
            self._round(min(until_ns, next_report) - now)
            if now >= next_report:
                report()
                next_report = now + REPORT_NS
        for machine in self._machines:
            machine.stop()
        while not all(machine.finished for machine in self._machines):
            self._round(REPORT_NS)
        for machine in self._machines:
            machine.close()
        self._carry_out()

    def adopt(self, nodes: Sequence[str]) -> None:
        """See `Crew`."""
        for machine in self._machines:
            machine.adopt(nodes)

    def _round(self, longest_ns: int) -> None:
        clock = self._clock
        machines = self._machines
        next_wake = min(map(_wake, machines))
        wait = min(next_wake - clock(), longest_ns, LOOK_NS)
        for link, kind, data, error in self._transport.poll(max(0, wait)):
            if kind is Kind.DATA:
                link.machine.received(link, data, clock())
            elif kind is Kind.CONNECTED:
                link.machine.connected(link, clock())
            else:
                link.machine.lost(link, error or ConnectionError("lost"), clock())
        now = clock()
        for machine in machines:
            if machine.wake <= now:
                machine.step(clock())
        self._carry_out()

    def _carry_out(self) -> None:
        """Do what the machines want done: an operation is in the history before its bytes leave."""
        effects, transport = self._effects, self._transport
        if effects.events:
            self._recorder.write(*effects.events)
            effects.events.clear()
        if effects.closes:
            for link in effects.closes:
                transport.close(link)
            effects.closes.clear()
        if effects.opens:
            for link in effects.opens:
                transport.connect(link, self._nodes[link.node], self._sources.get(link.machine.client))
            effects.opens.clear()
        for link, data in effects.sends:
            transport.send(link, data)
        effects.sends.clear()


_wake = attrgetter("wake")

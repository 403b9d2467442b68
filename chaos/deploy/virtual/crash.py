"""Machines that crash: silent from one moment to the next, with bytes under way that arrive or not.

A process that is killed leaves its kernel behind, which sends what was written and closes its connections. A machine
that crashes takes that along: its peers hear nothing until it is on again, and then a reset of what they send.
"""

from __future__ import annotations

from chaos.deploy.virtual.links import CONTROLLER, Links
from chaos.deploy.virtual.network import End, Flow
from chaos.deploy.virtual.process import Process
from nemeses.system import CrashPlan, CrashSeen


class Crash:
    """One machine that crashes when its moment comes."""

    def __init__(self, process: Process, links: Links, plan: CrashPlan, now_ns: int) -> None:
        """Lie in wait, or crash at once where `plan` waits for nothing."""
        self._process = process
        self._links = links
        self._plan = plan
        self._time_ns: int | None = None
        self._tails: list[_Tail] = []
        if plan.moment == "any":
            self._happen(now_ns)
        else:
            process.after_turn = self._look

    def spare(self) -> None:
        """Lie in wait no more."""
        self._process.after_turn = None

    def end(self) -> None:
        """The machine is on again: what it had not sent before is forgotten."""
        self.spare()
        for tail in self._tails:
            tail.keep = 0
        self._links.turn_on(self._process.name)

    def seen(self) -> CrashSeen | None:
        """What became of it, in the world's time; None while the moment has not come."""
        if self._time_ns is None:
            return None
        tails = [tail for tail in self._tails if tail.under_way and tail.to != CONTROLLER]
        under_way = dict.fromkeys((tail.to for tail in tails), 0)
        for tail in tails:
            under_way[tail.to] += tail.under_way
        return CrashSeen(self._time_ns, under_way, sum(tail.arrived for tail in tails))

    def _look(self, at: int) -> None:
        """After a turn that ended at a time: whether there is something under way now that is waited for."""
        if any(flow.under_way and self._awaited(flow) for flow in self._process.flows()):
            self._happen(at)

    def _awaited(self, flow: Flow) -> bool:
        if self._plan.moment == "reply":
            return not _to_node(flow) and flow.destination != CONTROLLER
        return _to_node(flow) and flow.port == "data"

    def _happen(self, at: int) -> None:
        self.spare()
        self._time_ns = at
        for flow in self._process.flows():
            if flow.receiver is not None:
                keep = self._plan.to_nodes if _to_node(flow) else self._plan.to_clients
                self._tails.append(_Tail(flow, flow.receiver, keep))
        self._links.turn_off(self._process.name)
        self._process.kill()


def _to_node(flow: Flow) -> bool:
    """Whether a node gets it: the others are clients, which are `c0`, `c1` and so on, and the controller."""
    return not flow.destination.startswith("c")


class _Tail:
    """Stands before the receiver of a machine's last bytes, and lets so many of them through; see `End`."""

    def __init__(self, flow: Flow, receiver: End, keep: int | None) -> None:
        """`keep` bytes still arrive, all of them if it is None."""
        self.to = flow.destination
        self.under_way = flow.under_way
        self.arrived = 0
        self.keep = keep
        self._receiver = receiver
        flow.receiver = self

    def connected(self) -> None:
        """Nobody hears that the connection stands."""

    def refused(self, error: int) -> None:
        """Nobody hears that it does not."""

    def take(self, data: bytes) -> None:
        """Pass on what may still arrive."""
        part = data if self.keep is None else data[: self.keep]
        if self.keep is not None:
            self.keep -= len(part)
        if part:
            self.arrived += len(part)
            self._receiver.take(part)

    def ended(self) -> None:
        """A machine that crashes closes nothing."""

    def broken(self) -> None:
        """It is on again, and knows nothing of the connection."""
        self._receiver.broken()

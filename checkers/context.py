"""What happened around the operations: faults, roles of nodes, takeovers and phases of the run, and words for them.

Nemeses, observer and controller write events of their own into the history (`History.context`). A checker asks
this module which fault an anomaly belongs to, who served what when, and whether the final reads mean anything.

Observer views are polled (about ten times a second): a change really happened up to `OBSERVER_LAG_NS` before the
view that shows it was recorded. Whoever proves something with views has to allow for that.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from checkers.events import NEVER, Event
from checkers.history import History

OBSERVER_LAG_NS = 1_000_000_000
"""A generous bound for how long a change of role may have gone unrecorded: ten polls."""

BEFORE = -NEVER
"""The time of what was so from the beginning: the observer starts before the clock of the run does."""

Range = tuple[int, int]
"""First and last slot, both included."""

_PLIGHT = {
    "kill": ("dead", "killed"),
    "terminate": ("dead", "terminated"),
    "power-loss": ("without power", "cut off from power"),
    "crash": ("on a machine that had crashed", "on a machine that crashed"),
    "kill-at": ("dead", "killed in the middle of its work"),
    "kill-child": ("without the child that was saving its data", "robbed of the child that was saving its data"),
    "disk": ("on a disk that refuses", "on a disk that refused"),
    "pause": ("paused", "paused"),
    "restart": ("restarting", "restarted"),
    "partition": ("cut off", "cut off"),
    "loss": ("losing packets", "made to lose packets"),
    "delay": ("far away", "far away"),
    "bandwidth": ("behind narrow links", "behind narrow links"),
    "reorder": ("behind links that reorder", "behind links that reordered"),
    "skew": ("under a wrong clock", "under a wrong clock"),
    "failover": ("failing over", "failed over"),
    "migrate": ("moving slots", "made to move slots"),
    "migrate-cancel": ("between two ends of open slots", "relieved of open slots"),
    "resize": ("part of a resize", "part of a resize"),
    "migrate-crash": ("dead in the middle of a migration", "killed in the middle of a migration"),
}
"""Kind of a fault: what a node is while it holds, and what had been done to it afterwards."""


def seconds(time_ns: int) -> str:
    """A time in words: seconds since the run began, two digits."""
    return f"{time_ns / 1e9:.2f} s"


def listed(names: Iterable[str]) -> str:
    """Names in words: `n1`, `n1 and n2`, `n1, n2 and n3`."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def keys_have_slots(history: History) -> bool:
    """Whether nodes know which of them serves a key: false where the header says that there are no slots."""
    return bool(history.header.get("slots", True))


def proxies(history: History) -> list[str]:
    """Names of the nodes that only pass on what servers answer."""
    groups: dict[str, list[str]] = history.header.get("groups") or {}
    return groups.get("proxies", [])


def in_cluster(history: History) -> bool:
    """Whether the nodes are in a cluster: each answers for its own slots, and sends clients elsewhere for others.

    Outside one, whoever is asked answers: a replica serves reads of everybody.
    """
    return history.header.get("topology", "cluster") in ("cluster", "endpoint-cluster")


@dataclass(frozen=True)
class FaultSpan:
    """One fault from the moment it was verified to hold until it was healed."""

    number: int
    kind: str
    nodes: tuple[str, ...]
    clients: tuple[int, ...]
    """Numbers of the clients that were on its side."""
    start_ns: int
    end_ns: int
    """`NEVER` when the history does not say that it was healed."""


@dataclass(frozen=True)
class View:
    """What a node said of itself, from `time_ns` until its next view."""

    time_ns: int
    node: str
    up: bool
    role: str | None
    primary: str | None
    """Whose replica it is."""
    epoch: int | None
    """Configuration epoch; of two nodes that claim a slot, the one with the greater epoch wins."""
    slots: tuple[Range, ...]

    def claims(self, slot: int) -> bool:
        """Whether the node holds itself for the primary of this slot."""
        return self.role == "primary" and any(first <= slot <= last for first, last in self.slots)


@dataclass(frozen=True)
class Handover:
    """A move of slots from one node to another that the nemesis asked for and saw done."""

    time_ns: int
    slots: tuple[Range, ...]
    source: str
    target: str


@dataclass(frozen=True)
class Timeline:
    """The context of one history. Times in nanoseconds since the run began."""

    faults: list[FaultSpan]
    """By start."""
    views: dict[str, list[View]]
    """By node, each in time order. The header's initial map comes first, at `BEFORE` and without an epoch."""
    handovers: list[Handover]
    """By time."""
    load: tuple[int, int]
    """When the clients started and stopped: the controller's phases, or else the operations themselves."""
    converged: bool
    """Whether all faults were healed, all replicas caught up and the map agreed before the final reads."""
    why_not: str | None
    """Why the run counts as not converged, in words; None if it converged."""
    settled: bool
    """Whether nothing was going to change any more: converged, or at rest but for a lasting dispute about the map."""
    observed: bool
    """Whether an observer recorded views at all."""
    owners_only: bool = True
    """Whether who answers a read is the primary of its slot; false outside a cluster."""

    @classmethod
    def of(cls, history: History) -> Timeline:
        """The timeline that the context events of a history describe."""
        phases = [
            (e.value["phase"], e.time or 0, e.value.get("reason")) for e in _events(history, "controller", "phase")
        ]
        converged, why_not = _convergence(phases)
        views = _views(history)
        return cls(
            faults=_faults(history),
            views=views,
            handovers=_handovers(history),
            load=_load(history, {name: time for name, time, _ in reversed(phases)}),
            converged=converged,
            why_not=why_not,
            settled=converged or any(name == "split-for-good" for name, _, _ in phases),
            observed=any(view.time_ns != BEFORE for known in views.values() for view in known),
            owners_only=in_cluster(history),
        )

    def fault(self, start_ns: int, end_ns: int) -> FaultSpan | None:
        """The fault that was active between two times (of several the one that began last), else the last before."""
        begun = [fault for fault in self.faults if fault.start_ns <= end_ns]
        active = [fault for fault in begun if fault.end_ns >= start_ns]
        if active:
            return active[-1]
        return max(begun, key=lambda fault: fault.end_ns, default=None)

    def fault_at(self, start_ns: int, end_ns: int) -> int | None:
        """Number of the fault that was active between two times, else of the last one before; None without any."""
        fault = self.fault(start_ns, end_ns)
        return None if fault is None else fault.number

    def describe(self, start_ns: int, end_ns: int) -> str:
        """The fault of `fault_at` in words, for the end of a sentence.

        `while n1 was cut off (fault 0, partition, since 3.90 s)`, `after n1 had been cut off (fault 0, partition,
        3.90 s to 8.91 s)` or `with no fault before it`.
        """
        fault = self.fault(start_ns, end_ns)
        if fault is None:
            return "with no fault before it"
        now, past = _PLIGHT.get(fault.kind, (f"under {fault.kind}", f"under {fault.kind}"))
        who = listed(fault.nodes) if fault.nodes else "the system"
        many = len(fault.nodes) > 1
        if fault.end_ns >= start_ns:
            words = f"while {who} {'were' if many else 'was'} {now}"
            return f"{words} (fault {fault.number}, {fault.kind}, since {seconds(fault.start_ns)})"
        span = f"{seconds(fault.start_ns)} to {seconds(fault.end_ns)}"
        return f"after {who} had been {past} (fault {fault.number}, {fault.kind}, {span})"

    def befell(self, node: str, time_ns: int, until_ns: int) -> FaultSpan | None:
        """The fault that held a node at a time, or the first that struck it afterwards and before `until_ns`."""
        struck = (fault for fault in self.faults if node in fault.nodes and fault.end_ns >= time_ns)
        return next((fault for fault in struck if fault.start_ns <= until_ns), None)

    def plight(self, fault: FaultSpan, time_ns: int) -> str:
        """What a fault meant for its nodes, seen from a time: `cut off since 3.90 s`, or `killed at 4.25 s` later."""
        now, past = _PLIGHT.get(fault.kind, (f"under {fault.kind}", f"hit by {fault.kind}"))
        return (
            f"{now} since {seconds(fault.start_ns)}"
            if fault.start_ns <= time_ns
            else (f"{past} at {seconds(fault.start_ns)}")
        )

    def view(self, node: str, time_ns: int) -> View | None:
        """The newest view of a node that had been recorded at a time."""
        known = self.views.get(node, [])
        position = bisect_right(known, time_ns, key=lambda view: view.time_ns)
        return known[position - 1] if position else None

    def role(self, node: str, time_ns: int) -> str | None:
        """`primary`, `replica`, `deposed primary` (it holds itself for one, but a successor is known) or None."""
        view = self.view(node, time_ns)
        if view is None or view.role != "primary":
            return None if view is None else view.role
        successor = self.successor(node, time_ns)
        return "deposed primary" if successor is not None and successor[1] <= time_ns else "primary"

    def successor(self, node: str, time_ns: int, slot: int | None = None) -> tuple[str, int, int | None] | None:
        """Who took over the slots that `node` claimed at a time, when that was recorded, and with which epoch.

        With `slot` it is the first other node that claims this slot with a greater epoch; without, the first that
        claims more than half of what `node` claimed. It may have been recorded before `time_ns`: a deposed primary
        goes on claiming its slots until it learns. None when nobody did.
        """
        mine = self.view(node, time_ns)
        if mine is None or mine.role != "primary":
            return None
        wanted = ((slot, slot),) if slot is not None else mine.slots
        needed = _overlap(wanted, wanted) // 2 + 1
        for claim in self.claims:
            newer = claim.epoch is None or mine.epoch is None or claim.epoch > mine.epoch
            if (
                claim.node != node
                and newer
                and claim.time_ns > mine.time_ns
                and _overlap(wanted, claim.slots) >= needed
            ):
                return claim.node, claim.time_ns, claim.epoch
        return None

    @cached_property
    def claims(self) -> list[View]:
        """All views of primaries with slots, by time."""
        found = [view for known in self.views.values() for view in known if view.role == "primary" and view.slots]
        return sorted(found, key=lambda view: view.time_ns)

    def acquired(self, node: str, slot: int) -> list[int]:
        """Times at which a node rightfully became the primary of a slot: a hand-over, or a claim with a new epoch.

        A node's own configuration epoch grows only when it is promoted or takes slots over, so a deposed primary
        that comes back with its old epoch acquires nothing.
        """
        times = [h.time_ns for h in self.handovers if h.target == node and _overlap(((slot, slot),), h.slots)]
        before: int | None = None
        for view in self.views.get(node, []):
            if view.claims(slot):
                if before is None or view.epoch is None or view.epoch > before:
                    times.append(view.time_ns)
                before = view.epoch if before is None or view.epoch is None else max(before, view.epoch)
        return sorted(times)


def _events(history: History, process: str, f: str | None = None) -> list[Event]:
    return [e for e in history.context if e.process == process and f in (None, e.f) and isinstance(e.value, dict)]


def _overlap(some: Iterable[Range], others: tuple[Range, ...]) -> int:
    """How many slots are in both."""
    return sum(max(0, min(a[1], b[1]) - max(a[0], b[0]) + 1) for a in some for b in others)


def _ranges(slots: Any) -> tuple[Range, ...]:
    return tuple((int(entry[0]), int(entry[1])) for entry in slots or ())


def _faults(history: History) -> list[FaultSpan]:
    begun: dict[int, FaultSpan] = {}
    for event in _events(history, "nemesis"):
        value, time = event.value, event.time or 0
        number = value.get("fault")
        if value.get("phase") == "inject":
            nodes, clients = tuple(value.get("nodes") or ()), tuple(value.get("clients") or ())
            begun[number] = FaultSpan(number, event.f, nodes, clients, time, NEVER)
        elif value.get("phase") == "heal" and number in begun:
            span = begun[number]
            begun[number] = FaultSpan(number, span.kind, span.nodes, span.clients, span.start_ns, time)
    return sorted(begun.values(), key=lambda fault: fault.start_ns)


def _views(history: History) -> dict[str, list[View]]:
    views = _initial_views(history.header)
    for event in _events(history, "observer", "view"):
        value = event.value
        known = views.setdefault(value["node"], [])
        # A node that is down says nothing new: it keeps the role in which it was last seen.
        last = known[-1] if known else None
        up = value.get("state", "up") == "up"
        silent = last is not None and value.get("role") is None
        known.append(
            View(
                time_ns=event.time or 0,
                node=value["node"],
                up=up,
                role=last.role if silent and last else value.get("role"),
                primary=last.primary if silent and last else value.get("primary"),
                epoch=last.epoch if silent and last else value.get("epoch"),
                slots=last.slots if silent and last else _ranges(value.get("slots")),
            )
        )
    return views


def _initial_views(header: dict[str, Any]) -> dict[str, list[View]]:
    slots: dict[str, list[Range]] = {}
    for first, last, owner in header.get("slots") or ():
        slots.setdefault(owner, []).append((first, last))
    views = {node: [View(BEFORE, node, True, "primary", None, None, tuple(owned))] for node, owned in slots.items()}
    for primary, replicas in (header.get("replicas") or {}).items():
        for replica in replicas:
            views[replica] = [View(BEFORE, replica, True, "replica", primary, None, ())]
    return views


def _handovers(history: History) -> list[Handover]:
    return [
        Handover(e.time or 0, _ranges(e.value.get("slots")), str(e.value.get("from")), str(e.value.get("to")))
        for e in _events(history, "nemesis")
        if e.value.get("phase") == "step" and e.value.get("step") == "handover"
    ]


CONVERGENCE = ("converged", "not-converged", "split-for-good")
"""The phases that say how waiting for convergence ended; in the last the nodes disagree about the map for good."""


def _convergence(phases: list[tuple[str, int, str | None]]) -> tuple[bool, str | None]:
    verdicts = [(name, reason) for name, _, reason in phases if name in CONVERGENCE]
    if not verdicts:
        return False, "the history does not say that the system converged before the final reads"
    name, reason = verdicts[-1]
    if name == "converged":
        return True, None
    return False, f"the system did not converge before the final reads: {reason or 'no reason was recorded'}"


def _load(history: History, phases: dict[str, int]) -> tuple[int, int]:
    """`phases` has the first time of each phase."""
    operations = history.operations
    run = ~operations.final
    ended = operations.end[run & (operations.end != NEVER)]
    first = int(operations.start[run].min()) if run.any() else 0
    last = max(int(ended.max()) if len(ended) else first, int(operations.start[run].max()) if run.any() else first)
    return phases.get("start", first), phases.get("stop", last)

"""Schedules of faults that nobody wrote: drawn from a stream, changed a little, and what situations they led to.

A *situation* is what a fault met or brought about: its kind on a node in some role while other faults held, a node
that went down or refused, a replica that took over meanwhile. Schedules that led to a new one are worth changing
further: that is what fuzzers call coverage (Zalewski's AFL), here of the cluster instead of the code.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from chaos.deploy.kinds import DEPLOYMENTS
from chaos.errors import BadInput
from chaos.plan import make_plan
from chaos.scenario import FaultSpec, Scenario, validated
from chaos.store import Executed
from checkers.history import History
from nemeses import FAULTS
from nemeses.fault import ExecutedFault
from nemeses.mixture import draw_one
from nemeses.stream import Stream

Schedule = tuple[FaultSpec, ...]
Situation = tuple[str, ...]
FIRST_MS = 300
"""No fault begins sooner: clients must have something to lose."""
MOST_FAULTS = 3


def possible_kinds(scenario: Scenario) -> list[str]:
    """The kinds of fault that this scenario's topology and deployment can have here, in the order of their table."""
    kinds = []
    for kind in FAULTS:
        try:
            alone = with_faults(scenario, (draw(scenario, [kind], Stream(0)) or ())[:1])
            DEPLOYMENTS[scenario.deploy].refuse_impossible(make_plan(alone, 0), None, None)
        except BadInput:
            continue
        if alone.nemesis:
            kinds.append(kind)
    return kinds


def with_faults(scenario: Scenario, faults: Sequence[FaultSpec]) -> Scenario:
    """The scenario with these faults instead of its own. Raises BadInput for what no run could do."""
    return validated(msgspec.structs.replace(scenario, nemesis=list(faults)))


def draw(scenario: Scenario, kinds: Sequence[str], stream: Stream) -> Schedule:
    """One to `MOST_FAULTS` faults of these kinds, at any time: they may well overlap."""
    count = 1 + stream.below(MOST_FAULTS)
    return in_order(fault for _ in range(count) if (fault := _fault(scenario, kinds, stream)) is not None)


def change(scenario: Scenario, kinds: Sequence[str], schedule: Schedule, stream: Stream) -> Schedule:
    """A schedule that differs in one thing: a fault more or less, or one that is earlier, later, longer, elsewhere."""
    faults = list(schedule)
    ways = ["add"] * (len(faults) < MOST_FAULTS) + ["drop"] * (len(faults) > 1) + ["move", "stretch", "replace"]
    way = stream.choice(ways)
    place = stream.below(len(faults))
    other = _fault(scenario, kinds, stream)
    if way == "drop":
        del faults[place]
    elif way == "add" and other is not None:
        faults.append(other)
    elif way == "replace" and other is not None:
        faults[place] = other
    elif way == "move":
        latest = max(FIRST_MS, scenario.duration_ms - 1_000)
        faults[place] = msgspec.structs.replace(faults[place], at_ms=stream.between(FIRST_MS, latest))
    else:
        longest = max(200, scenario.duration_ms - faults[place].at_ms)
        faults[place] = msgspec.structs.replace(faults[place], for_ms=stream.between(100, longest))
    return in_order(faults)


def in_order(faults: Iterable[FaultSpec]) -> Schedule:
    """By time."""
    return tuple(sorted(faults, key=lambda fault: (fault.at_ms, fault.fault)))


def _fault(scenario: Scenario, kinds: Sequence[str], stream: Stream) -> FaultSpec | None:
    end = scenario.duration_ms
    planned = draw_one(kinds, FIRST_MS, end, end, Stream(stream.bits()), 0)
    return None if planned is None else FaultSpec.of(planned)


def situations(history: History, executed: Executed) -> set[Situation]:
    """What the faults of a run met and brought about."""
    faults = [fault for fault in executed.faults if fault.injected_ns is not None]
    found: set[Situation] = set()
    for fault in faults:
        others = _active(faults, fault.injected_ns or 0, fault)
        roles = sorted({role.partition(" ")[0] for role in fault.roles.values()})
        found.add(("struck", fault.kind, *roles, "during", *others))
    last: dict[str, tuple[str, str]] = {}
    for event in history.context:
        if event.process == "observer" and event.f == "view":
            view = event.value
            now = (str(view.get("role") or view["state"]), str(view.get("cluster")))
            before = last.get(view["node"])
            last[view["node"]] = now
            if before is not None and before != now:
                found.add(("became", before[0], *now, "during", *_active(faults, event.time or 0)))
    return found


def _active(faults: Sequence[ExecutedFault], time_ns: int, but: ExecutedFault | None = None) -> list[str]:
    return sorted(
        fault.kind
        for fault in faults
        if fault is not but and (fault.injected_ns or 0) <= time_ns <= (fault.healed_ns or time_ns)
    )

"""The causal story of a run, in order: what broke, who noticed, who took over, what was lost, how it ended.

Everything comes from the history's context (nemesis, observer, controller) and from the findings; nothing is
inferred that one of them does not say.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from chaos.report.divergence import Divergence
from chaos.report.series import rows_by_index, views
from chaos.report.words import by_kind, counted, counts, enumeration, kind, seconds, text
from chaos.result import Result
from checkers.context import in_cluster
from checkers.finding import Anomaly
from checkers.history import NEVER, OK, Event, History, Operations
from nemeses.call_rules import ordinal
from nemeses.fault import ExecutedFault

Moment = tuple[int, str]
"""A time in nanoseconds since the run began, and what happened then."""

_INJECTED = {
    "kill": "{nodes} was killed",
    "crash": "the machine of {nodes} crashed",
    "kill-at": "{nodes} was killed",
    "terminate": "{nodes} was told to end (SIGTERM)",
    "power-loss": "{nodes} lost its power, and what was not synced",
    "kill-child": "the child that saved the data of {nodes} was killed",
    "disk": "the disk of {nodes} began to refuse",
    "pause": "{nodes} was paused",
    "restart": "{nodes} was restarted",
    "failover": "a failover was asked for at {nodes}",
    "migrate": "slots of {nodes} began to move",
    "migrate-crash": "slots of {nodes} began to move, to be interrupted by a crash",
    "migrate-cancel": "slots of {nodes} were opened for a move",
    "resize": "{nodes} joined or left those among which the keys are shared",
    "loss": "{nodes} began to lose packets",
    "reorder": "connections to and from {nodes} began to overtake each other",
    "isolate": "{nodes} was cut off",
}
_HEALED = {
    "kill": "{nodes} was started again",
    "terminate": "{nodes} was started again",
    "power-loss": "{nodes} was started again",
    "crash": "the machine of {nodes} is on again",
    "reorder": "connections to {nodes} are in order again",
    "kill-at": "{nodes} was started again",
    "kill-child": "{nodes} may save its data again",
    "disk": "the disk of {nodes} works again",
    "pause": "{nodes} was resumed",
    "restart": "{nodes} is back",
    "failover": "the failover was over",
    "migrate": "the slots had moved",
    "migrate-crash": "{nodes} was started again",
    "migrate-cancel": "the move was called off, and the slots were closed",
    "resize": "the resize was over",
    "partition": "the links of {nodes} were healed",
}
"""Sentences by kind of fault (`isolate` is a shape of partition); every other kind is told by its name."""

_PHASES = {
    "start": "the load began",
    "stop": "the load ended",
    "healed": "every fault was healed",
    "converged": "the nodes agreed about the slots and every replica had caught up",
    "not-converged": "the nodes did not converge",
    "split-for-good": "the nodes disagree for good about who serves what",
    "closed": "the final reads were done",
}
_AT_REST = "the servers had come to rest and every replica had caught up"
"""The same of servers outside a cluster."""
_LETTERS = 240
"""Of an anomaly's explanation: the story points to it, report and summary tell it whole."""

_STOPPING = frozenset({"kill", "terminate", "pause", "restart", "migrate-crash", "power-loss", "crash", "kill-at"})
"""Faults during which a node that does not answer needs no sentence of its own."""

_STEPS = {
    "open": "{slots} opened for a move from {from} to {to}",
    "handover": "{slots} handed over from {from} to {to}",
    "half-told": "{from} was told that {to} owns {slots}, and {to} was not",
    "told": "the clients were told to share the keys among {to} instead of {from}",
    "promoted": "{to} was promoted in place of {from}",
    "crash": "{victim} was killed with {moved} of {of} keys moved",
}
"""Sentences by step; every other step is told by its name."""

_UNTOLD_STEPS = frozenset({"cut"})
"""Steps that the event `inject` of the same moment tells already."""

_READS = frozenset({"read", "mget", "get", "dequeue"})


def story(
    result: Result, history: History, executed: Sequence[ExecutedFault], diverged: Sequence[Divergence] = ()
) -> list[str]:
    """One line per moment that mattered, in time order: `    4.213 s  n4 took over slots 0-5460 from n1 (epoch 7)`.

    `diverged` is what the servers' logs tell of promotions, where there are logs.
    """
    moments = [
        *_phases(history),
        *_faults(history, executed),
        *_changes(history, diverged),
        *_last_acknowledged(history),
        *_losses(result, history.operations),
        *_first_anomalies(result, history.operations),
    ]
    moments.sort(key=lambda moment: moment[0])
    return [f"{seconds(time):>11}  {what}" for time, what in moments]


def slots(ranges: Iterable[Sequence[int]]) -> str:
    """`slots 0-5460`, `slot 7`; only their number where there are more than three ranges."""
    known = [(part[0], part[-1]) for part in ranges]
    if len(known) > 3:
        return f"{sum(last - first + 1 for first, last in known):,} slots in {len(known):,} ranges"
    shown = enumeration(str(first) if first == last else f"{first}-{last}" for first, last in known)
    single = len(known) == 1 and known[0][0] == known[0][1]
    return f"{'slot' if single else 'slots'} {shown}" if shown else "no slots"


def _told(event: Event) -> dict[str, Any]:
    return event.value if isinstance(event.value, dict) else {}


def _phases(history: History) -> Iterator[Moment]:
    for event in history.context:
        if event.process != "controller":
            continue
        told, time = _told(event), event.time or 0
        if event.f == "stall":
            yield time, f"the machine itself had stood still for {told.get('ms')} ms"
        elif event.f == "phase" and told.get("phase") in _PHASES:
            why = f": {told['reason']}" if told.get("reason") else ""
            words = _PHASES if in_cluster(history) else _PHASES | {"converged": _AT_REST}
            yield time, words[told["phase"]] + why


def _faults(history: History, executed: Sequence[ExecutedFault]) -> Iterator[Moment]:
    failed = set()
    steps: dict[tuple[Any, ...], list[Event]] = {}
    for event in history.context:
        if event.process != "nemesis":
            continue
        told, time = _told(event), event.time or 0
        label = f"fault {told['fault']}: " if "fault" in told else ""
        match told.get("phase"):
            case "inject":
                yield time, label + _injected(event.f, told)
            case "heal":
                yield time, label + _HEALED.get(event.f, f"{event.f} of {{nodes}} was undone").format(nodes=_who(told))
            case "failed":
                failed.add(told.get("fault"))
                during = f" ({told['during']})" if told.get("during") else ""
                yield time, f"{label}{event.f} of {_who(told)} failed{during}: {text(told.get('error') or told)}"
            case "step" if told.get("step") not in _UNTOLD_STEPS:
                same = (told.get("fault"), str(told.get("step")), told.get("from"), told.get("to"))
                steps.setdefault(same, []).append(event)
    for (number, name, *_), events in steps.items():
        yield events[0].time or 0, f"fault {number}: {_steps(name, events)}"
    for fault in executed:
        if fault.error is not None and fault.number not in failed:
            yield fault.injected_ns or 0, f"fault {fault.number}: {fault.kind} of {fault.target} failed: {fault.error}"


def _injected(name: str, told: dict[str, Any]) -> str:
    shape = told.get("shape")
    plain = f"{name} ({shape}) took hold on {{nodes}}" if shape else f"{name} took hold on {{nodes}}"
    sentence = _INJECTED.get(str(shape or name), plain).format(nodes=_who(told, roles=True)) + _exactly(told)
    clients = told.get("clients") or []
    if isinstance(clients, list) and clients:
        noun = "client" if len(clients) == 1 else "clients"
        sentence += f", with {noun} {enumeration(map(str, clients))} on the same side"
    return sentence


def _exactly(told: dict[str, Any]) -> str:
    """Where a fault knows more of its moment: `before its 3rd fsync, of appendonly.aof`, or the bytes under way."""
    evidence = told.get("evidence")
    if not isinstance(evidence, dict):
        return ""
    if isinstance(died := evidence.get("died"), dict):
        to = "to" if died.get("call") == "send" else "of"
        return f" {died.get('moment')} its {ordinal(died['number'])} {died['call']}, {to} {died['of']}"
    if isinstance(under_way := evidence.get("under_way_bytes"), dict):
        total = sum(under_way.values())
        return f", with {total:,} bytes under way to {enumeration(sorted(under_way))}" if total else ""
    if isinstance(refused := evidence.get("refused"), dict) and refused:
        some = next(iter(refused.values()))
        share = f"{told['calls']} times" if told.get("calls") else "every time"
        return f": {told.get('error')} for {some['call']}, {share}, as of {some['of']}"
    return ""


def _who(told: dict[str, Any], roles: bool = False) -> str:
    known = told.get("roles") or {} if roles else {}
    return (
        enumeration(
            f"{node} ({known[node]})" if node in known else str(node)
            for node in told.get("nodes") or told.get("target") or []
        )
        or "nobody"
    )


def _steps(name: str, events: list[Event]) -> str:
    """Steps of one name are told once: a slot-by-slot migration has thousands."""
    told = _told(events[0])
    moved = [part for event in events for part in _told(event).get("slots") or []]
    fields = {**told, "slots": slots(moved)}
    template = _STEPS.get(name, f"step {name}")
    try:
        sentence = template.format_map(fields)
    except KeyError:  # a history of another origin, whose steps have other fields
        sentence = f"step {name}"
    return (
        sentence if len(events) == 1 else f"{sentence} in {len(events):,} steps until {seconds(events[-1].time or 0)}"
    )


def _changes(history: History, diverged: Sequence[Divergence]) -> Iterator[Moment]:
    """Who took over, who stepped down, who refused to serve, who fell silent: each node in its own words."""
    before: dict[str, dict[str, Any]] = {}
    promotions = _Promotions(diverged)
    owners = _initial_owners(history)
    rising: set[str] = set()  # replicas, until they own slots
    for event in views(history):
        now, time = _told(event), event.time or 0
        node = str(now["node"])
        previous = before.get(node, now)
        if previous.get("state") != now.get("state"):
            if now["state"] == "down" and not _expected_down(history, node, time):
                yield time, f"{node} did not answer any more"
            if now["state"] == "down":
                before[node] = {**previous, "state": "down"}
                continue
        if now.get("role") == "replica":
            if previous.get("role") == "primary":
                follows = f" and follows {now['primary']}" if now.get("primary") else ""
                yield time, f"{node} stepped down{follows}{promotions.discarded(node)}"
            rising.add(node)
            if _taken(owners, node):  # else whoever takes over is still to be seen, and took it from this node
                owners.pop(node, None)
        elif now.get("slots"):
            if node in rising:
                rising.discard(node)
                losers = [name for name, owned in owners.items() if name != node and _overlap(owned, now["slots"])]
                lost = f" from {enumeration(losers)}" if losers else ""
                for loser in losers:
                    del owners[loser]
                what = f" {slots(now['slots'])}" if in_cluster(history) else ""
                epoch = "" if now.get("epoch") is None else f" (epoch {now['epoch']})"
                yield time, f"{node} took over{what}{lost}{epoch}{promotions.reached(node)}"
            owners[node] = now["slots"]
        if now.get("role") == previous.get("role") == "primary" and previous.get("cluster") != now.get("cluster"):
            yield (
                time,
                f"{node} "
                + ("saw the cluster as failed and stopped serving" if now.get("cluster") == "fail" else "serves again"),
            )
        before[node] = now


class _Promotions:
    """What the logs tell of promotions, in the order in which they are seen."""

    def __init__(self, diverged: Sequence[Divergence]) -> None:
        self._coming, self._seen = list(diverged), list[Divergence]()

    def reached(self, node: str) -> str:
        """How far the replication of a node that is promoted had come."""
        for promotion in self._coming:
            if promotion.node == node:
                self._coming.remove(promotion)
                self._seen.append(promotion)
                return f", with the replication up to offset {promotion.offset - 1:,}"
        return ""

    def discarded(self, node: str) -> str:
        """How much a node had that the latest to be promoted did not, and so gives up by following it."""
        for promotion in reversed(self._seen):
            if more := promotion.beyond.get(node):
                return f", discarding {more:,} bytes of writes that {promotion.node} never had"
        return ""


def _taken(owners: dict[str, list[list[int]]], node: str) -> bool:
    return any(_overlap(owned, owners.get(node, [])) for other, owned in owners.items() if other != node)


def _initial_owners(history: History) -> dict[str, list[list[int]]]:
    owners: dict[str, list[list[int]]] = {}
    for first, last, node in history.header.get("slots", []):
        owners.setdefault(node, []).append([first, last])
    return owners


def _overlap(some: Sequence[Sequence[int]], others: Sequence[Sequence[int]]) -> bool:
    return any(a[0] <= b[-1] and b[0] <= a[-1] for a in some for b in others)


def _strikes(history: History) -> Iterator[tuple[str, dict[str, Any], int, int]]:
    """Kind, what was told, begin and end (`NEVER` when not healed) of each fault that took hold."""
    events = [event for event in history.context if event.process == "nemesis"]
    for event in events:
        told = _told(event)
        if told.get("phase") == "inject":
            ends = [
                other.time or 0
                for other in events
                if _told(other).get("phase") == "heal" and _told(other).get("fault") == told.get("fault")
            ]
            yield event.f, told, event.time or 0, min(ends, default=NEVER)


def _expected_down(history: History, node: str, time: int) -> bool:
    return any(
        name in _STOPPING and node in told.get("nodes", []) and start <= time <= end
        for name, told, start, end in _strikes(history)
    )


def _last_acknowledged(history: History) -> Iterator[Moment]:
    """What a primary behind a partition still acknowledged after somebody else had been cut off from it."""
    operations = history.operations
    for name, told, start, end in _strikes(history):
        if name != "partition":
            continue
        for node in told.get("nodes", []):
            if not str((told.get("roles") or {}).get(node, "")).startswith("primary") or node not in operations.nodes:
                continue
            inside = (operations.end > start) & (operations.end < end) & (operations.type == OK)
            inside &= operations.node == operations.nodes.index(node)
            rows = [row for row in np.flatnonzero(inside).tolist() if _is_write(operations, row)]
            if rows:
                last = max(rows, key=lambda row: int(operations.end[row]))
                what = f"{node}, cut off, acknowledged its last write ({describe(operations, last)})"
                yield int(operations.end[last]), f"{what}, number {len(rows):,} since the cut"


def _losses(result: Result, operations: Operations) -> Iterator[Moment]:
    """Of each node that acknowledged what was lost: its last write before that, and the last that was lost."""
    durability = result.findings.get("durability")
    windows = durability.metrics.get("loss_windows", {}) if durability else {}
    for node, window in windows.items():
        if node not in operations.nodes or window["writes"] < 2:
            continue
        first, last = round(window["first_ms"] * 1e6), round(window["last_ms"] * 1e6)
        kept = (operations.node == operations.nodes.index(node)) & (operations.type == OK) & (operations.end < first)
        rows = [row for row in np.flatnonzero(kept).tolist() if _is_write(operations, row)]
        if rows:
            before = max(rows, key=lambda row: int(operations.end[row]))
            what = f"{node} acknowledged {describe(operations, before)}, its last write before those that are lost"
            yield int(operations.end[before]), what
        yield last, f"{node} acknowledged the last of {window['writes']:,} writes that are lost"


def _is_write(operations: Operations, row: int) -> bool:
    f = operations.functions[operations.f[row]]
    if f == "txn":
        return any(part[0] != "r" for part in operations.value[row] or [])
    return f not in _READS


def describe(operations: Operations, row: int) -> str:
    """An operation in short: `write 318 of k7`."""
    key = operations.key_name(row)
    value = operations.value[row]
    shown = operations.functions[operations.f[row]] + ("" if value is None else f" {text(value, 60)}")
    return shown if key is None else f"{shown} of {key}"


def _first_anomalies(result: Result, operations: Operations) -> Iterator[Moment]:
    """The first of each kind, at the time of its most important operation."""
    rows = rows_by_index(operations, (index for anomaly in result.anomalies() for index in anomaly.operations[:1]))

    def moment(anomaly: Anomaly) -> int:
        row = rows.get(anomaly.operations[0]) if anomaly.operations else None
        if row is None:
            return NEVER
        end = int(operations.end[row])
        return int(operations.start[row]) if end == NEVER else end

    total = counts(result)
    for name, anomalies in by_kind(result).items():
        if not anomalies:
            continue
        first = min(anomalies, key=moment)
        if (time := moment(first)) != NEVER:
            order = "first" if total[name] == len(anomalies) else "an early one"
            head = f"the only {kind(name).one}" if total[name] == 1 else f"{order} of {counted(name, total[name])}"
            yield time, f"{head}: {textwrap.shorten(first.explanation, _LETTERS, placeholder=' ...')}"

"""The causal story of a run, in order: what broke, who noticed, who took over, what was lost, how it ended.

Everything comes from the history's context (nemesis, observer, controller) and from the findings; nothing is
inferred that one of them does not say.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from chaos.report.divergence import Divergence
from chaos.report.fault_words import healed, injected, slots, steps, told_by, who
from chaos.report.series import rows_by_index, views
from chaos.report.words import by_kind, counted, counts, enumeration, kind, seconds, text
from chaos.result import Result
from checkers.context import in_cluster
from checkers.events import NEVER, OK, Event
from checkers.finding import Anomaly
from checkers.history import History, Operations
from nemeses.fault import ExecutedFault

Moment = tuple[int, str]
"""A time in nanoseconds since the run began, and what happened then."""

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


def _phases(history: History) -> Iterator[Moment]:
    for event in history.context:
        if event.process != "controller":
            continue
        told, time = told_by(event), event.time or 0
        if event.f == "stall":
            yield time, f"the machine itself had stood still for {told.get('ms')} ms"
        elif event.f == "phase" and told.get("phase") in _PHASES:
            why = f": {told['reason']}" if told.get("reason") else ""
            words = _PHASES if in_cluster(history) else _PHASES | {"converged": _AT_REST}
            yield time, words[told["phase"]] + why


def _faults(history: History, executed: Sequence[ExecutedFault]) -> Iterator[Moment]:
    failed = set()
    taken: dict[tuple[Any, ...], list[Event]] = {}
    for event in history.context:
        if event.process != "nemesis":
            continue
        told, time = told_by(event), event.time or 0
        label = f"fault {told['fault']}: " if "fault" in told else ""
        match told.get("phase"):
            case "inject":
                yield time, label + injected(event.f, told)
            case "heal":
                yield time, label + healed(event.f, told)
            case "failed":
                failed.add(told.get("fault"))
                during = f" ({told['during']})" if told.get("during") else ""
                yield time, f"{label}{event.f} of {who(told)} failed{during}: {text(told.get('error') or told)}"
            case "step" if told.get("step") not in _UNTOLD_STEPS:
                same = (told.get("fault"), str(told.get("step")), told.get("from"), told.get("to"))
                taken.setdefault(same, []).append(event)
    for (number, name, *_), events in taken.items():
        yield events[0].time or 0, f"fault {number}: {steps(name, events)}"
    for fault in executed:
        if fault.error is not None and fault.number not in failed:
            yield fault.injected_ns or 0, f"fault {fault.number}: {fault.kind} of {fault.target} failed: {fault.error}"


def _changes(history: History, diverged: Sequence[Divergence]) -> Iterator[Moment]:
    """Who took over, who stepped down, who refused to serve, who fell silent: each node in its own words."""
    before: dict[str, dict[str, Any]] = {}
    promotions = _Promotions(diverged)
    owners = _initial_owners(history)
    rising: set[str] = set()  # replicas, until they own slots
    for event in views(history):
        now, time = told_by(event), event.time or 0
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
        told = told_by(event)
        if told.get("phase") == "inject":
            ends = [
                other.time or 0
                for other in events
                if told_by(other).get("phase") == "heal" and told_by(other).get("fault") == told.get("fault")
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

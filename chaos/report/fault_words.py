"""What a fault did, in words: how it took hold, how it went on, how it ended, and what it left.

Kinds without a sentence here, as those of other packages, are told by their name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from chaos.report.words import enumeration, seconds
from checkers.events import Event
from nemeses.call_rules import ordinal

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

_STEPS = {
    "open": "{slots} opened for a move from {from} to {to}",
    "handover": "{slots} handed over from {from} to {to}",
    "half-told": "{from} was told that {to} owns {slots}, and {to} was not",
    "told": "the clients were told to share the keys among {to} instead of {from}",
    "promoted": "{to} was promoted in place of {from}",
    "crash": "{victim} was killed with {moved} of {of} keys moved",
}
"""Sentences by step; every other step is told by its name."""


def slots(ranges: Iterable[Sequence[int]]) -> str:
    """`slots 0-5460`, `slot 7`; only their number where there are more than three ranges."""
    known = [(part[0], part[-1]) for part in ranges]
    if len(known) > 3:
        return f"{sum(last - first + 1 for first, last in known):,} slots in {len(known):,} ranges"
    shown = enumeration(str(first) if first == last else f"{first}-{last}" for first, last in known)
    single = len(known) == 1 and known[0][0] == known[0][1]
    return f"{'slot' if single else 'slots'} {shown}" if shown else "no slots"


def _mapping(told: Any) -> dict[str, Any]:
    return told if isinstance(told, dict) else {}  # a history of another origin has other fields


def told_by(event: Event) -> dict[str, Any]:
    """The fields of an event that is no operation; none where it has another value."""
    return _mapping(event.value)


def injected(name: str, told: dict[str, Any]) -> str:
    """How a fault of kind `name` took hold, from what its event `inject` tells."""
    shape = told.get("shape")
    plain = f"{name} ({shape}) took hold on {{nodes}}" if shape else f"{name} took hold on {{nodes}}"
    sentence = _INJECTED.get(str(shape or name), plain).format(nodes=who(told, roles=True)) + _exactly(told)
    clients = told.get("clients") or []
    if isinstance(clients, list) and clients:
        noun = "client" if len(clients) == 1 else "clients"
        sentence += f", with {noun} {enumeration(map(str, clients))} on the same side"
    return sentence


def _exactly(told: dict[str, Any]) -> str:
    """Where a fault knows more of its moment: `before its 3rd fsync, of appendonly.aof`, or the bytes under way."""
    evidence = _mapping(told.get("evidence"))
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


def who(told: dict[str, Any], roles: bool = False) -> str:
    """The nodes that a fault struck, with what each was then if `roles`; `nobody` where it tells of none."""
    known = told.get("roles") or {} if roles else {}
    return (
        enumeration(
            f"{node} ({known[node]})" if node in known else str(node)
            for node in told.get("nodes") or told.get("target") or []
        )
        or "nobody"
    )


def healed(name: str, told: dict[str, Any]) -> str:
    """How a fault of kind `name` ended, and what it left, from what its event `heal` tells."""
    return _HEALED.get(name, f"{name} of {{nodes}} was undone").format(nodes=who(told)) + _left_open(told)


def _left_open(told: dict[str, Any]) -> str:
    """The slots that a migration left open: a replica keeps them so until its primary speaks of the slot again."""
    evidence, left = _mapping(told.get("evidence")), ""
    for name, nodes in (("open", "{}"), ("open_on_replicas", "the replica {}")):
        for node, states in _mapping(evidence.get(name)).items():
            open_ = sorted({int(slot) for state in _mapping(states).values() for slot in state})
            if open_:
                left += f"; {slots([slot] for slot in open_)} still open on {nodes.format(node)}"
    return left


def steps(name: str, events: list[Event]) -> str:
    """Steps of one name are told once: a slot-by-slot migration has thousands."""
    told = told_by(events[0])
    moved = [part for event in events for part in told_by(event).get("slots") or []]
    fields = {**told, "slots": slots(moved)}
    template = _STEPS.get(name, f"step {name}")
    try:
        sentence = template.format_map(fields)
    except KeyError:  # a history of another origin, whose steps have other fields
        sentence = f"step {name}"
    return (
        sentence if len(events) == 1 else f"{sentence} in {len(events):,} steps until {seconds(events[-1].time or 0)}"
    )

"""One anomaly of each kind, planted into the events of a healthy run: what a checker must then find, and nothing else.

A plant changes as little as it can: what one reply said, which node it came from, what a node believed at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from checkers.history import Event

OWNER = 1_000_000

Plant = Callable[[list[Event]], None]


def read_events(path: Path) -> tuple[dict[str, Any], list[Event]]:
    """Header and events of a history file."""
    header, *lines = path.read_bytes().splitlines()
    return msgspec.json.decode(header), [msgspec.json.decode(line, type=Event) for line in lines]


def answered(events: list[Event], f: str, final: bool = False) -> Iterator[tuple[Event, Event]]:
    """Invocation and completion of the answered operations of a function; the final reads are those from owners."""
    open_: dict[Any, Event] = {}
    for event in sorted(events, key=lambda event: event.time or 0):
        if event.type == "invoke":
            open_[event.process] = event
        elif isinstance(event.process, int) and event.process in open_:
            invoke = open_.pop(event.process)
            mine = event.process == OWNER if final else event.process < OWNER
            if event.type == "ok" and event.f == f and mine and invoke.via is None and not event.asking:
                yield invoke, event


def written_to(events: list[Event], key: str | None) -> list[tuple[Event, Event]]:
    """The answered writes to a register, by start."""
    return [pair for pair in answered(events, "write") if pair[0].key == key]


def _final_register(events: list[Event]) -> Event:
    """The final read of the register with the most writes."""
    finals = {e.key: e for _, e in answered(events, "read", True) if type(e.value) is int and written_to(events, e.key)}
    return finals[max(finals, key=lambda key: len(written_to(events, key)))]


def _final_list(events: list[Event]) -> Event:
    finals = [e for _, e in answered(events, "txn", True) if e.value[0][2]]
    return max(finals, key=lambda event: len(event.value[0][2]))


def lost_element(events: list[Event]) -> None:
    final = max((e for _, e in answered(events, "read", True) if isinstance(e.value, list)), key=lambda e: len(e.value))
    _everywhere(events, final, final.value[:-1])


def lost_register(events: list[Event]) -> None:
    final = _final_register(events)
    _everywhere(events, final, written_to(events, final.key)[0][0].value)


def duplicate(events: list[Event]) -> None:
    final = _final_list(events)
    key, elements = final.value[0][1:]
    _everywhere(events, final, [["r", key, [*elements, elements[0]]]])


def phantom(events: list[Event]) -> None:
    _everywhere(events, _final_register(events), 987_654_321_987)


def failed_write_visible(events: list[Event]) -> None:
    final = _final_register(events)
    written = next(done for invoke, done in written_to(events, final.key) if invoke.value == final.value)
    written.type, written.error = "fail", "OOM command not allowed when used memory > 'maxmemory'."


def replica_divergence(events: list[Event]) -> None:
    final = _final_register(events)
    _completion(events, final.key, OWNER + 1).value = None


def torn(events: list[Event]) -> None:
    first, last = min(_groups(events), key=len), max(_groups(events), key=len)
    assert first != last
    read = next(done for _, done in answered(events, "mget") if done.key == last[0] and None not in done.value.values())
    other = next(done for _, done in answered(events, "mset") if done.key == last[0] and done.value != read.value)
    name = next(iter(read.value))
    read.value = {**read.value, name: other.value[name]}


def _groups(events: list[Event]) -> list[tuple[Any, ...]]:
    """For each group its tag and its msets' values."""
    groups: dict[Any, list[Any]] = {None: []}
    for _, done in answered(events, "mset"):
        groups.setdefault(done.key, []).append(done.value)
    return [(key, *values) for key, values in groups.items()]


def cross_slot(events: list[Event]) -> None:
    end = max(event.time or 0 for event in events)
    value = {"{x0}:a": 1, "{x1}:a": 1}
    for time, kind in ((end + 1, "invoke"), (end + 2, "ok")):
        via = "cross-slot" if kind == "invoke" else None
        events.append(Event(kind, "mset", 999_999, time=time, key="{x0}", value=value, node="n1", via=via))


def split(events: list[Event]) -> None:
    key = max({e.key for _, e in answered(events, "write")}, key=lambda key: len(written_to(events, key)))
    writes = [done for _, done in written_to(events, key)]
    middle = writes[len(writes) // 2]
    middle.node = "n1" if middle.node != "n1" else "n2"


def stranded(events: list[Event]) -> None:
    final = _final_register(events)
    for event in events:
        if event.key == final.key and event.process is not None and _walks(event) and event.type == "ok":
            event.value = None


def loop(events: list[Event]) -> None:
    final = _final_register(events)
    walk = next(e for e in events if e.key == final.key and _walks(e) and e.type == "ok")
    walk.type, walk.value, walk.node, walk.error = "fail", None, None, "redirect-loop: n1 -> n2 -> n1"


def disagreement(events: list[Event]) -> None:
    belief = next(e for e in events if e.f == "map" and e.value["node"] != e.value["slots"][0][2])
    first, last, owner = belief.value["slots"][0]
    others = [entry[2] for entry in belief.value["slots"] if entry[2] != owner]
    belief.value = {**belief.value, "slots": [[first, last, others[0]], *belief.value["slots"][1:]]}


def uncovered(events: list[Event]) -> None:
    for event in events:
        if event.f == "map":
            first, last, owner = sorted(event.value["slots"])[0]
            event.value = {**event.value, "slots": [[first + 1, last, owner], *sorted(event.value["slots"])[1:]]}


def stale(events: list[Event]) -> None:
    final = _final_register(events)
    reads = [done for _, done in answered(events, "read") if done.key == final.key]
    reads[-1].value = written_to(events, final.key)[0][0].value


def _walks(event: Event) -> bool:
    return isinstance(event.process, int) and event.process >= OWNER + 100


def _completion(events: list[Event], key: str | None, process: int) -> Event:
    return next(e for e in events if e.key == key and e.process == process and e.type == "ok")


def _everywhere(events: list[Event], final: Event, value: Any) -> None:
    """Change what all final reads of an object returned, so that replicas and walks tell the same story."""
    for event in events:
        if event.final and event.type == "ok" and event.key == final.key:
            event.value = value


PLANTS: dict[str, tuple[str, str, Plant]] = {
    "lost element": ("durability", "lost-write", lost_element),
    "lost register": ("durability", "lost-write", lost_register),
    "duplicate": ("durability", "duplicate-write", duplicate),
    "phantom": ("durability", "phantom-value", phantom),
    "failed write visible": ("durability", "failed-write-visible", failed_write_visible),
    "replica divergence": ("durability", "replica-divergence", replica_divergence),
    "torn": ("multikey", "torn-read", torn),
    "cross-slot": ("multikey", "cross-slot-accepted", cross_slot),
    "split": ("slots", "split-ownership", split),
    "stranded": ("slots", "stranded-key", stranded),
    "loop": ("slots", "redirect-loop", loop),
    "disagreement": ("slots", "map-disagreement", disagreement),
    "uncovered": ("slots", "uncovered-slot", uncovered),
    "stale": ("staleness", "stale-read", stale),
    "stale, seen by linearizability": ("linearizability", "non-linearizable", stale),
}
"""By name: the checker that must find it, the kind it must give, and how it is planted."""

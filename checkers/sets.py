"""What became of each element of a set that nothing is removed from: stable, lost, or missed for a while.

An element is *known* to be in the set from the moment its addition was acknowledged or the first read that saw it
returned, whichever was earlier. A read that began later and misses it contradicts that. Whether the element came back
tells `stale-element` from `lost-element`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from checkers.context import Timeline, seconds
from checkers.elements import Elements, elements_of
from checkers.events import FAIL, NEVER, OK
from checkers.finding import MOST_LISTED, Anomaly, Collector, Finding
from checkers.history import History, Operations
from checkers.linearizability import name_key
from checkers.models import freeze, shown
from checkers.zones import SECOND_HAND, ways

CHECKER = "sets"


@dataclass
class Life:
    """What the reads of a set showed of one element. Times in nanoseconds since the run began."""

    element: Any
    added: int | None
    """Row of the addition that did not fail; None when there was none."""
    known_ns: int = NEVER
    proof: int = -1
    """Row of the operation that made it known."""
    seen: list[int] = field(default_factory=list)
    """Rows of the reads that saw it, by start."""
    missed: list[int] = field(default_factory=list)
    """Rows of the reads that began after it was known and did not see it, by start."""

    def outcome(self, operations: Operations) -> str:
        """`unread`, `stable`, `stale` (missed, and seen by a read that may have come later) or `lost`."""
        if not self.missed:
            return "stable" if self.seen else "unread"
        last = int(operations.start[self.missed[-1]])
        return "stale" if any(operations.end[row] >= last for row in self.seen) else "lost"


def check_sets(history: History) -> Finding:
    """Follow every element of every set through the reads.

    Kinds: `lost-element`, `stale-element`, and `phantom-element` (read although nobody added it, its addition failed,
    or before it began). Reads that did not ask the owner take no part. `metrics["outcomes"]` counts the elements by
    outcome, and `metrics["elements"]` says of the first ones when each was first and last seen.
    """
    found, timeline = Collector(CHECKER), Timeline.of(history)
    outcomes = dict.fromkeys(("stable", "stale", "lost", "unread"), 0)
    described: list[dict[str, Any]] = []
    for elements in elements_of(history.operations):
        if elements.listed or _has_more(history, elements.key):
            continue
        for life in lives_of(history.operations, elements):
            if life.proof < 0:
                continue
            outcome = life.outcome(history.operations)
            outcomes[outcome] += 1
            if len(described) < MOST_LISTED:
                described.append(_described(history.operations, elements.key, life, outcome))
            for kind, words, rows in _wrong(history.operations, life, outcome):
                if found.wants(kind):
                    found.add(_anomaly(history.operations, timeline, elements.key, kind, words, rows))
                else:
                    found.count(kind)
    metrics = {"checked": sum(outcomes.values()), "outcomes": outcomes, "elements": described}
    return found.finding(metrics)


def _has_more(history: History, key: str) -> bool:
    """Whether the set has operations that this checker knows nothing of, such as one that removes."""
    operations = history.operations
    used = set(operations.f[history.groups[key]].tolist())
    return not used <= {operations.code("add"), operations.code("read")}


def lives_of(operations: Operations, elements: Elements) -> list[Life]:
    """The life of each element that was added or read, in order of its first addition."""
    lives: dict[Any, Life] = {}
    for element, row in elements.added:
        if operations.type[row] != FAIL:
            life = lives.setdefault(freeze(element), Life(element, row))
            if operations.type[row] == OK and operations.end[row] < life.known_ns:
                life.known_ns, life.proof = int(operations.end[row]), row
    via = ways(operations)
    reads = [(row, set(map(freeze, seen))) for row, seen in elements.reads if not _second_hand(via.get(row))]
    for row, seen in reads:
        for element in seen:
            life = lives.setdefault(element, Life(element, None))
            life.seen.append(row)
            if operations.end[row] < life.known_ns:
                life.known_ns, life.proof = int(operations.end[row]), row
    _mark_missed(operations, lives, reads)
    return list(lives.values())


def _second_hand(via: str | None) -> bool:
    return via is not None and (via in SECOND_HAND or via.startswith("from:"))


def _mark_missed(operations: Operations, lives: dict[Any, Life], reads: list[tuple[int, set[Any]]]) -> None:
    coming = sorted(
        ((life.known_ns, place, element) for place, (element, life) in enumerate(lives.items())), reverse=True
    )
    known: set[Any] = set()
    for row, seen in reads:
        while coming and coming[-1][0] < operations.start[row]:
            known.add(coming.pop()[2])
        for element in known - seen:
            lives[element].missed.append(row)


def _wrong(operations: Operations, life: Life, outcome: str) -> Iterator[tuple[str, str, list[int]]]:
    name = f"element {shown(life.element)}"
    if life.added is None:
        yield "phantom-element", f"{name} was read, and nobody added it without failing", [life.proof]
        return
    early = [row for row in life.seen if operations.end[row] < operations.start[life.added]]
    if early:
        yield "phantom-element", f"{name} was read before its addition began", [early[0], life.added]
    if outcome in ("lost", "stale"):
        missed = life.missed[-1 if outcome == "lost" else 0]
        how = "acknowledged" if life.proof == life.added else "seen"
        words = (
            f"{name}, {how} at {seconds(life.known_ns)} (operation {operations.index[life.proof]}), is missing from a "
            f"read that began at {seconds(int(operations.start[missed]))} (operation {operations.index[missed]})"
        )
        back = [row for row in life.seen if operations.end[row] >= operations.start[missed]]
        if back:
            again = back[-1]
            words += (
                f" and is there again at {seconds(int(operations.end[again]))} (operation {operations.index[again]})"
            )
        yield f"{outcome}-element", words, [missed, life.proof, life.added, *back[-1:]]


def _described(operations: Operations, key: str, life: Life, outcome: str) -> dict[str, Any]:
    first = min((int(operations.end[row]) for row in life.seen), default=None)
    last = max((int(operations.start[row]) for row in life.seen), default=None)
    return {
        "key": key or None,
        "element": life.element,
        "outcome": outcome,
        "known_ms": life.known_ns / 1e6,
        "first_seen_ms": None if first is None else first / 1e6,
        "last_seen_ms": None if last is None else last / 1e6,
        "missed": len(life.missed),
    }


def _anomaly(operations: Operations, timeline: Timeline, key: str, kind: str, words: str, rows: list[int]) -> Anomaly:
    start = int(operations.start[rows[0]])
    end = int(operations.end[rows[0]])
    return Anomaly(
        kind=kind,
        explanation=f"{name_key(key)}: {words}; {timeline.describe(start, end)}",
        operations=[int(operations.index[row]) for row in dict.fromkeys(rows)],
        key=key or None,
        fault=timeline.fault_at(start, end),
    )

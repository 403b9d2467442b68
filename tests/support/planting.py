"""Plants one anomaly of a kind into the recorded history of a healthy run, so that its checker can be seen to find it.

Each planter takes the events of a history (see `read`) and changes the least that makes the anomaly. It returns
whether the history had what it takes: a run without lists has no list to duplicate an element of.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from checkers.events import Event
from checkers.history import History, from_events

OWNER_READER = 1_000_000


class Done(NamedTuple):
    """An operation that completed: its invocation and its completion."""

    invoke: Event
    end: Event

    def precedes(self, other: Done) -> bool:
        return self.end.time < other.invoke.time


class Recording:
    """The events of a recorded history, to be changed in place."""

    def __init__(self, header: dict[str, Any], events: list[Event]) -> None:
        self.header = header
        self.events = events

    def copy(self) -> Recording:
        return Recording(self.header, copy.deepcopy(self.events))

    def history(self) -> History:
        return from_events(self.events, self.header)

    def done(self, f: str, type_: str = "ok", final: bool = False, prefix: str = "") -> Iterator[Done]:
        """Operations of function `f` that ended so, in order of their ends, on keys that begin with `prefix`."""
        open_: dict[int, Event] = {}
        for event in self.events:
            if not isinstance(event.process, int):
                continue
            if event.type == "invoke":
                open_[event.process] = event
            else:
                invoke = open_.pop(event.process)
                if (event.f, event.type, event.final) == (f, type_, final) and (event.key or "").startswith(prefix):
                    yield Done(invoke, event)

    def finals(self, f: str, key: str) -> list[Event]:
        """Every final answer about a key, from whomever."""
        return [
            event for event in self.events if event.final and event.type == "ok" and (event.f, event.key) == (f, key)
        ]

    def context(self, f: str) -> list[Event]:
        return [event for event in self.events if event.f == f and not isinstance(event.process, int)]


def read(path: Path) -> Recording:
    """Read a history file whole."""
    header, *lines = path.read_bytes().splitlines()
    return Recording(msgspec.json.decode(header), [msgspec.json.decode(line, type=Event) for line in lines])


def lost_write(recording: Recording) -> bool:
    for add in recording.done("add", prefix="s"):
        for final in recording.finals("read", add.end.key):
            final.value = [element for element in final.value if element != add.end.value]
        return True
    return False


def duplicate_write(recording: Recording) -> bool:
    for read_ in recording.done("txn", final=True, prefix="l"):
        _, key, elements = read_.end.value[0]
        if read_.end.process == OWNER_READER and elements:
            read_.end.value = [["r", key, [*elements, elements[0]]]]
            return True
    return False


def phantom_value(recording: Recording) -> bool:
    for read_ in recording.done("read", prefix="k"):
        read_.end.value = 999_999_999_999
        return True
    return False


def failed_write_visible(recording: Recording) -> bool:
    seen = {read_.end.value for read_ in recording.done("read", prefix="k")}
    for write in recording.done("write", prefix="k"):
        if write.end.value in seen:
            write.end.type, write.end.error = "fail", "CLUSTERDOWN"
            return True
    return False


def stale_read(recording: Recording) -> bool:
    return _make_stale(recording) is not None


def _make_stale(recording: Recording) -> Done | None:
    """Make a read return the last value but one of the writes that ended before it began."""
    writes: dict[str, list[Done]] = {}
    for write in recording.done("write", prefix="k"):
        writes.setdefault(write.end.key, []).append(write)
    for read_ in recording.done("read", prefix="k"):
        before = [write for write in writes.get(read_.end.key, []) if write.precedes(read_)]
        for older, newer in pairwise(before):
            if older.precedes(newer):
                read_.end.value = older.end.value
                return read_
    return None


def rolled_back_read(recording: Recording) -> bool:
    """Roll one key back to its last write but one: that is what every later read and the final ones return."""
    writes: dict[str, list[Done]] = {}
    for write in recording.done("write", prefix="k"):
        writes.setdefault(write.end.key, []).append(write)
    for key, (*_, older, newest) in ((key, found) for key, found in writes.items() if len(found) > 2):
        reads = [read_ for read_ in recording.done("read", prefix=key) if read_.end.key == key]
        clear = older.precedes(newest) and all(write.precedes(newest) for write in writes[key][:-1])
        if clear and any(newest.precedes(read_) for read_ in reads):
            for read_ in reads:
                if read_.end.value == newest.end.value:
                    read_.end.value = older.end.value
            for final in recording.finals("read", key):
                final.value = older.end.value
            return True
    return False


def torn_read(recording: Recording) -> bool:
    others = {}
    for write in recording.done("mset"):
        others.setdefault(write.end.key, []).append(write.end.value)
    for read_ in recording.done("mget"):
        for value in others.get(read_.end.key, []):
            name = next(iter(value))
            if read_.end.value.get(name) not in (None, value[name]):
                read_.end.value = {**read_.end.value, name: value[name]}
                return True
    return False


def cross_slot_accepted(recording: Recording) -> bool:
    for f in ("mset", "mget"):
        for refused in recording.done(f, "fail"):
            if refused.invoke.via == "cross-slot":
                refused.end.type, refused.end.error = "ok", None
                return True
    for read_ in recording.done("mget"):
        read_.invoke.via = read_.end.via = "cross-slot"
        return True
    return False


def split_ownership(recording: Recording) -> bool:
    last: dict[str, list[Done]] = {}
    for write in recording.done("write", prefix="k"):
        chain = last.setdefault(write.end.key, [])
        if not chain or chain[-1].precedes(write):
            chain.append(write)
        if len(chain) == 3 and len({one.end.node for one in chain}) == 1:
            chain[1].end.node = next(node for node in recording.header["slots"] if node[2] != chain[0].end.node)[2]
            return True
    return False


def _walks(recording: Recording) -> list[Done]:
    """Final reads that started at some node and were redirected."""
    return [one for one in recording.done("read", final=True, prefix="k") if (one.invoke.via or "").startswith("from:")]


def stranded_key(recording: Recording) -> bool:
    held = {key for event in recording.context("holds") for key in event.value["keys"]}
    reached = {one.end.key for one in _walks(recording) if one.end.key in held}
    if not reached:
        return False
    key = min(reached)
    for event in recording.finals("read", key):
        event.value = None
    return True


def redirect_loop(recording: Recording) -> bool:
    for walk in _walks(recording):
        walk.end.type, walk.end.error = "fail", "redirect-loop: n1 -> n2 -> n1"
        return True
    return False


def uncovered_slot(recording: Recording) -> bool:
    for map_ in recording.context("map"):
        map_.value["slots"] = map_.value["slots"][1:]
    return bool(recording.context("map"))


def map_disagreement(recording: Recording) -> bool:
    for map_ in recording.context("map"):
        (first, last, _), other, *rest = map_.value["slots"]
        map_.value["slots"] = [[first, last, other[2]], other, *rest]
        return True
    return False


def replica_divergence(recording: Recording) -> bool:
    for read_ in recording.done("read", final=True, prefix="k"):
        if read_.invoke.via == "replica" and read_.end.value is not None:
            read_.end.value -= 1
            return True
    return False


def read_your_writes(recording: Recording) -> bool:
    return _go_back(recording, "write")


def non_monotonic_read(recording: Recording) -> bool:
    return _go_back(recording, "read")


def _go_back(recording: Recording, f: str) -> bool:
    """Make a process read what was there before a version that it had itself written, or read, before."""
    writes = {write.end.value: write for write in recording.done("write", prefix="k")}
    mine: dict[tuple[Any, str], Done] = {}
    for one in sorted([*recording.done("read", prefix="k"), *recording.done(f, prefix="k")], key=lambda d: d.end.time):
        session = (one.end.process, one.end.key)
        earlier = mine.get(session)
        if one.end.f == "read" and one.invoke.via is None and earlier and earlier.precedes(one):
            written = writes.get(earlier.end.value)
            older = [w for w in writes.values() if w.end.key == one.end.key and written and w.precedes(written)]
            if older:
                one.end.value = older[-1].end.value
                return True
        if one.end.f == f:
            mine[session] = one
    return False


def _across_keys(f: str) -> Callable[[Recording], bool]:
    """A planter that lets a process read another's write and then, of another key, what was there before that one's
    last `f` of it."""

    def plant(recording: Recording) -> bool:
        writes = {write.end.value: write for write in recording.done("write", prefix="k")}
        seen: dict[Any, dict[str, Done]] = {}  # by process: newest write of each key that it did or read
        known: dict[Any, tuple[Any, dict[str, Done]]] = {}  # by value written: who wrote it, and what it had seen then
        told: dict[Any, dict[str, Done]] = {}  # by process: what those knew whose writes it has read
        for one in sorted([*recording.done("read", prefix="k"), *writes.values()], key=lambda d: d.end.time):
            process, key, value = one.end.process, one.end.key, one.end.value
            mine, others = seen.setdefault(process, {}), told.setdefault(process, {})
            if one.end.f == "write":
                known[value] = process, dict(mine)
            else:
                older = [w for w in writes.values() if key in others and w.end.key == key and w.precedes(others[key])]
                if older and one.invoke.via is None:
                    one.end.value = older[-1].end.value
                    return True
                author, what = known.get(value, (process, {}))
                if author != process:
                    others.update({name: write for name, write in what.items() if name != key})
            if one.end.f == f and value in writes:
                mine[key] = writes[value]
        return False

    return plant


def _in_list(change: Callable[[list[Any]], Any], fewest: int) -> Callable[[Recording], bool]:
    """A planter that changes the elements of a read of one list, the second to show so many that it has some before."""

    def plant(recording: Recording) -> bool:
        shown = (read_ for read_ in recording.done("txn", prefix="l") if read_.end.value[0][0] == "r")
        for read_ in islice((read_ for read_ in shown if len(read_.end.value[0][2]) >= fewest), 1, None):
            change(read_.end.value[0][2])
            return True
        return False

    return plant


def aborted_append(recording: Recording) -> bool:
    seen = {
        (read_.end.key, element)
        for read_ in recording.done("txn", prefix="l")
        if read_.end.value[0][0] == "r"
        for element in read_.end.value[0][2]
    }
    for append in recording.done("txn", prefix="l"):
        verb, key, element = append.end.value[0]
        if verb == "append" and (key, element) in seen:
            append.end.type, append.end.error = "fail", "OOM"
            return True
    return False


def two_holders(recording: Recording) -> bool:
    """Grant a lock that was refused, because another client certainly held it."""
    released = {release.end.value: release for release in recording.done("release")}
    for refused in recording.done("acquire", "fail"):
        for granted in recording.done("acquire"):
            release = released.get(granted.end.value)
            held = release and granted.precedes(refused) and refused.precedes(release)
            if held and granted.end.key == refused.end.key:
                refused.end.type, refused.end.error = "ok", None
                return True
    return False


def _deliveries(recording: Recording) -> Iterator[tuple[Done, Done]]:
    """Elements of queues: how each was enqueued, and how it was delivered."""
    enqueued = {enqueue.end.value: enqueue for enqueue in recording.done("enqueue")}
    for dequeue in recording.done("dequeue"):
        if dequeue.end.value in enqueued:
            yield enqueued[dequeue.end.value], dequeue


def lost_element(recording: Recording) -> bool:
    """On a queue without a dequeue of unknown outcome, for that may have taken it."""
    doubtful = {dequeue.end.key for dequeue in recording.done("dequeue", "info")}
    for enqueue, dequeue in _deliveries(recording):
        if enqueue.precedes(dequeue) and dequeue.end.key not in doubtful:
            dequeue.end.value = None
            return True
    return False


def duplicate_element(recording: Recording) -> bool:
    delivered = {dequeue.end.key: dequeue.end.value for _, dequeue in _deliveries(recording)}
    for dequeue in recording.done("dequeue"):
        if dequeue.end.value is None and dequeue.end.key in delivered:
            dequeue.end.value = delivered[dequeue.end.key]
            return True
    return False


def reordered_element(recording: Recording) -> bool:
    last: dict[str, tuple[Done, Done]] = {}
    for enqueue, dequeue in _deliveries(recording):
        before = last.get(dequeue.end.key)
        if before and before[0].precedes(enqueue) and before[1].precedes(dequeue):
            before[1].end.value, dequeue.end.value = dequeue.end.value, before[1].end.value
            return True
        last[dequeue.end.key] = enqueue, dequeue
    return False


def phantom_element(recording: Recording) -> bool:
    for dequeue in recording.done("dequeue"):
        dequeue.end.value = 999_999_999_999
        return True
    return False


PLANTERS: dict[str, Callable[[Recording], bool]] = {
    "lost-write": lost_write,
    "duplicate-write": duplicate_write,
    "phantom-value": phantom_value,
    "failed-write-visible": failed_write_visible,
    "stale-read": stale_read,
    "non-linearizable": stale_read,
    "rolled-back-read": rolled_back_read,
    "torn-read": torn_read,
    "cross-slot-accepted": cross_slot_accepted,
    "split-ownership": split_ownership,
    "stranded-key": stranded_key,
    "redirect-loop": redirect_loop,
    "uncovered-slot": uncovered_slot,
    "map-disagreement": map_disagreement,
    "replica-divergence": replica_divergence,
    "read-your-writes": read_your_writes,
    "non-monotonic-read": non_monotonic_read,
    "non-monotonic-write-across-keys": _across_keys("write"),
    "writes-follow-reads-across-keys": _across_keys("read"),
    "incompatible-order": _in_list(lambda elements: elements.insert(0, elements.pop(1)), 2),
    "duplicate-elements": _in_list(lambda elements: elements.append(elements[0]), 1),
    "garbage-read": _in_list(lambda elements: elements.append(999_999_999_999), 1),
    "G1a": aborted_append,
    "two-holders": two_holders,
    "lost-element": lost_element,
    "duplicate-element": duplicate_element,
    "reordered-element": reordered_element,
    "phantom-element": phantom_element,
}
"""By kind of anomaly; each returns whether it could plant one."""

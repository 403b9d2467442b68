"""What one or two transactions show by themselves, without a cycle.

Names and meaning follow Adya ("Weak consistency", 1999: aborted and intermediate reads) and Kingsbury and Alvaro
(Elle, VLDB 2020). Each phenomenon carries the transactions that prove it, the most important one first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from checkers.transactions.list_append import Lists
from checkers.transactions.micro import APPEND, READ, Flags, Ints, Transactions, Writes, never, show
from checkers.transactions.read_write import Registers

MANY = 10
"""Transactions that one phenomenon names at most."""


@dataclass(frozen=True)
class Phenomenon:
    """A kind of anomaly, seen on a key; `words` refers to transactions as {0}, {1} ... in the order of `txns`."""

    kind: str
    words: str
    txns: tuple[int, ...]
    key: int


def in_lists(lists: Lists, committed: Flags) -> Iterator[Phenomenon]:
    """Everything that the reads of lists show without a cycle."""
    yield from _foreign_elements(lists)
    yield from _duplicates(lists)
    yield from _contradictions(lists)
    yield from _unfinished(lists.transactions, lists.writes, lists.read, lists.last_writer, committed)
    yield from _appended_to_aborted(lists, committed)
    yield from _list_inconsistencies(lists)
    yield from _torn_appends(lists)
    decided = lists.ordered[lists.key]
    yield from _lost_updates(lists.transactions, lists.read[decided], lists.length[decided])


def in_registers(registers: Registers, committed: Flags) -> Iterator[Phenomenon]:
    """Everything that the reads of registers show without a cycle."""
    transactions, writes, read, writer = registers.transactions, registers.writes, registers.read, registers.writer
    replaces = transactions.updates[read]
    for number in np.flatnonzero(~registers.null & (writer < 0)).tolist():
        words = f"{{0}} read {_name(transactions, read[number])} as {_value(transactions, read[number])}"
        yield _on(transactions, "garbage-read", read[number], f"{words}, which nobody wrote")
    for number in np.flatnonzero((writer >= 0) & writes.failed[writer] if len(writes.failed) else writer >= 0).tolist():
        yield from _aborted(transactions, writes, int(read[number]), int(writer[number]), bool(replaces[number]))
    yield from _unfinished(transactions, writes, read, writer, committed)
    yield from _register_inconsistencies(registers)
    version = np.where(registers.null, -1, writer)
    traced = registers.null | (writer >= 0)
    yield from _lost_updates(transactions, read[traced], version[traced])


def _name(transactions: Transactions, micro: int) -> str:
    return _plain(transactions.keys[transactions.key[micro]])


def _value(transactions: Transactions, micro: int) -> str:
    return _shown(transactions.argument(micro))


def _shown(value: object) -> str:
    """A value in words that are to be formatted: its own braces are doubled."""
    return _plain(show(value))


def _plain(value: object) -> str:
    return str(value).replace("{", "{{").replace("}", "}}")


def _on(transactions: Transactions, kind: str, micro: int, words: str, *others: int) -> Phenomenon:
    txns = (int(transactions.txn[micro]), *(int(other) for other in others))
    return Phenomenon(kind, words, txns, int(transactions.key[micro]))


def _foreign_elements(lists: Lists) -> Iterator[Phenomenon]:
    """Elements in a list that nobody appended, or whose append failed: each once, with its first reader."""
    transactions, writes = lists.transactions, lists.writes
    foreign = lists.writer < 0
    foreign[~foreign] = writes.failed[lists.writer[~foreign]]
    sightings: dict[tuple[int, str], tuple[int, int]] = {}
    for position in np.flatnonzero(foreign).tolist():
        key = int(np.searchsorted(lists.first, position, side="right")) - 1
        place = position - int(lists.first[key])
        longest = int(lists.longest[key])
        agreeing = (lists.key == key) & (lists.length > place)
        agreeing[lists.deviant] = False
        reader = int(np.flatnonzero(agreeing)[0]) if agreeing.any() else longest
        sightings.setdefault((key, repr(lists.seen[longest][place])), (reader, int(lists.writer[position])))
    for read, writers in zip(lists.deviant.tolist(), lists.deviant_writer, strict=True):
        for element, write in zip(lists.seen[read], writers.tolist(), strict=True):
            if write < 0 or writes.failed[write]:
                sightings.setdefault((int(lists.key[read]), repr(element)), (read, write))
    for (key, element), (read, write) in sightings.items():
        words = f"{{0}} read {_plain(transactions.keys[key])} as {_shown(lists.seen[read])}"
        micro = int(lists.read[read])
        if write < 0:
            yield _on(transactions, "garbage-read", micro, f"{words}, but nobody appended {_plain(element)} to it")
        else:
            author = int(writes.txn[write])
            yield _on(
                transactions, "G1a", micro, f"{words}, but {{1}}, which appended {_plain(element)}, failed", author
            )


def _duplicates(lists: Lists) -> Iterator[Phenomenon]:
    for read in lists.repeated.tolist():
        seen, micro = lists.seen[read], int(lists.read[read])
        twice = next(element for place, element in enumerate(seen) if element in seen[:place])
        name = _name(lists.transactions, micro)
        words = f"{{0}} read {name} as {_shown(seen)}, which holds {_shown(twice)} {seen.count(twice)} times"
        author = lists.writes.find(lists.key[[read]], lists.writes.values.encode([twice]))
        appended = "; {1} appended it once" if author[0] >= 0 else ""
        others = lists.writes.txn[author[author >= 0]].tolist()
        yield _on(lists.transactions, "duplicate-elements", micro, words + appended, *others)


def _contradictions(lists: Lists) -> Iterator[Phenomenon]:
    """One per key: the longest read and the first that is no prefix of it."""
    keys, first = np.unique(lists.key[lists.deviant], return_index=True)
    for key, read in zip(keys.tolist(), lists.deviant[first].tolist(), strict=True):
        longest = int(lists.longest[key])
        one, two = lists.seen[longest], lists.seen[read]
        place = next((n for n, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), 0)
        lie = "a list that only grows cannot have held both"
        words = (
            f"{{0}} read {_plain(lists.transactions.keys[key])} with {_shown(one[place])} as element {place + 1}, "
            f"{{1}} read it with {_shown(two[place])} there; {lie} ({_shown(one)} and {_shown(two)})"
        )
        other = int(lists.transactions.txn[lists.read[read]])
        yield _on(lists.transactions, "incompatible-order", int(lists.read[longest]), words, other)


def _unfinished(
    transactions: Transactions, writes: Writes, read: Ints, writer: Ints, committed: Flags
) -> Iterator[Phenomenon]:
    """Reads of what a transaction had put there in passing, before its last write to the key."""
    if not len(writes.txn):
        return
    passing = (writer >= 0) & ~writes.last[writer] & committed[writes.txn[writer]]
    passing &= writes.txn[writer] != transactions.txn[read]
    for number in np.flatnonzero(passing).tolist():
        write = int(writes.micro[writer[number]])
        verb = "appending" if transactions.kind[write] == APPEND else "writing"
        state = f"the state in the middle of {{1}}, after its {verb} {_value(transactions, write)}"
        words = f"{{0}} read {_name(transactions, read[number])} as {_value(transactions, read[number])}, {state}"
        yield _on(transactions, "G1b", read[number], words, int(transactions.txn[write]))


def _appended_to_aborted(lists: Lists, committed: Flags) -> Iterator[Phenomenon]:
    """Elements of committed transactions directly behind one of a failed transaction."""
    writes, transactions = lists.writes, lists.transactions
    if len(lists.writer) < 2 or not writes.failed.any():
        return
    key = np.repeat(np.arange(len(transactions.keys)), np.diff(lists.first))
    before, after = lists.writer[:-1], lists.writer[1:]
    dirty = (key[1:] == key[:-1]) & lists.ordered[key[1:]] & (before >= 0) & (after >= 0)
    dirty &= writes.failed[before] & committed[writes.txn[after]]
    for position in np.flatnonzero(dirty).tolist():
        old, new = int(writes.micro[before[position]]), int(writes.micro[after[position]])
        words = (
            f"{{0}} appended {_value(transactions, new)} to {_name(transactions, new)} directly behind "
            f"{_value(transactions, old)} of {{1}}, which failed; {{2}} read both"
        )
        reader = int(transactions.txn[lists.read[lists.longest[key[position]]]])
        yield _on(transactions, "dirty-update", new, words, int(transactions.txn[old]), reader)


def _aborted(transactions: Transactions, writes: Writes, read: int, write: int, replaced: bool) -> Iterator[Phenomenon]:
    author = int(writes.txn[write])
    words = f"{{0}} read {_name(transactions, read)} as {_value(transactions, read)}, but {{1}}, which wrote it, failed"
    yield _on(transactions, "G1a", read, words, author)
    if replaced:
        yield _on(transactions, "dirty-update", read, f"{words}, and {{0}} went on to replace it", author)


def _lost_updates(transactions: Transactions, read: Ints, version: Ints) -> Iterator[Phenomenon]:
    """Several transactions that read one version of a key and then wrote to the key."""
    replaces = transactions.updates[read]
    read, version = read[replaces], version[replaces]
    order = np.lexsort((version, transactions.key[read]))
    read, version = read[order], version[order]
    fresh = (np.diff(transactions.key[read], prepend=-1) != 0) | (np.diff(version, prepend=-2) != 0)
    bounds = np.append(np.flatnonzero(fresh), len(read))
    for place in np.flatnonzero(np.diff(bounds) > 1).tolist():
        first, last = int(bounds[place]), int(bounds[place + 1])
        micro = int(read[first])
        named = transactions.txn[read[first : min(last, first + MANY)]].tolist()
        who = ", ".join(f"{{{number}}}" for number in range(len(named)))
        more = f" and {last - first - len(named)} more" if last - first > len(named) else ""
        words = (
            f"{who}{more} all read {_name(transactions, micro)} as {_value(transactions, micro)} and then wrote to it; "
            "whichever came first, another did not see its write"
        )
        yield _on(transactions, "lost-update", micro, words, *named[1:])


def _list_inconsistencies(lists: Lists) -> Iterator[Phenomenon]:
    """Reads that differ from what their own transaction had read and appended before, or see what it did later."""
    transactions = lists.transactions
    micros = np.arange(len(transactions.txn))
    number = never(len(micros))
    number[lists.read] = np.arange(len(lists.read))
    write = never(len(micros))
    write[lists.writes.micro] = np.arange(len(lists.writes.micro))
    start = np.maximum.accumulate(np.where(transactions.head, micros, 0))
    last_read = np.maximum.accumulate(np.where(number >= 0, micros, -1))
    previous = np.append(-1, last_read[:-1])[lists.read] if len(micros) else never(0)
    again = previous >= start[lists.read]
    own = lists.read - np.where(again, previous + 1, start[lists.read])
    before = number[previous]
    bad = np.where(again, lists.length != lists.length[before] + own, lists.length < own)
    doubtful = ~lists.ordered[lists.key] & ~bad & (again | (own > 0))
    for read in np.flatnonzero(doubtful).tolist():
        micro, size = int(lists.read[read]), int(own[read])
        seen = lists.seen[read] or []
        told = (lists.seen[before[read]] or []) if again[read] else seen[: len(seen) - size]
        bad[read] = seen != told + transactions.values(np.arange(micro - size, micro))
    sure = np.flatnonzero(lists.ordered[lists.key] & ~bad & (own > 0))
    end = lists.first[lists.key] + lists.length
    for back in range(1, int(own[sure].max(initial=0)) + 1):
        sure = sure[own[sure] >= back]
        bad[sure] |= lists.writer[end[sure] - back] != write[lists.read[sure] - back]
    last = lists.last_writer
    early = last >= 0
    early[early] = lists.writes.txn[last[early]] == transactions.txn[lists.read[early]]
    early[early] = lists.writes.micro[last[early]] > lists.read[early]
    for read in np.flatnonzero(bad | early).tolist():
        micro, size = int(lists.read[read]), int(own[read])
        known = f"had read {_shown(lists.seen[before[read]])}" if again[read] else ""
        added = ", ".join(map(_shown, transactions.values(np.arange(micro - size, micro))))
        parts = [
            known,
            f"had appended {added}" if size else "",
            "appended the last of it only later" * bool(early[read]),
        ]
        why = " and ".join(part for part in parts if part)
        words = f"{{0}} read {_name(transactions, micro)} as {_shown(lists.seen[read])}, although it {why}"
        yield _on(transactions, "internal", micro, words)


def _torn_appends(lists: Lists) -> Iterator[Phenomenon]:
    """Of two appends of one transaction to one list, the second is there and the first is not before it."""
    transactions, writes = lists.transactions, lists.writes
    position = never(len(writes.micro))
    there = np.flatnonzero(lists.writer >= 0)
    position[lists.writer[there]] = there
    torn = ~writes.last[:-1] & (position[1:] >= 0) & ((position[:-1] < 0) | (position[:-1] > position[1:]))
    torn &= lists.ordered[writes.key[1:]] & ~writes.failed[1:]
    for write in np.flatnonzero(torn).tolist():
        one, two = int(writes.micro[write]), int(writes.micro[write + 1])
        longest = int(lists.longest[transactions.key[one]])
        words = (
            f"{{0}} appended {_value(transactions, one)} and then {_value(transactions, two)} to "
            f"{_name(transactions, one)}, but {{1}} read it as {_shown(lists.seen[longest])}"
        )
        yield _on(transactions, "internal", one, words, int(transactions.txn[lists.read[longest]]))


def _register_inconsistencies(registers: Registers) -> Iterator[Phenomenon]:
    """Reads that differ from what their own transaction had last read or written, or see what it wrote later."""
    transactions, writes = registers.transactions, registers.writes
    code = np.zeros(len(transactions.txn), np.int64)
    null = np.zeros(len(transactions.txn), np.bool_)
    code[writes.micro] = writes.value
    code[registers.read], null[registers.read] = registers.value, registers.null
    follows = ~transactions.head[registers.read]
    before = registers.read - 1
    differs = follows & ((null[before] != registers.null) | (~registers.null & (code[before] != registers.value)))
    early = registers.writer >= 0
    early[early] = (writes.txn[registers.writer[early]] == transactions.txn[registers.read[early]]) & (
        writes.micro[registers.writer[early]] > registers.read[early]
    )
    for number in np.flatnonzero(differs | early).tolist():
        micro = int(registers.read[number])
        did = "read" if transactions.kind[micro - 1] == READ else "written"
        why = f"it had {did} {_value(transactions, micro - 1)}" if differs[number] else "it wrote that only later"
        words = f"{{0}} read {_name(transactions, micro)} as {_value(transactions, micro)}, although {why}"
        yield _on(transactions, "internal", micro, words)

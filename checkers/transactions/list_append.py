"""Lists that only grow: each read shows in which order the elements before its end were appended.

The longest read of a key is its version order, provided that every other read is a prefix of it (Kingsbury and
Alvaro, "Elle: inferring isolation anomalies from experimental observations", VLDB 2020, call such an object
traceable). A key of which two reads contradict each other, or that holds an element twice, has no such order; of it
only "who read what whom wrote" is used.

What follows from an order: consecutive writers depend on each other (ww), a reader depends on the writer of the last
element it saw (wr), and the writer of the next element depends on the reader (rw). An element whose transaction
committed but that no read shows comes after all that were read, since nothing ever leaves the list.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from checkers.transactions.graph import RW, WR, WW, Dependencies
from checkers.transactions.micro import APPEND, READ, Flags, Ints, Transactions, Writes, never

AT_ONCE = 1 << 18
"""Elements that are compared at a time."""


@dataclass(frozen=True)
class Sight:
    """What reads returned, as the history has it."""

    transactions: Transactions
    read: Ints

    def __getitem__(self, number: int) -> Any:
        """What one read returned."""
        return self.transactions.argument(int(self.read[number]))


@dataclass(frozen=True)
class Lists:
    """What the reads of lists say. Reads are numbered by micro-operation; positions run over all keys' orders."""

    transactions: Transactions
    writes: Writes
    read: Ints
    """Micro-operation of each read of a list."""
    key: Ints
    """Number of the key, by read."""
    seen: Sight
    """What each read returned: a list, or null, which is an empty one."""
    length: Ints
    longest: Ints
    """By key: the read that shows most, -1 where there is none."""
    first: Ints
    """By key: where its order begins; one entry more at the end."""
    writer: Ints
    """By position: the write of the element, -1 for an element that nobody appended."""
    deviant: Ints
    """Reads that are no prefix of the longest read of their key."""
    deviant_writer: list[Ints]
    """By deviant read: the write of each of its elements, -1 without one."""
    repeated: Ints
    """Reads (the longest of a key, or deviant) that hold an element twice."""
    ordered: Flags
    """By key: whether its reads agree on one order without repetition."""

    def order(self, key: int) -> list[Any]:
        """The elements of a key in the order of their appending, as far as they were read."""
        longest = int(self.longest[key])
        return list(self.seen[longest] or ()) if longest >= 0 else []

    @cached_property
    def last_writer(self) -> Ints:
        """By read: the write of the last element it shows, -1 for an empty list or an element nobody wrote."""
        if not len(self.writer):
            return never(len(self.read))
        position = np.maximum(self.first[self.key] + self.length - 1, 0)
        writers = np.where(self.length > 0, self.writer[position], -1)
        for read, found in zip(self.deviant.tolist(), self.deviant_writer, strict=True):
            writers[read] = found[-1]
        return writers


def read_lists(transactions: Transactions, writes: Writes) -> Lists:
    """Compare all reads of all lists and find who wrote their elements; linear in the elements read."""
    count = len(transactions.keys)
    is_list = np.zeros(count, np.bool_)
    is_list[transactions.key[transactions.kind == APPEND]] = True
    # A key that nobody appended to is a list as well where a read returned one.
    lists = is_list[transactions.key] | (transactions.length >= 0)
    read = np.flatnonzero((transactions.kind == READ) & lists)
    key, seen = transactions.key[read], Sight(transactions, read)
    length = np.maximum(transactions.length[read], 0)
    longest = never(count)
    most = np.zeros(count, np.int64)
    np.maximum.at(most, key, length)
    full = np.flatnonzero(length == most[key])[::-1]
    longest[key[full]] = full  # of equally long ones, the first: it is assigned last
    first = np.concatenate(([0], np.cumsum(most)))
    position_key = np.repeat(np.arange(count), most)
    begin = transactions.shown[read]
    begin_of = np.zeros(count, np.int64)
    begin_of[key[full]] = begin[full]
    elements = transactions.elements[_runs(begin_of, most)]
    deviant = _deviant(transactions.elements, elements, begin, first[key], length)
    # Equal values that no dictionary can hold, tables say, need not have equal codes.
    differs = [seen[read] != seen[longest[key[read]]][: length[read]] for read in deviant.tolist()]
    deviant = deviant[np.array(differs, np.bool_)]
    writer = writes.find(position_key, elements)
    deviants = [writes.values.encode(seen[read]) for read in deviant.tolist()]
    repeated = _repeated(position_key, elements, writer)
    again = [read for read, codes in zip(deviant.tolist(), deviants, strict=True) if len(np.unique(codes)) < len(codes)]
    ordered = longest >= 0
    ordered[repeated] = False
    ordered[key[deviant]] = False
    return Lists(
        transactions=transactions,
        writes=writes,
        read=read,
        key=key,
        seen=seen,
        length=length,
        longest=longest,
        first=first,
        writer=writer,
        deviant=deviant,
        deviant_writer=[
            writes.find(np.full(len(codes), key[read]), codes)
            for read, codes in zip(deviant.tolist(), deviants, strict=True)
        ],
        repeated=np.unique(np.concatenate((longest[repeated], np.array(again, np.int64)))),
        ordered=ordered,
    )


def _runs(begin: Ints, size: Ints) -> Ints:
    """The numbers from each begin on, so many each."""
    numbers: Ints = np.arange(int(size.sum())) + np.repeat(begin - (np.cumsum(size) - size), size)
    return numbers


def _deviant(shown: Ints, order: Ints, begin: Ints, first: Ints, length: Ints) -> Ints:
    """The reads whose elements in `shown` are not those of `order`; so many at a time as memory near by can hold."""
    deviant = [never(0)]
    until = np.cumsum(length)
    bounds = np.searchsorted(until, np.arange(0, int(length.sum()) + AT_ONCE, AT_ONCE), side="left")
    for low, high in pairwise(np.unique(np.append(bounds, len(length))).tolist()):
        size = length[low:high]
        wrong = shown[_runs(begin[low:high], size)] != order[_runs(first[low:high], size)]
        deviant.append(low + np.unique(np.searchsorted(np.cumsum(size), np.flatnonzero(wrong), side="right")))
    return np.concatenate(deviant)


def _repeated(key: Ints, element: Ints, writer: Ints) -> Ints:
    """Keys whose order holds an element twice."""
    known = writer >= 0
    twice = np.bincount(writer[known], minlength=1) > 1
    keys = key[known][twice[writer[known]]]
    strangers = np.stack((key[~known], element[~known]))
    pairs, times = np.unique(strangers, axis=1, return_counts=True)
    return np.unique(np.concatenate((keys, pairs[0][times > 1])))


def observed(lists: Lists) -> Ints:
    """Transactions of which somebody saw an append: they took effect, whatever their client knew."""
    found = np.concatenate([lists.writer, *lists.deviant_writer]) if len(lists.deviant) else lists.writer
    return lists.writes.txn[found[found >= 0]]


def depend(lists: Lists, committed: Flags, dependencies: Dependencies) -> None:
    """Add the ww, wr and rw edges that the reads of lists prove."""
    writes, txn = lists.writes, lists.transactions.txn
    last = lists.last_writer
    reader = txn[lists.read]
    told = (last >= 0) & committed[writes.txn[last]] if len(writes.txn) else last >= 0
    dependencies.add(WR, writes.txn[last[told]], reader[told])

    count = len(lists.transactions.keys)
    key = np.repeat(np.arange(count), np.diff(lists.first))
    usable = (lists.writer >= 0) & lists.ordered[key]
    usable[usable] = committed[writes.txn[lists.writer[usable]]]
    position, key = np.flatnonzero(usable), key[usable]
    author = writes.txn[lists.writer[position]]
    # Neighbouring elements of one transaction are one version: a run.
    fresh = (np.diff(key, prepend=-1) != 0) | (np.diff(author, prepend=-1) != 0)
    author, key = author[fresh], key[fresh]
    same = key[1:] == key[:-1]
    dependencies.add(WW, author[:-1][same], author[1:][same])

    # A read of n elements is followed by the first run that begins after them.
    runs_before = np.zeros(len(lists.writer) + 1, np.int64)
    runs_before[position + 1] = fresh
    runs_before = np.cumsum(runs_before)
    decided = lists.ordered[lists.key]
    following = runs_before[lists.first[lists.key] + lists.length][decided]
    read_key, reader = lists.key[decided], reader[decided]
    more = following < runs_before[lists.first[read_key + 1]]
    dependencies.add(RW, reader[more], author[following[more]])
    _depend_on_unseen(lists, committed, dependencies, (reader[~more], read_key[~more]), (author, key))


def _depend_on_unseen(
    lists: Lists,
    committed: Flags,
    dependencies: Dependencies,
    readers: tuple[Ints, Ints],
    runs: tuple[Ints, Ints],
) -> None:
    """Whoever wrote or read the newest version that anybody saw precedes the appends that nobody saw."""
    writes = lists.writes
    unseen = lists.ordered[writes.key] & committed[writes.txn]
    unseen[lists.writer[lists.writer >= 0]] = False
    author, key = runs
    final = np.diff(key, append=-1) != 0
    newest = never(len(lists.transactions.keys))
    newest[key[final]] = author[final]
    unseen &= newest[writes.key] != writes.txn  # the rest of a version of which the begin was seen
    dependencies.fan(
        sources=np.concatenate((readers[0], author[final])),
        kinds=np.concatenate((np.full(len(readers[0]), RW), np.full(np.count_nonzero(final), WW))).astype(np.uint8),
        source_groups=np.concatenate((readers[1], key[final])),
        targets=writes.txn[unseen],
        target_groups=writes.key[unseen],
    )

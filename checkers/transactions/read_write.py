"""Registers: a write replaces what was there, so a read shows one version and nothing of the order before it.

With unique values a read names its writer (wr). An order of versions is proved only where it must hold in every
model that forbids circular information flow (Adya's PL-2 and stronger; "Weak consistency", 1999):

* The value before all writes (null) precedes every write of a transaction that took effect.
* A transaction that read version a and then wrote version b of the same register: had b come before a, its write
  would precede the write of a, which it had read.

Both give rw edges from all other readers of the older version. ww edges are not claimed: between the same two
transactions there already is a wr edge. That clients began or ended writes of a key in some order says nothing,
unless each key is linearizable, which is for the real-time edges between whole transactions to tell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from checkers.transactions.graph import RW, WR, Dependencies
from checkers.transactions.micro import APPEND, NULL, READ, WRITE, Flags, Ints, Transactions, Writes


@dataclass(frozen=True)
class Registers:
    """What the reads of registers say."""

    transactions: Transactions
    writes: Writes
    read: Ints
    """Micro-operation of each read of a register."""
    key: Ints
    """Number of the key, by read."""
    value: Ints
    """Code of the value, by read; meaningless where it is null."""
    null: Flags
    """By read: whether it saw the initial value."""
    writer: Ints
    """By read: the write that it saw, -1 for the initial value or a value that nobody wrote."""


def read_registers(transactions: Transactions, writes: Writes) -> Registers:
    """Find who wrote what the reads of registers returned."""
    is_list = np.zeros(len(transactions.keys), np.bool_)
    is_list[transactions.key[transactions.kind == APPEND]] = True
    read = np.flatnonzero((transactions.kind == READ) & ~is_list[transactions.key] & (transactions.length < 0))
    null = transactions.length[read] == NULL
    key = transactions.key[read]
    value = transactions.code[read]
    return Registers(
        transactions=transactions,
        writes=writes,
        read=read,
        key=key,
        value=value,
        null=null,
        writer=np.where(null, -1, writes.find(key, value)),
    )


def observed(registers: Registers) -> Ints:
    """Transactions of which somebody saw a write: they took effect, whatever their client knew."""
    return registers.writes.txn[registers.writer[registers.writer >= 0]]


def depend(registers: Registers, committed: Flags, dependencies: Dependencies) -> None:
    """Add the wr and rw edges that the reads of registers prove."""
    writes, reader = registers.writes, registers.transactions.txn[registers.read]
    told = registers.writer >= 0
    author = writes.txn[registers.writer[told]]
    told[told] = committed[author] & (author != reader[told])
    dependencies.add(WR, writes.txn[registers.writer[told]], reader[told])

    replaces = told & registers.transactions.updates[registers.read]
    dependencies.fan(
        sources=reader[told],
        kinds=np.full(np.count_nonzero(told), RW, np.uint8),
        source_groups=registers.writer[told],
        targets=reader[replaces],
        target_groups=registers.writer[replaces],
    )
    later = committed[writes.txn] & (registers.transactions.kind[writes.micro] == WRITE)
    dependencies.fan(
        sources=reader[registers.null],
        kinds=np.full(np.count_nonzero(registers.null), RW, np.uint8),
        source_groups=registers.key[registers.null],
        targets=writes.txn[later],
        target_groups=writes.key[later],
    )

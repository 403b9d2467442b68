"""Histories of any size, of registers and of groups, whose every operation has a hidden moment at which it happened.

They are linearizable by construction, nothing is lost, and the final reads after convergence say so. Made column by
column, so that ten million operations take seconds.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from checkers.events import INFO, NEVER, OK, TYPES, Event
from checkers.history import History, Operations

NODES = ("n1", "n2", "n3")
MEMBERS = ("a", "b", "c")
"""The keys of a group, without its hash tag."""
FINAL_PROCESS = 1_000_000_000


def history(count: int, *, keys: int = 10, clients: int = 10, indeterminate: float = 0.01, seed: int = 7) -> History:
    """`count` operations of `clients` on registers, half of them writes, and a final read of each key.

    Half of the indeterminate writes take effect.
    """
    rng = np.random.default_rng(seed)
    each = count // clients
    count = each * clients
    gaps = rng.integers(1_000, 50_000, (clients, each))
    lasts = rng.integers(50_000, 400_000, (clients, each))
    end = np.cumsum(gaps + lasts, axis=1)
    start = end - lasts
    moment = start + (lasts * rng.random((clients, each))).astype(np.int64)
    write = rng.random((clients, each)) < 0.5
    info = write & (rng.random((clients, each)) < 2 * indeterminate)
    applied = ~info | (rng.random((clients, each)) < 0.5)
    life = np.cumsum(info, axis=1) - info
    process = np.arange(clients)[:, None] + clients * life

    order = np.argsort(start.ravel(), kind="stable")
    start, end, moment, write, info, applied, process = (
        column.ravel()[order] for column in (start, end, moment, write, info, applied, process)
    )
    key = rng.integers(0, keys, count)
    value = np.arange(1, count + 1)
    happened = np.lexsort((moment, key))
    effect = np.where((write & applied)[happened], np.arange(count), -1)
    newest = np.maximum.accumulate(effect)
    fresh = (newest >= 0) & (key[happened][newest] == key[happened])
    seen = np.zeros(count, np.int64)
    seen[happened] = np.where(fresh, value[happened][newest], 0)
    result = np.where(write, value, seen)
    last = np.flatnonzero(np.append(np.diff(key[happened]), 1))  # of each key, in order of time
    final = np.where(fresh, value[happened][newest], 0)[last]
    read_at = int(end.max()) + 1_000 * np.arange(1, 2 * len(last) + 1)
    whole = Operations(
        index=np.arange(count + len(last)),
        process=np.append(process, np.full(len(last), FINAL_PROCESS)),
        start=np.append(start, read_at[::2]),
        end=np.append(np.where(info, NEVER, end), read_at[1::2]),
        type=np.append(np.where(info, INFO, OK), np.full(len(last), OK)).astype(np.uint8),
        f=np.append(write, np.zeros(len(last))).astype(np.int16),
        key=np.append(key, key[happened][last]).astype(np.int32),
        node=(np.append(key, key[happened][last]) % len(NODES)).astype(np.int32),
        final=np.arange(count + len(last)) >= count,
        value=[number or None for number in np.append(result, final).tolist()],
        functions=["read", "write"],
        keys=[f"k{number}" for number in range(keys)],
        nodes=list(NODES),
    )
    header = {"format": "cachequake-history", "version": 1, "run": "synthetic", "clients": clients}
    return History(header, whole, _context(int(end.max())))


def groups(count: int) -> History:
    """The same with a group of keys in the place of each register: `mset` writes the whole of it, `mget` reads it."""
    plain = history(count)
    keys = [f"{{g{number}}}" for number in range(len(plain.operations.keys))]
    members = [[f"{key}:{member}" for member in MEMBERS] for key in keys]
    codes = plain.operations.key.tolist()
    values = [dict.fromkeys(members[code], value) for code, value in zip(codes, plain.operations.value, strict=True)]
    operations = replace(plain.operations, value=values, keys=keys, functions=["mget", "mset"])
    return History(plain.header, operations, plain.context)


def _context(end_ns: int) -> list[Event]:
    """What makes the final reads decide: everybody said who he is, and the system converged."""
    views = [
        Event("info", "view", "observer", 0, 0, value={"node": node, "state": "up", "role": "primary", "epoch": epoch})
        for epoch, node in enumerate(NODES, 1)
    ]
    return [*views, Event("info", "phase", "controller", 0, end_ns, value={"phase": "converged"})]


def save(history: History, path: Path) -> None:
    """Write the history as a run would have recorded it: one event a line, in order of time."""
    operations = history.operations
    count = len(operations)
    ends = np.where(operations.end == NEVER, operations.start + 500_000, operations.end)
    order = np.argsort(np.concatenate((operations.start, ends)), kind="stable")
    encode = msgspec.json.Encoder().encode_lines
    with path.open("wb") as file:
        file.write(encode([history.header, *history.context]))
        for first in range(0, len(order), 100_000):
            chosen = order[first : first + 100_000]
            file.write(encode(_events(operations, chosen % count, chosen < count, ends, first)))


def _events(
    operations: Operations,
    rows: np.ndarray[Any, Any],
    opens: np.ndarray[Any, Any],
    ends: np.ndarray[Any, Any],
    first: int,
) -> list[Event]:
    """The invocations (where it `opens`) and completions of rows, numbered from `first` on."""
    times = np.where(opens, operations.start[rows], ends[rows])
    columns = (operations.process, operations.f, operations.key, operations.node, operations.type, operations.final)
    events = []
    for index, (row, open_, time, process, f, key, node, kind, final) in enumerate(
        zip(rows.tolist(), opens.tolist(), times.tolist(), *(column[rows].tolist() for column in columns), strict=True)
    ):
        name, value = operations.functions[f], operations.value[row]
        event = Event("invoke", name, process, first + index, time, operations.keys[key], value, final=final)
        if open_ and name == "read":
            event.value = None
        elif open_ and name == "mget":
            event.value = dict.fromkeys(value)
        elif not open_:
            event.type = TYPES[kind]
            event.node = operations.nodes[node] if kind == OK else None
            event.error = None if kind == OK else "Timeout reading from socket"
        events.append(event)
    return events

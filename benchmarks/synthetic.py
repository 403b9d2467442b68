"""Register histories of any size whose every operation has a hidden moment at which it happened.

They are linearizable by construction. Made column by column, so that ten million operations take seconds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from checkers.history import INFO, NEVER, OK, History, Operations


def history(count: int, *, keys: int = 10, clients: int = 10, indeterminate: float = 0.01, seed: int = 7) -> History:
    """`count` operations of `clients`, half of them writes; half of the indeterminate writes take effect."""
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
    return History(
        {"format": "cachequake-history", "version": 1},
        Operations(
            index=np.arange(count),
            process=process,
            start=start,
            end=np.where(info, NEVER, end),
            type=np.where(info, INFO, OK).astype(np.uint8),
            f=write.astype(np.int16),
            key=key.astype(np.int32),
            node=(key % 3).astype(np.int32),
            final=np.zeros(count, np.bool_),
            value=[number or None for number in result.tolist()],
            functions=["read", "write"],
            keys=[f"k{number}" for number in range(keys)],
            nodes=["n1", "n2", "n3"],
        ),
        [],
    )


def save(history: History, path: Path) -> None:
    """Write the history as a run would have recorded it: one event a line, in order of time."""
    operations = history.operations
    count = len(operations)
    ends = np.where(operations.end == NEVER, operations.start + 500_000, operations.end)
    times = np.concatenate((operations.start, ends))
    order = np.argsort(times, kind="stable").tolist()
    process, f = operations.process.tolist(), [operations.functions[code] for code in operations.f.tolist()]
    key = [operations.keys[code] for code in operations.key.tolist()]
    node = [operations.nodes[code] for code in operations.node.tolist()]
    final = ["info" if kind == INFO else "ok" for kind in operations.type.tolist()]
    with path.open("w") as file:
        file.write('{"format":"cachequake-history","version":1,"run":"synthetic","clients":10}\n')
        for index, (event, time) in enumerate(zip(order, times[order].tolist(), strict=True)):
            row = event % count
            value = "null" if operations.value[row] is None else operations.value[row]
            common = f'"time":{time},"process":{process[row]}'
            rest = f'"f":"{f[row]}","key":"{key[row]}","value":'
            if event < count:
                value = "null" if f[row] == "read" else value
                file.write(f'{{"index":{index},{common},"type":"invoke",{rest}{value}}}\n')
            else:
                answer = f',"node":"{node[row]}"' if final[row] == "ok" else ',"error":"Timeout reading from socket"'
                file.write(f'{{"index":{index},{common},"type":"{final[row]}",{rest}{value}{answer}}}\n')

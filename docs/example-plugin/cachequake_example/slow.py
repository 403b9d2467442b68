"""Checker `slow`: operations that succeeded and took longer than a page can wait for its cache."""

import numpy as np

from chaos.extend import OK, Anomaly, Collector, Finding, History, Meaning

MOST_MS = 100


class Slow:
    kinds = {"slow-operation": Meaning("slow_operations", "slow operation", "slow operations", f"over {MOST_MS} ms")}

    def __call__(self, history: History) -> Finding:
        found, ops = Collector("slow"), history.operations
        rows = np.flatnonzero((ops.type == OK) & ~ops.final)
        took_ms = (ops.end[rows] - ops.start[rows]) / 1e6
        for row, ms in zip(rows[took_ms > MOST_MS].tolist(), took_ms[took_ms > MOST_MS].tolist(), strict=True):
            told = f"{ops.functions[ops.f[row]]} of {ops.key_name(row)} took {ms:.0f} ms at {ops.node_name(row)}"
            found.add(Anomaly("slow-operation", told, [int(ops.index[row])], ops.key_name(row), measured={"ms": ms}))
        return found.finding({"checked": len(rows), "longest_ms": float(took_ms.max(initial=0))})

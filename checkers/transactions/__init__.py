"""Transactions over lists and registers, and the consistency models that what they saw rules out.

>>> from checkers.history import Event, from_events
>>> from checkers.transactions import check_transactions
>>> done = [[["append", "x", 1], ["r", "y", []]], [["append", "y", 2], ["r", "x", []]]]
>>> events = [Event("invoke", "txn", process, value=value) for process, value in enumerate(done)]
>>> events += [Event("ok", "txn", process, value=value) for process, value in enumerate(done)]
>>> check_transactions(from_events(events)).counts
{'G2-item': 1}

The method is that of Elle (Kingsbury and Alvaro, VLDB 2020): recover from the values which transaction must have come
before which, and look for cycles, which Adya ("Weak consistency", 1999) showed to be what isolation levels forbid.

*Soundness*: only edges that the values prove are used, so an accusation stands under the assumptions that every
element and value is written once per key (a key where it is not is set aside) and that a transaction that returned
happened. *Completeness*: a list that nobody read has no order, and a register seldom shows one, so a history without
an anomaly may still be wrong.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np

from checkers.context import Timeline
from checkers.finding import MOST_LISTED, Collector, Finding
from checkers.history import History
from checkers.transactions import list_append, phenomena, read_write
from checkers.transactions.cycles import Found, find
from checkers.transactions.explain import Explainer
from checkers.transactions.graph import Dependencies, build
from checkers.transactions.micro import Flags, Transactions, flatten
from checkers.transactions.models import RULES_OUT, not_ruled_out, ruled_out

__all__ = ["CHECKER", "RULES_OUT", "check_transactions", "not_ruled_out", "ruled_out"]

CHECKER = "transactions"


def check_transactions(history: History, *, null_reads_unknown: bool = False) -> Finding:
    """Find the anomalies of a history's transactions (operations `txn`) and the models that they rule out.

    Reads that did not ask the owner of a key (`via` a replica or cache) take no part. A history with completions only
    (`completions_only` in its header) has no order of time, so neither process nor real-time edges are used.
    `null_reads_unknown` says that a read of null means "not seen" instead of "nothing there yet". The finding is
    unknown when nothing was proved but some key could not be decided; `metrics["undecided"]` says which and why.

    Raises HistoryError, naming the operation, where a value is not a list of micro-operations.
    """
    transactions, writes = flatten(history, null_reads_unknown=null_reads_unknown)
    lists = list_append.read_lists(transactions, writes)
    registers = read_write.read_registers(transactions, writes)
    committed = _committed(transactions, lists, registers)
    dependencies = Dependencies(len(transactions))
    list_append.depend(lists, committed, dependencies)
    read_write.depend(registers, committed, dependencies)
    graph, edges = build(transactions, dependencies, ordered=not history.header.get("completions_only"))
    found = find(graph, transactions, MOST_LISTED)

    collector = Collector(CHECKER)
    explainer = Explainer(transactions, lists, Timeline.of(history))
    for seen in chain(phenomena.in_lists(lists, committed), phenomena.in_registers(registers, committed)):
        if collector.wants(seen.kind):
            collector.add(explainer.phenomenon(seen))
        else:
            collector.count(seen.kind)
    for cycle in found.cycles:
        collector.add(explainer.cycle(cycle))
    for kind, more in found.more.items():
        collector.count(kind, more)
    metrics = _metrics(transactions, collector.counts, found)
    metrics |= {"edges": edges, "version_orders": int(np.count_nonzero(lists.ordered))}
    return collector.finding(metrics, _unknown(transactions))


def _committed(transactions: Transactions, lists: list_append.Lists, registers: read_write.Registers) -> Flags:
    """Transactions that happened: those that returned, and those of unknown outcome of which a write was seen."""
    committed = transactions.ok.copy()
    committed[list_append.observed(lists)] = True
    committed[read_write.observed(registers)] = True
    return committed & ~transactions.failed


def _metrics(transactions: Transactions, counts: dict[str, int], found: Found) -> dict[str, Any]:
    return {
        "checked": len(transactions),
        "micro_operations": len(transactions.txn),
        "ruled_out": ruled_out(counts),
        "not_ruled_out": not_ruled_out(counts),
        "components": found.components,
        "components_not_searched": found.unsearched,
        "undecided": transactions.undecided,
    }


def _unknown(transactions: Transactions) -> str | None:
    if not transactions.undecided:
        return None
    key, reason = next(iter(transactions.undecided.items()))
    others = len(transactions.undecided) - 1
    return f"key {key} cannot be decided: {reason}" + (f" (and {others} more such keys)" if others else "")

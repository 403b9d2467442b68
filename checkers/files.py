"""One file, one answer: whoever recorded it. What `cachequake check FILE` prints."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from checkers.choose import check_linearizability
from checkers.finding import Finding, Verdict, merge
from checkers.foreign import read
from checkers.history import History
from checkers.linearizability_general import named
from checkers.locks import check_locks, is_expiring
from checkers.models import guess_model
from checkers.queues import check_queue
from checkers.sets import check_sets
from checkers.transactions import check_transactions

TRANSACTIONS = {"list-append": "append", "rw-register": "w"}
"""Models of histories of transactions, by what their micro-operations write with."""


@dataclass(frozen=True)
class _Question:
    """What was asked of a file."""

    model: str | None
    initial: Any
    budget_s: float
    null_reads: str


_Check = Callable[[History, _Question], Finding]

_CHECKS: dict[str, _Check] = {
    "linearizability": lambda history, asked: check_linearizability(
        history, None if asked.model in TRANSACTIONS else asked.model, asked.initial, asked.budget_s
    ),
    "transactions": lambda history, asked: check_transactions(
        history, null_reads_unknown=asked.null_reads == "unknown"
    ),
    "sets": lambda history, asked: check_sets(history),
    "locks": lambda history, asked: check_locks(history),
    "queue": lambda history, asked: check_queue(history),
}
"""Checkers that a question concerns, by name; all others read the history alone."""

_ASKED_OF: dict[str, tuple[str, ...]] = {
    "set": ("linearizability", "sets"),
    "lock": ("linearizability", "locks"),
    "queue": ("linearizability", "queue"),
    **dict.fromkeys(TRANSACTIONS, ("transactions",)),
}
"""Checkers by model; for every other one it is whether its objects are linearizable."""


def check_file(
    path: str | Path,
    model: str | None = None,
    initial: Any = None,
    checkers: Iterable[str] | None = None,
    budget_s: float = 60,
    null_reads: str = "value",
    keyed: bool | None = None,
) -> dict[str, Any]:
    """Read a history of any kind and check it: what is to be answered for one file, ready for JSON.

    `model` is one of `checkers.models.MODELS` or `TRANSACTIONS`, and guessed when it is obvious. Without `checkers`,
    those of the model are asked: whether the objects are linearizable and what became of their elements, or which
    anomalies the transactions show. A history of no single model, such as a run of several workloads, goes through
    all checkers. `initial` is the value before the first write, and `budget_s` bounds the general search.

    Raises HistoryError when the file cannot be read, and ValueError for a model or a checker that is not known.
    """
    if model is not None and model not in TRANSACTIONS:
        named(model)
    started = time.perf_counter()
    history = read(path, null_reads=null_reads, keyed=keyed)
    loaded = time.perf_counter()
    chosen = model or model_of(history)
    names = _names(history, chosen) if checkers is None else list(checkers)
    question = _Question(chosen, initial, budget_s, null_reads)
    findings = [_asked(name, history, question) for name in names]
    ended = time.perf_counter()
    return {
        "file": str(path),
        "model": chosen,
        "verdict": _verdict(findings).value,
        "operations": len(history.operations),
        "seconds": {"read": round(loaded - started, 6), "check": round(ended - loaded, 6)},
        "findings": [msgspec.to_builtins(finding) for finding in findings],
    }


def model_of(history: History) -> str | None:
    """The model that a history is obviously of, by the names that `check_file` takes; None when there is doubt."""
    operations = history.operations
    if {operations.functions[code] for code in set(operations.f.tolist())} != {"txn"}:
        return guess_model(history)
    verbs = {micro[0] for value in operations.value for micro in value or ()}
    fitting = [name for name, verb in TRANSACTIONS.items() if verb in verbs]
    return fitting[0] if len(fitting) == 1 else None


def _names(history: History, model: str | None) -> list[str]:
    if model is None:
        return list(_registered() | _CHECKS)
    if model == "lock" and is_expiring(history):
        return ["locks"]  # one that expires by itself is no sequential lock
    return list(_ASKED_OF.get(model, ("linearizability",)))


def _registered() -> dict[str, Callable[[History], Finding]]:
    from checkers import CHECKERS  # the package exports this module too

    return dict(CHECKERS)


def _asked(name: str, history: History, question: _Question) -> Finding:
    """What one checker found; one that fails is unknown with the reason."""
    registered = _registered()
    if name not in _CHECKS and name not in registered:
        raise ValueError(f"no checker is called {name}; there are {', '.join(registered | _CHECKS)}")
    try:
        return _CHECKS[name](history, question) if name in _CHECKS else registered[name](history)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other findings still stand
        reason = f"the checker failed: {type(error).__name__}: {error}"
        return Finding(name, Verdict.UNKNOWN, reason, metrics={"checked": 0})


def _verdict(findings: Iterable[Finding]) -> Verdict:
    """Of those that had something to check; without any it is unknown."""
    spoke = [found.verdict for found in findings if found.metrics.get("checked") or found.verdict is not Verdict.VALID]
    return merge(spoke) if spoke else Verdict.UNKNOWN

"""The checkers by name, and what each found in a history."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cachequake.plugins import Table
from checkers.availability import check_availability
from checkers.balance import check_balance
from checkers.cachefill import check_cachefill
from checkers.choose import check_run_registers
from checkers.durability import check_durability
from checkers.expiry import check_expiry
from checkers.finding import Checker, Finding, Meaning, Verdict, kinds_of
from checkers.history import History
from checkers.locks import check_locks
from checkers.multikey import check_multikey
from checkers.queues import check_queue
from checkers.resizes import Moves
from checkers.sessions import check_sessions
from checkers.slots import check_slots
from checkers.staleness import check_staleness
from checkers.transactions import check_transactions
from checkers.visibility import check_visibility

_BUILT_IN: dict[str, Checker] = {
    "linearizability": check_run_registers,
    "staleness": check_staleness,
    "sessions": check_sessions,
    "durability": check_durability,
    "multikey": check_multikey,
    "slots": check_slots,
    "availability": check_availability,
    "transactions": check_transactions,
    "locks": check_locks,
    "queue": check_queue,
    "expiry": check_expiry,
    "balance": check_balance,
    "visibility": check_visibility,
    "cachefill": check_cachefill,
}


def _unfit(name: str, found: Any) -> str | None:
    if not callable(found):
        return f"{found!r} cannot be called with a history"
    known = all(isinstance(kind, Meaning) for kind in kinds_of(found).values())
    return None if known else "its `kinds` are not checkers.Meaning by kind of anomaly"


CHECKERS: Table[Checker] = Table("checkers", "checker", _BUILT_IN, _unfit, instances=True)
"""Every checker by name, as findings and claims call it; those that other packages add come last."""


def check(history: History, names: Iterable[str] | None = None) -> dict[str, Finding]:
    """What each checker (all, or those named) found in a history.

    A checker that raises is unknown, with the exception as the reason: it never takes the others down. Raises
    ValueError for a name that no checker has. Those of installed packages that cannot be loaded are left out, unless
    they are named.
    """
    wanted = list(CHECKERS if names is None else names)
    unheard = [name for name in wanted if name not in CHECKERS]
    if unheard:
        raise ValueError(f"no checker is called {', '.join(unheard)}; there are {', '.join(CHECKERS)}")
    moves = Moves.of(history)
    return {name: moves.told(_checked(name, history)) for name in wanted}


def _checked(name: str, history: History) -> Finding:
    try:
        return CHECKERS[name](history)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other findings still stand
        reason = f"the checker failed: {type(error).__name__}: {error}"
        return Finding(name, Verdict.UNKNOWN, reason, metrics={"checked": 0})

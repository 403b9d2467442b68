"""Which way to decide linearizability: zones where values are unique, the general search for everything else."""

from __future__ import annotations

from typing import Any

from checkers.finding import Finding, merge
from checkers.history import History
from checkers.linearizability import check_registers
from checkers.linearizability_general import check_model
from checkers.models import CasRegister, Model, guess_model


def check_linearizability(
    history: History, model: str | Model | None = None, initial: Any = None, budget_s: float = 60
) -> Finding:
    """Decide every object of a history against a model: by default the one that its operations leave no doubt about.

    Without a model that fits all of it (a run of several workloads), the registers are decided. Registers go through
    zones, and the keys on which those are undecided (a value written twice, compare and set) through the search.
    `metrics["model"]` names the model.

    Raises ValueError for a model that is not known.
    """
    chosen = model or guess_model(history) or "register"
    if chosen not in ("register", "cas-register"):
        return check_model(history, chosen, initial, budget_s)
    zones = check_registers(history, initial=initial)
    zones.metrics["model"] = chosen
    left = zones.metrics["undecided"]
    if not left:
        return zones
    return _joined(zones, check_model(history, CasRegister(), initial, budget_s, keys=left))


def check_run_registers(history: History) -> Finding:
    """The registers of a run, whatever else it did: its sets, lists and counters have checkers of their own."""
    return check_linearizability(history, "register")


def _joined(zones: Finding, searched: Finding) -> Finding:
    """One finding of both: what zones did not decide, the search did or could not."""
    counts = dict(zones.counts)
    for kind, count in searched.counts.items():
        counts[kind] = counts.get(kind, 0) + count
    numbers = {name: zones.metrics[name] + searched.metrics[name] for name in ("checked", "keys")}
    rest = {name: searched.metrics[name] for name in ("configurations", "undecided")}
    plain = merge([searched.verdict, *([zones.verdict] if zones.counts else [])])
    return Finding(
        zones.checker,
        plain,
        searched.reason,
        counts,
        zones.metrics | numbers | rest,
        [*zones.anomalies, *searched.anomalies],
    )

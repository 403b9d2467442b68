"""Are the objects of a history linearizable to a sequential model? Any model, by the general search.

Unique-value registers are decided much faster by `checkers.linearizability`; `checkers.choose` picks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from checkers.context import Timeline, seconds
from checkers.events import FAIL, NEVER, OK
from checkers.finding import Anomaly, Collector, Finding, Verdict
from checkers.history import History, Operations
from checkers.linearizability import CHECKER, KIND, name_key
from checkers.models import MODELS, UNSEEN, Call, Model, freeze, shown
from checkers.search import Budget, Outcome, search
from checkers.zones import PROMISED_NOTHING, ways

_MOST_STATES = 6
_MOST_OPERATIONS = 12
"""Operations that an anomaly lists as its proof: the last that could be placed, and those that could not."""


def check_model(
    history: History,
    model: str | Model,
    initial: Any = None,
    budget_s: float = 60,
    *,
    keys: Collection[str] | None = None,
) -> Finding:
    """Decide each object of a history (one per key) against a model, by name or of one's own.

    `initial` is the value before the first operation (by default the model's: nothing there). With `keys` only these
    objects are looked at ("" is the one without a key). Objects that the model cannot write to are left to others. The
    finding is unknown when nothing was proved wrong and some object could not be decided: the budget, shared by all,
    ran out, or it has operations that the model does not know. `metrics["undecided"]` says which and why.

    Raises ValueError for a model that is not known.
    """
    chosen = named(model) if isinstance(model, str) else model
    start = chosen.initial if initial is None else chosen.state(initial)
    report = _Report(history, chosen)
    budget = Budget.of(budget_s)
    objects = {key: rows.tolist() for key, rows in history.groups.items() if keys is None or key in keys}
    for key, rows in sorted(objects.items(), key=lambda item: len(item[1])):
        used = {history.operations.functions[code] for code in set(history.operations.f[rows].tolist())}
        if used <= chosen.functions:
            calls = list(_calls(history.operations, chosen, rows))
            report.add(key, len(calls), search(chosen, calls, start, budget))
        elif used & (chosen.functions - chosen.reads):
            strange = ", ".join(sorted(used - chosen.functions))
            report.undecided[key] = f"it has operations that a {chosen.name} does not know: {strange}"
    return report.finding()


def named(model: str) -> Model:
    """The model of that name. Raises ValueError when there is none."""
    if model not in MODELS:
        raise ValueError(f"no model is called {model!r}; there are {', '.join(MODELS)}")
    return MODELS[model]()


def _calls(operations: Operations, model: Model, rows: Iterable[int]) -> Iterable[Call]:
    """Without operations that did not happen, reads without an answer, and reads that did not ask the owner."""
    via = ways(operations)
    for row in rows:
        kind, f = int(operations.type[row]), operations.functions[operations.f[row]]
        reads = f in model.reads
        if kind == FAIL or (reads and (kind != OK or via.get(row) in PROMISED_NOTHING)):
            continue
        value = freeze(operations.value[row])
        end = int(operations.end[row]) if kind == OK else NEVER
        yield Call(row, int(operations.start[row]), end, f, value, value if kind == OK else UNSEEN)


@dataclass
class _Report:
    history: History
    model: Model
    checked: int = 0
    keys: int = 0
    configurations: int = 0
    undecided: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.found = Collector(CHECKER)
        self.timeline = Timeline.of(self.history)

    def add(self, key: str, calls: int, outcome: Outcome) -> None:
        """Take down what a search said of one object."""
        self.checked += calls
        self.keys += calls > 0
        self.configurations += outcome.configurations
        if outcome.verdict is Verdict.UNKNOWN:
            self.undecided[key] = str(outcome.reason)
        elif outcome.verdict is Verdict.INVALID:
            self.found.add(self._anomaly(key, calls, outcome))

    def finding(self) -> Finding:
        """All of it."""
        key, reason = next(iter(self.undecided.items()), ("", None))
        unknown = None if reason is None else f"{name_key(key)} is not decided: {reason}"
        metrics = {
            "checked": self.checked,
            "model": self.model.name,
            "keys": self.keys,
            "configurations": self.configurations,
            "undecided": self.undecided,
        }
        return self.found.finding(metrics, unknown)

    def _anomaly(self, key: str, calls: int, outcome: Outcome) -> Anomaly:
        operations = self.history.operations
        row = outcome.stuck[0]
        start, end = int(operations.start[row]), int(operations.end[row])
        states = sorted({self.model.show(state) for state in outcome.states})
        last = [int(operations.index[placed]) for placed in reversed(outcome.order[-_MOST_OPERATIONS:])]
        orders = (
            "in every order of the operations before it" if outcome.exact else "in every order that could lead to it"
        )
        why = f"{orders} the state is {_either(states)}" if states else "nothing before its end can have led to it"
        sentence = (
            f"{name_key(key)} is not linearizable as a {self.model.name}: {_named(operations, row)}, between "
            f"{seconds(start)} and {seconds(end)}, has no place, because {why}; "
            f"{len(outcome.order)} of the {calls} operations can be placed; {self.timeline.describe(start, end)}"
        )
        return Anomaly(
            kind=KIND,
            explanation=sentence,
            operations=[int(operations.index[row]), *last],
            key=key or None,
            fault=self.timeline.fault_at(start, end),
            measured={
                "placed": len(outcome.order),
                "prefix": [int(operations.index[placed]) for placed in outcome.order],
                "stuck": [int(operations.index[other]) for other in outcome.stuck],
                "states": states[:_MOST_STATES],
            },
        )


def _either(states: list[str]) -> str:
    named = states[:_MOST_STATES]
    if len(states) > _MOST_STATES:
        named.append(f"one of {len(states) - _MOST_STATES} others")
    return " or ".join(named)


def _named(operations: Operations, row: int) -> str:
    f = operations.functions[operations.f[row]]
    return f"{f} {shown(operations.value[row])} (operation {operations.index[row]})"

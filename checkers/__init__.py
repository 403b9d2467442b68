"""Histories and what they prove. Pure functions: a history in, findings out.

>>> from checkers import check, load
>>> findings = check(load("runs/latest/history.jsonl"))  # doctest: +SKIP
>>> findings["durability"].counts  # doctest: +SKIP
{'lost-write': 246}
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from checkers.finding import Anomaly, Checker, Finding, Meaning, Verdict, merge
    from checkers.history import History, load
    from checkers.registry import CHECKERS, check

__all__ = ["CHECKERS", "Anomaly", "Checker", "Finding", "History", "Meaning", "Verdict", "check", "load", "merge"]

_HOMES = {
    "finding": ("Anomaly", "Checker", "Finding", "Meaning", "Verdict", "merge"),
    "history": ("History", "load"),
    "registry": ("CHECKERS", "check"),
}
"""The module of each name. None is imported before it is wanted: a run has processes that only record, and NumPy and
all the checkers would be more than half of what they import."""


def __getattr__(name: str) -> Any:
    """A name of `__all__`, from its module (PEP 562). Raises AttributeError for any other."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

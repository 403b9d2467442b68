"""Options of faults: their types, the words they may be, and the nearest right one for a wrong one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from nemeses.fault import Check, Fault


def nearest(word: str, valid: Iterable[str]) -> str:
    """The end of a message about a word that is not valid: the nearest that is, or all of them."""
    names = list(valid)
    near = get_close_matches(str(word), names, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"valid: {', '.join(names) or 'none'}"


def one_of(words: Collection[str]) -> Check:
    """The check of an option that is one of a few words."""

    def check(value: Any) -> Any:
        if value not in words:
            raise ValueError(f"{value!r} is not valid; {nearest(value, words)}")
        return value

    return check


def checked(fault: Fault, options: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a fault: those given, over its defaults. Raises ValueError, which names the option."""
    complete = dict(fault.options)
    for name, value in options.items():
        if name not in complete:
            raise ValueError(f"{fault.kind} has no option {name!r}; {nearest(name, complete)}")
        complete[name] = _typed(fault, name, value)
    return complete


def _typed(fault: Fault, name: str, value: Any) -> Any:
    default = fault.options[name]
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if default is not None and type(value) is not type(default) and not _subtype(value, default):
        raise ValueError(f"{fault.kind}: {name}: {value!r} is not {_named(default)}")
    try:
        return fault.checks[name](value) if name in fault.checks else value
    except ValueError as error:
        raise ValueError(f"{fault.kind}: {name}: {error}") from error


def _subtype(value: Any, default: Any) -> bool:
    return isinstance(value, type(default)) and not isinstance(value, bool)


def _named(default: Any) -> str:
    return {bool: "true or false", int: "a whole number", float: "a share from 0 to 1", str: "a word"}[type(default)]

"""Options of workloads and faults: checked against the defaults that each of them declares.

The type of an option is the type of its default. An option `X_ms` is written `X` with a unit, a float is a share
(`20%`, or a number from 0 to 1) or, where its default is above 1, any number from 0; and an option whose default is
None takes a mapping of numbers and durations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chaos.units import duration, is_duration, share, show_duration
from chaos.yaml_source import Place, Source


def resolve(source: Source, place: Place, given: Any, defaults: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The given options over the defaults, in the units that code uses. Raises BadInput at the option's line."""
    if given is None:
        given = {}
    if not isinstance(given, dict):
        source.fail(place, f"{what} takes options like {{{_example(defaults)}}}, not {given!r}")
    resolved = dict(defaults)
    for name, value in given.items():
        key = name if name in defaults else f"{name}_ms"
        if key not in defaults or name.endswith("_ms"):
            source.unknown((*place, name), f"option of {what}", map(spelling, defaults))
        try:
            resolved[key] = _convert(key, value, defaults[key])
        except ValueError as error:
            source.fail((*place, name), f"{name}: {error}")
    return resolved


def spelling(option: str) -> str:
    """How a scenario file names an option."""
    return option.removesuffix("_ms")


def spell(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as a scenario file writes them, units included: the inverse of `resolve`."""
    return {
        spelling(name): show_duration(value)
        if name.endswith("_ms") and value is not None
        else spell(value)
        if isinstance(value, dict)
        else value
        for name, value in options.items()
    }


def _convert(name: str, value: Any, default: Any) -> Any:
    if name.endswith("_ms"):
        return duration(value)
    if default is None:
        return _free(value)
    if isinstance(default, bool):
        return _expect(value, bool, "true or false")
    if isinstance(default, int):
        if _expect(value, int, "a whole number") < 0:
            raise ValueError(f"{value} is negative")
        return value
    if isinstance(default, float) and default > 1:
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise ValueError(f"{value!r} is not a number from 0")
        return float(value)
    if isinstance(default, float):
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
            return float(value)
        return share(value)
    return _expect(value, type(default), f"a {type(default).__name__}")


def _free(value: Any) -> Any:
    if isinstance(value, dict):
        return {f"{name}_ms" if is_duration(item) else name: _free(item) for name, item in value.items()}
    return duration(value) if is_duration(value) else value


def _expect(value: Any, kind: type, words: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{value!r} is not {words}")
    return value


def _example(defaults: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in spell(defaults).items())

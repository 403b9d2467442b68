"""A suite `NAME.suite.yaml`: systems and faults whose every combination is a scenario, to be put side by side.

    name: distributed-caching
    seeds: 5
    duration: 6s
    workload: {register: {keys: 50}}
    systems:
      - {name: ring, cluster: {topology: shards}, clients: {route: ring}}
    faults:
      - {name: none}
      - {name: kill, nemesis: [{fault: kill, target: primary of k0, at: 2s, for: 2s}]}

A system and a fault have the keys of a scenario; those of the suite go before theirs, mappings are merged. A
combination that no run could do (a proxy has no slots to move) has its reason instead of a scenario.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from chaos.errors import BadInput, Impossible
from chaos.scenario import Scenario, validate
from chaos.yaml_source import Source, nearest, parse_yaml, read_yaml

SUFFIX = ".suite.yaml"
_OWN = ("name", "seeds", "systems", "faults")


class Cell(NamedTuple):
    """One system under one fault."""

    system: str
    fault: str
    scenario: Scenario | None
    reason: str | None
    """Why there is no scenario."""


class Suite(NamedTuple):
    """What is to be compared."""

    name: str
    seeds: int
    """How many seeds each cell has, from 1."""
    cells: list[Cell]

    def only(self, systems: Sequence[str]) -> Suite:
        """The suite without its other systems; the whole of it when none is named. Raises BadInput."""
        known = list(dict.fromkeys(cell.system for cell in self.cells))
        for system in systems:
            if system not in known:
                raise BadInput(f"suite {self.name} has no system {system!r}{nearest(system, known)}")
        return self._replace(cells=[cell for cell in self.cells if not systems or cell.system in systems])


def load_suite(name_or_path: str | Path, overrides: Mapping[str, Any] | None = None) -> Suite:
    """Read and validate a built-in suite (by name) or a file; `overrides` are top-level keys of every scenario.

    Raises BadInput with file and line for what is wrong with the suite itself.
    """
    source = _read(name_or_path)
    data = source.data
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        source.fail((), "a suite is a mapping with at least `name` and `systems`")
    systems, faults = _named(source, "systems"), _named(source, "faults")
    seeds = data.get("seeds", 1)
    if not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 1:
        source.fail(("seeds",), f"seeds: {seeds!r} is not a whole number from 1")
    common = {key: value for key, value in data.items() if key not in _OWN} | dict(overrides or {})
    cells = [_cell(source.file, system, fault, common) for system in systems for fault in faults or [{"name": "none"}]]
    if all(cell.scenario is None for cell in cells):
        raise BadInput(f"none of its combinations can be run; the first: {cells[0].reason}", source.file)
    return Suite(data["name"], seeds, cells)


def builtin_suites() -> list[str]:
    """Names of the suites that come with the package."""
    folder = resources.files("chaos") / "scenarios"
    return sorted(file.name.removesuffix(SUFFIX) for file in folder.iterdir() if file.name.endswith(SUFFIX))


def _read(name_or_path: str | Path) -> Source:
    if Path(name_or_path).suffix in (".yaml", ".yml"):
        return read_yaml(Path(name_or_path))
    builtin = resources.files("chaos") / "scenarios" / f"{name_or_path}{SUFFIX}"
    if not builtin.is_file():
        hint = nearest(str(name_or_path), builtin_suites())
        raise BadInput(f"no suite file and no built-in suite is named {str(name_or_path)!r}{hint}")
    return parse_yaml(builtin.read_text(encoding="utf-8"), f"{name_or_path}{SUFFIX}")


def _named(source: Source, key: str) -> list[dict[str, Any]]:
    given = source.data.get(key, [])
    if not isinstance(given, list) or not (given or key == "faults"):
        source.fail((key,), f"{key}: a list of mappings, each with a `name`")
    names: set[str] = set()
    for number, entry in enumerate(given):
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            source.fail((key, number), f"{key}: each of them is a mapping with a `name`")
        if entry["name"] in names:
            source.fail((key, number), f"{key}: {entry['name']!r} is there twice")
        names.add(entry["name"])
    return given


def _cell(file: str, system: dict[str, Any], fault: dict[str, Any], common: Mapping[str, Any]) -> Cell:
    merged = merge(merge(common, system), fault)
    merged["name"] = f"{system['name']} with {fault['name']}"
    try:
        scenario = validate(Source(f"{file} ({merged['name']})", merged))
    except Impossible as error:
        return Cell(system["name"], fault["name"], None, error.message)
    return Cell(system["name"], fault["name"], scenario, None)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both together; where both have a mapping these are merged, otherwise `over` decides."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged

"""JSON Schemas of the files in a run directory, made from the types that write them.

What a field means is in the string below it, in the source: that becomes its description here, so there is no second
place to keep. A later version may add keys, so readers should bear keys that they do not know; the schemas do.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import msgspec

from chaos.plan import Plan
from chaos.result import Result
from chaos.schema import DIALECT, Schema, scenario_schema
from chaos.store import Executed
from checkers.events import Event


class Node(msgspec.Struct):
    """Where clients reach a node."""

    host: str
    port: int


class Header(msgspec.Struct):
    """The first line of `history.jsonl`: what was run. A history of another tool needs none of it."""

    format: Literal["cachequake-history"]
    version: Literal[1]
    run: str
    """Name of the run."""
    scenario: str | None = None
    """Name of the scenario."""
    seed: int | None = None
    server: str | None = None
    """Name and version that the server told: `valkey 9.1.2`."""
    deployment: str | None = None
    isolation: str | None = None
    """How links are cut, in words."""
    notes: list[str] = []
    """What a person should know of how the nodes were made."""
    clients: int | None = None
    """How many clients there are; client c has process c, and after an unknown outcome c + clients, and so on."""
    topology: str | None = None
    route: str | None = None
    way: str | None = None
    """The route that finds nodes: the one that `route` wraps, or `route` itself."""
    nodes: dict[str, Node] = {}
    """By name."""
    slots: list[tuple[int, int, str]] = []
    """Ranges as formed: first slot, last slot, owner. Empty where keys have no slots."""
    replicas: dict[str, list[str]] = {}
    """Names of the replicas as formed, by the name of their primary."""
    groups: dict[str, list[str]] = {}
    """Names of nodes by what clients need them for: `proxies`, `sentinels`, `spares`."""
    workloads: dict[str, dict[str, Any]] = {}
    """Options of each workload, durations in milliseconds."""
    plugins: dict[str, str] = {}
    """Versions of the packages that add something to this one, by name."""


class Format(NamedTuple):
    """A kind of file."""

    file: str
    """Its name in a run directory."""
    about: str
    schema: Callable[[], Schema]


def type_schema(*types: type) -> Schema:
    """The schema of a value that has one of these types, with the meaning of every field."""
    (*schemas,), definitions = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
    for struct in _structs(types):
        described = definitions[struct.__name__]["properties"]
        for name, words in field_meanings(struct).items():
            if name in described:
                described[name] = {"description": words, **described[name]}
    union: Schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    return {"$schema": DIALECT, **union, "$defs": definitions}


def field_meanings(struct: type) -> dict[str, str]:
    """What the source says of the fields of a class, in the string below each; a field without one is left out."""
    body = ast.parse(textwrap.dedent(inspect.getsource(struct))).body[0]
    assert isinstance(body, ast.ClassDef)
    meanings = {}
    for field, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(after, ast.Expr):
            meanings[field.target.id] = " ".join(inspect.cleandoc(str(ast.literal_eval(after.value))).split())
    return meanings


def _structs(types: tuple[type, ...]) -> Iterator[type]:
    """The structs that values of these types are made of, each once."""
    seen: set[type] = set()
    waiting: list[msgspec.inspect.Type] = list(msgspec.inspect.multi_type_info(types))
    while waiting:
        info = waiting.pop()
        if isinstance(info, msgspec.inspect.StructType) and info.cls not in seen:
            seen.add(info.cls)
            waiting += [field.type for field in info.fields]
            yield info.cls
        elif isinstance(info, msgspec.inspect.UnionType):
            waiting += info.types
        elif isinstance(info, msgspec.inspect.ListType | msgspec.inspect.VarTupleType):
            waiting.append(info.item_type)
        elif isinstance(info, msgspec.inspect.TupleType):
            waiting += info.item_types
        elif isinstance(info, msgspec.inspect.DictType):
            waiting += [info.key_type, info.value_type]


FORMATS: Mapping[str, Format] = {
    "scenario": Format("scenario.yaml", "a scenario, as a user writes it and as a run keeps it", scenario_schema),
    "plan": Format("plan.json", "everything that the seed decided, before anything ran", partial(type_schema, Plan)),
    "executed": Format("executed.json", "what the clients and the faults really did", partial(type_schema, Executed)),
    "history": Format("history.jsonl", "each line: the header, or one event", partial(type_schema, Header, Event)),
    "results": Format("results.json", "what was found, and what became of the claims", partial(type_schema, Result)),
}
"""By the name that `cachequake schema` takes."""

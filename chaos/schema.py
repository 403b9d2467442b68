"""The JSON Schema of scenario files, for editors: made from the same tables that scenarios are validated by.

It knows every key, kind, option and claim, and the forms of their values. What depends on several keys at once (a route
that does not lead to a topology, a target that does not exist) is for `chaos.scenario` to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from chaos import units
from chaos.claims import WHOLE, subjects
from chaos.deploy.kinds import DEPLOYMENTS
from chaos.options import spelling
from chaos.routes import ROUTES
from chaos.topologies import TOPOLOGIES
from chaos.workloads import WORKLOADS
from nemeses import FAULTS

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
DURATION: Schema = {"type": "string", "pattern": f"^{units.DURATION}$"}
PERCENT: Schema = {"type": "string", "pattern": f"^{units.SHARE}$"}
SHARE: Schema = {"anyOf": [PERCENT, {"type": "number", "minimum": 0, "maximum": 1}]}
WHOLE_NUMBER: Schema = {"type": "integer", "minimum": 0}


def scenario_schema() -> Schema:
    """The schema of `NAME.quake.yaml`."""
    return {
        "$schema": DIALECT,
        "title": "A scenario of cachequake",
        **_closed(
            {
                "name": _about("What runs of it are called.", {"type": "string", "minLength": 1}),
                "seed": _about(
                    "Decides what is decided by chance; drawn, and told, when there is none.",
                    {"anyOf": [WHOLE_NUMBER, {"type": "null"}]},
                ),
                "duration": _about("How long the load lasts.", DURATION),
                "cluster": _about(
                    "What the nodes form.",
                    _one_of("topology", "cluster", {name: _cluster(name) for name in TOPOLOGIES}),
                ),
                "deploy": _about("Where the nodes live.", {"enum": list(DEPLOYMENTS)}),
                "endpoint": _about("Where servers are that run already, with deploy: endpoint.", {"type": "object"}),
                "incident": _about("The published failure that it shows.", _incident()),
                "clients": _about(
                    "Who drives the load.", _one_of("route", None, {name: _clients(name) for name in ROUTES})
                ),
                "workload": _about("What the clients do; each workload has keys of its own.", _workload()),
                "nemesis": _about("What breaks, and when.", {"type": "array", "items": _nemesis()}),
                "claims": _about("What should hold: nothing unless you say so.", _claims()),
            },
            required=["name"],
        ),
    }


def _closed(properties: Schema, required: Iterable[str] = ()) -> Schema:
    """A mapping with these keys and no others."""
    needed = {"required": list(required)} if required else {}
    return {"type": "object", "properties": properties, "additionalProperties": False, **needed}


def _about(words: str, schema: Schema) -> Schema:
    return {"description": words, **schema}


def _one_of(key: str, default: str | None, schemas: Mapping[str, Schema]) -> Schema:
    """A mapping of which one key says what else there may be; without that key it is the default's, or any of them."""
    cases = []
    for name, schema in schemas.items():
        needed = [] if name == default else [key]
        cases.append({**schema, "properties": {key: {"const": name}, **schema["properties"]}, "required": needed})
    if default is None:
        every = {name: value for schema in schemas.values() for name, value in schema["properties"].items()}
        cases.append({**_closed(every), "not": {"required": [key]}})
    return {"anyOf": [{"type": "null"}, *cases]}


def _cluster(topology: str) -> Schema:
    kind = TOPOLOGIES[topology]
    general: Schema = {
        "primaries": {"type": "integer", "minimum": 1, "default": kind.defaults["primaries"]},
        "replicas": _about(
            "Replicas of each primary.", {"type": "integer", "minimum": 0, "default": kind.defaults["replicas"]}
        ),
        "config": _about("Server directives, as in redis.conf; durations may have units.", {"type": "object"}),
    }
    return _about(kind.summary, _closed(general | _options(kind.options)))


def _clients(route: str) -> Schema:
    general: Schema = {
        "count": {"type": "integer", "minimum": 1, "default": 10},
        "timeout": _about("How long a client waits for a reply.", DURATION),
        "rate": _about(
            "Operations a second and client; max for as many as go.",
            {"anyOf": [{"const": "max"}, {"type": "number", "exclusiveMinimum": 0}]},
        ),
        "processes": _about("Among how many processes they are divided.", {"type": "integer", "minimum": 1}),
    }
    return _closed(general | _options(ROUTES[route].options))


def _workload() -> Schema:
    each = {name: _closed(_options(workload.defaults)) for name, workload in WORKLOADS.items()}
    nullable = {name: {"anyOf": [{"type": "null"}, schema]} for name, schema in each.items()}
    return {**_closed(nullable), "minProperties": 1}


def _nemesis() -> Schema:
    mixture = {"random": {"type": "array", "items": {"enum": list(FAULTS)}, "minItems": 1}, "every": DURATION}
    kinds = [
        _closed(
            {
                "fault": {"const": name},
                "target": _about("Whom it strikes.", {"type": "string", "default": fault.default_target}),
                "at": _about("When it strikes.", DURATION),
                "for": _about("How long it holds.", DURATION),
                "seed": _about("Decides what chance decides about it; the scenario's seed otherwise.", WHOLE_NUMBER),
                **_options(fault.options),
            },
            required=["fault"],
        )
        for name, fault in FAULTS.items()
    ]
    return {"anyOf": [_closed(mixture, required=["random"]), *kinds]}


def _claims() -> Schema:
    each = {name: _claim(subject.limits) for name, subject in subjects().items()}
    return {"anyOf": [{"type": "null"}, _closed(each)]}


def _claim(limits: Iterable[str]) -> Schema:
    forms = []
    for limit in limits:
        if limit in WHOLE:
            forms.append(WHOLE_NUMBER)
        elif limit == "share":
            forms.append(_closed({"max": PERCENT}, required=["max"]))
        else:
            forms.append(_closed({limit: DURATION}, required=[limit]))
    return {"anyOf": forms}


def _incident() -> Schema:
    names: Schema = {"type": "array", "items": {"type": "string"}}
    return _closed({"reported": names, "servers": names, "expect": names})


def _options(defaults: Mapping[str, Any]) -> Schema:
    """Options by how a scenario file names them, each in the form that its default tells (see `chaos.options`)."""
    return {spelling(name): _option(name, default) for name, default in defaults.items()}


def _option(name: str, default: Any) -> Schema:
    if name.endswith("_ms"):
        return DURATION
    if default is None:
        return {}
    if isinstance(default, bool):
        return {"type": "boolean", "default": default}
    if isinstance(default, int):
        return WHOLE_NUMBER | {"default": default}
    if isinstance(default, float):
        return SHARE if default <= 1 else {"type": "number", "minimum": 0, "default": default}
    return {"type": "string", "default": default} if isinstance(default, str) else {}

"""The pages of the reference: each is made from the tables by which the code itself goes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import resources
from typing import Any

import msgspec
from markdown_parts import block, code, codes, first_line, table, words_of

from chaos.claims import SUBJECTS
from chaos.deploy.docker.deployment import CAPABILITIES as ON_DOCKER
from chaos.deploy.kinds import DEPLOYMENTS
from chaos.deploy.local import CAPABILITIES as ALWAYS_LOCAL
from chaos.deploy.local import ON_DEMAND
from chaos.deploy.virtual.deployment import CAPABILITIES as ON_VIRTUAL
from chaos.formats import FORMATS, Header, field_meanings
from chaos.options import spell, spelling
from chaos.outcomes import TABLE, UNLISTED
from chaos.result import Result
from chaos.routes import ROUTES
from chaos.scenario import SUFFIX
from chaos.schema import scenario_schema
from chaos.store import Executed
from chaos.topologies import TOPOLOGIES
from chaos.workloads import WORKLOADS
from checkers import CHECKERS, Anomaly, Finding
from checkers.events import Event
from nemeses import FAULTS, targets

WHERE = {
    "local": ALWAYS_LOCAL | ON_DEMAND | {"loss"},
    "docker": ON_DOCKER | {"skew"},
    "virtual": ON_VIRTUAL,
}
"""What each deployment that starts its nodes can do, where the machine lets it."""


def pages() -> dict[str, str]:
    """Every page by its name."""
    return {
        "scenario": scenario_page(),
        "claims": claims_page(),
        "faults": faults_page(),
        "workloads": workloads_page(),
        "routes": routes_page(),
        "topologies": topologies_page(),
        "deployments": deployments_page(),
        "checkers": checkers_page(),
        "errors": errors_page(),
        "formats": formats_page(),
    }


def scenario_page() -> str:
    """The keys of a scenario file, from its schema."""
    properties = scenario_schema()["properties"]
    rows = [(code(name), _form(schema), schema.get("description", "")) for name, schema in properties.items()]
    keys = {"cluster": ("cluster", "shards"), "clients": ("bare", "l1")}
    parts = [
        "# Scenario files\n",
        (
            "`NAME.quake.yaml`: what is run, what breaks, and what should hold. Every key but `name` has a default. "
            "Units are written out (`500ms`, `3s`, `2m`; `20%`). An unknown key is an error that names the nearest "
            "valid one, with file and line. `cachequake schema` prints the schema that this page is made from, for "
            "your editor; see [Scenarios in an editor](../how-to/editor.md).\n"
        ),
        table(("key", "form", "meaning"), rows),
        "The built-in scenario `everything`, as an example:\n",
        block("yaml", (resources.files("chaos") / "scenarios" / f"everything{SUFFIX}").read_text(encoding="utf-8")),
    ]
    for key, examples in keys.items():
        parts.append(f"## {key}\n")
        parts.append(_CHOICES[key])
        for case in properties[key]["anyOf"]:
            own = case.get("properties", {})
            chosen = own.get("topology", own.get("route", {})).get("const")
            if chosen in examples:
                parts.append(f"With `{chosen}`:\n\n" + _options(own))
    parts += [
        "## nemesis\n",
        (
            "A list. Each entry is one fault, `{fault: KIND, target: WHOM, at: 3s, for: 5s, ...}` with the options "
            "of its kind (see [Faults](faults.md)), or a mixture that is drawn from the seed: `{random: [KIND, ...], "
            "every: 4s}`.\n"
        ),
        "## The rest\n",
        (
            "`workload` names one or more of the [workloads](workloads.md) with their options; `claims` names "
            "[what should hold](claims.md).\n"
        ),
    ]
    return "\n".join(parts)


_CHOICES = {
    "cluster": "What the nodes form. `topology` decides which other keys there are; see [Topologies](topologies.md).\n",
    "clients": "Who drives the load. `route` decides which other keys there are; see [Routes](routes.md).\n",
}


def _options(properties: Mapping[str, Any]) -> str:
    rows = [
        (
            code(name),
            _form(schema),
            code(schema["default"]) if "default" in schema else "",
            schema.get("description", ""),
        )
        for name, schema in properties.items()
        if "const" not in schema
    ]
    return table(("key", "form", "default", "meaning"), rows)


def _form(schema: Mapping[str, Any]) -> str:
    """What a value looks like, in words."""
    if "enum" in schema:
        return codes(schema["enum"])
    if "const" in schema:
        return code(schema["const"])
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_form(case) for case in schema["anyOf"]))
    if "pattern" in schema:
        return "a share: `20%`" if "%" in schema["pattern"] else "a duration: `500ms`, `3s`"
    kinds = {
        "string": "text",
        "integer": f"a whole number from {schema.get('minimum', 0)}",
        "number": "a number",
        "boolean": "`true` or `false`",
        "object": "a mapping",
        "array": "a list",
        "null": "nothing",
    }
    return kinds.get(schema.get("type", ""), "as it comes")


def claims_page() -> str:
    """What a scenario can claim."""
    forms = {
        "count": "`0`",
        "number": "`0`",
        "max": "`{max: 200ms}`",
        "longest": "`{longest: 5s}`",
        "share": "`{max: 30%}`",
    }
    rows = [
        (
            code(name),
            " or ".join(dict.fromkeys(forms[limit] for limit in subject.limits)),
            code(subject.checker) if subject.checker != "*" else "all",
            codes(subject.kinds) or (code(subject.metric) if subject.metric else "all it found"),
        )
        for name, subject in SUBJECTS.items()
    ]
    return "\n".join(
        [
            "# Claims\n",
            (
                "A claim says how much of something is acceptable to you. It is *kept*, *broken*, or *unknown* when "
                "its checker could not decide. Nothing is claimed unless a scenario says so.\n"
            ),
            table(("claim", "written", "checker", "counts, or limits"), rows),
        ]
    )


def faults_page() -> str:
    """Every kind of fault."""
    overview = [
        (
            f"[`{name}`](#{name})",
            first_line(type(fault)),
            *("yes" if fault.requires - _FORMED <= can else "" for can in WHERE.values()),
        )
        for name, fault in FAULTS.items()
    ]
    parts = [
        "# Faults\n",
        (
            "A fault strikes at `at`, holds for `for`, and is healed. It counts when the nodes show that it holds; a "
            "fault that could not be verified is an error of the run, with the reason. `seed: 7` decides what chance "
            "decides about it (which slots, whom) in place of the scenario's seed, so that others may come and go.\n"
        ),
        table(("fault", "what happens", *WHERE), overview),
        (
            "On `local`, cutting and slowing links needs a kernel that lets it: `cachequake doctor` says what yours "
            "does. On an endpoint the only fault is `failover`, by a command of yours.\n"
        ),
        "## Targets\n",
        words_of(targets) + "\n",
    ]
    for name, fault in FAULTS.items():
        parts += [f"## {name}\n", words_of(type(fault)) + "\n"]
        needs = codes(sorted(fault.requires))
        parts.append(f"Needs {needs}. Its target is `{fault.default_target}` unless you name one.\n")
        if fault.options:
            parts.append(_defaults(fault.options))
    return "\n".join(parts)


_FORMED = frozenset({"slots", "promotion", "resize"})


def _defaults(options: Mapping[str, Any]) -> str:
    spelled = spell(options)
    rows = [
        (
            code(spelling(name)),
            _default_form(name, value),
            "none" if value is None else code(_plain(spelled[spelling(name)])),
        )
        for name, value in options.items()
    ]
    return table(("option", "form", "default"), rows)


def _default_form(name: str, value: Any) -> str:
    if name.endswith("_ms"):
        return "a duration"
    forms = {bool: "`true` or `false`", int: "a whole number", float: "a share or a number", str: "text"}
    return forms.get(type(value), "see above")


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def workloads_page() -> str:
    """Every workload."""
    parts = [
        "# Workloads\n",
        (
            "What the clients do. A scenario can have several; each has keys of its own, and every value that is "
            "written is unique in the run.\n"
        ),
    ]
    for name, workload in WORKLOADS.items():
        parts += [f"## {name}\n", words_of(workload) + "\n"]
        parts += [f"Read by {codes(workload.checkers)}.\n", _defaults(workload.defaults)]
    return "\n".join(parts)


def routes_page() -> str:
    """Every route."""
    parts = ["# Routes\n", "How an operation reaches a node: `clients: {route: NAME}`.\n"]
    leads = {name: [topology for topology, made in TOPOLOGIES.items() if name in made.routes] for name in ROUTES}
    rows = [
        (
            code(name),
            route.summary,
            ", ".join(f"`{option}: {_plain(value)}`" for option, value in spell(route.options).items()),
            codes(leads[name]) or "what the route leads to that it wraps",
        )
        for name, route in ROUTES.items()
    ]
    parts.append(table(("route", "what it is", "options with their defaults", "topologies"), rows))
    return "\n".join(parts)


def topologies_page() -> str:
    """Every topology."""
    parts = [
        "# Topologies\n",
        (
            "What the nodes form: `cluster: {topology: NAME}`. What each was seen to do is in "
            "[Ways to distribute a cache](../topologies.md).\n"
        ),
    ]
    for name, topology in TOPOLOGIES.items():
        parts += [f"## {name}\n", f"{topology.summary.capitalize()}.\n"]
        parts.append(f"Clients get there by {codes(topology.routes)}; the first is the default.\n")
        parts.append(_defaults({**topology.defaults, **topology.options}))
        if topology.config:
            given = ", ".join(f"`{directive} {value}`" for directive, value in topology.config.items())
            parts.append(f"Server directives unless you give others: {given}.\n")
    return "\n".join(parts)


def deployments_page() -> str:
    """Every deployment."""
    parts = ["# Deployments\n", "Where nodes live: `deploy: NAME`, or `--deploy NAME`.\n"]
    rows = [
        (code(name), first_line(type(kind_)).split(";")[0].rstrip(".") + ".", codes(sorted(WHERE.get(name, ()))))
        for name, kind_ in DEPLOYMENTS.items()
    ]
    parts.append(table(("deployment", "what it is", "what faults can ask of it"), rows))
    parts.append("The capability that a fault needs is in [Faults](faults.md).\n")
    return "\n".join(parts)


def checkers_page() -> str:
    """Every checker: what it answers, on which ground, and what it cannot say."""
    parts = [
        "# Checkers\n",
        (
            "A checker reads a history and says what it proves. This page is what their sources say of the rules by "
            "which they accuse, and of what escapes them.\n"
        ),
    ]
    for name, checker in CHECKERS.items():
        claims = [claim for claim, subject in SUBJECTS.items() if subject.checker == name]
        parts += [f"## {name}\n", words_of(sys.modules[checker.__module__]) + "\n", words_of(checker) + "\n"]
        if claims:
            parts.append(f"Claims that go by it: {codes(claims)}.\n")
    return "\n".join(parts)


def errors_page() -> str:
    """The table of errors."""
    rows = [
        (row.name, row.write, row.read, row.why, codes(row.prefixes), codes(row.classes), _SENT[row.sent])
        for row in (*TABLE, UNLISTED)
    ]
    return "\n".join(
        [
            "# The table of errors\n",
            (
                "What an error means for the operation that met it: `fail`, it certainly had no effect and never "
                "will; `info`, nobody knows. The first row that fits decides.\n"
            ),
            table(("row", "a write", "a read", "because", "text begins with", "exception", "bytes had left"), rows),
        ]
    )


_SENT = {True: "yes", False: "no", None: ""}


def formats_page() -> str:
    """The files of a run directory that programs read."""
    parts = [
        "# File formats\n",
        "`cachequake schema NAME` prints the JSON Schema of a file. A later version may add keys.\n",
        table(("name", "file", "what it is"), [(code(name), code(f.file), f.about) for name, f in FORMATS.items()]),
    ]
    structs: dict[str, tuple[type[msgspec.Struct], ...]] = {
        "history.jsonl, first line": (Header,),
        "history.jsonl, every other line": (Event,),
        "executed.json": (Executed,),
        "results.json": (Result, Finding, Anomaly),
    }
    for file, types in structs.items():
        parts.append(f"## {file}\n")
        for struct in types:
            meanings = field_meanings(struct)
            rows = [(code(field.name), meanings.get(field.name, "")) for field in msgspec.structs.fields(struct)]
            parts += [f"{first_line(struct)}\n", table(("key", "meaning"), rows)]
    return "\n".join(parts)

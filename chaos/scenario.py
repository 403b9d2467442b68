"""The scenario file `NAME.quake.yaml`: what is run, what breaks, and what should hold. Validated before anything runs.

Every key but `name` has a default; units are written out; an unknown key is an error that names the nearest valid
one, with file and line.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Self

import msgspec
import yaml

from cachequake.plugins import PluginError
from chaos.claims import Claim, parse_claim
from chaos.deploy.endpoint.spec import EndpointSpec, endpoint_spec
from chaos.deploy.kinds import DEPLOYMENTS
from chaos.deploy.programs import PROGRAMS
from chaos.errors import BadInput, Impossible
from chaos.incidents import Incident, incident_of
from chaos.options import resolve, spell, spelling
from chaos.roles import check_target
from chaos.routes import ROUTES, refuses
from chaos.topologies import FOUND, TOPOLOGIES, ClusterSpec, Topology, make_topology
from chaos.units import duration, is_duration, show_duration
from chaos.workloads import WORKLOADS
from chaos.yaml_source import Place, Source, nearest, parse_yaml, read_yaml
from nemeses import FAULTS, validate_options
from nemeses.fault import PlannedFault
from nemeses.resize import asked
from nemeses.system import FORMED

SUFFIX = ".quake.yaml"
INCIDENTS = "incidents"
"""Folder of the scenarios of published failures, and what their names begin with."""

IN_SECONDS = {"repl-timeout", "repl-ping-replica-period", "min-replicas-max-lag", "timeout", "tcp-keepalive"}
"""Server directives that count in seconds; the other durations count in milliseconds."""


class ClientsSpec(msgspec.Struct, frozen=True):
    """Who drives the load."""

    count: int = 10
    route: str = "bare"
    timeout_ms: int = 500
    rate: float | None = None
    """Operations a second and client; None for as many as go."""
    processes: int = 1
    options: dict[str, Any] = {}
    """The route's own options."""

    @property
    def way(self) -> str:
        """The route that finds the node of a key: that which another one wraps (`over`), or the route itself."""
        return str(self.options.get("over", self.route))


class FaultSpec(msgspec.Struct, frozen=True, tag="fault"):
    """One fault at a time of the scenario's choosing."""

    fault: str
    target: str
    at_ms: int
    for_ms: int
    options: dict[str, Any]
    seed: int | None = None
    """Decides what chance decides about this fault, in place of the scenario's: then other faults may come and go."""

    @classmethod
    def of(cls, planned: PlannedFault) -> Self:
        """What plans this fault again, with whatever chance decides about it."""
        return cls(planned.kind, planned.target, planned.at_ms, planned.for_ms, planned.options, planned.seed)


class MixtureSpec(msgspec.Struct, frozen=True, tag="random"):
    """Faults drawn from the seed, one every so often."""

    random: list[str]
    every_ms: int


class Scenario(msgspec.Struct, frozen=True):
    """A validated scenario; durations in milliseconds, shares from 0 to 1."""

    name: str
    seed: int | None
    duration_ms: int
    cluster: ClusterSpec
    deploy: str
    clients: ClientsSpec
    workload: dict[str, dict[str, Any]]
    nemesis: list[FaultSpec | MixtureSpec]
    claims: list[Claim]
    endpoint: EndpointSpec | None = None
    """Where the servers are that somebody else runs, with `deploy: endpoint`."""
    incident: Incident | None = None
    """The published failure that it shows."""

    def to_yaml(self) -> str:
        """The scenario with every default filled in, as a scenario file."""
        clients = msgspec.structs.asdict(self.clients)
        clients["timeout"] = show_duration(clients.pop("timeout_ms"))
        clients["rate"] = clients["rate"] or "max"
        clients |= {name: value for name, value in spell(clients.pop("options")).items() if value is not None}
        document = {
            "name": self.name,
            "seed": self.seed,
            **({} if self.incident is None else {"incident": msgspec.structs.asdict(self.incident)}),
            "duration": show_duration(self.duration_ms),
            "cluster": _spell_cluster(self.cluster),
            "deploy": self.deploy,
            **({} if self.endpoint is None else {"endpoint": self.endpoint.spelled()}),
            "clients": clients,
            "workload": {name: spell(options) for name, options in self.workload.items()},
            "nemesis": [_spell_nemesis(entry) for entry in self.nemesis],
            "claims": {claim.name: claim.spelled() for claim in self.claims},
        }
        return yaml.safe_dump(document, sort_keys=False, width=120)


def _spell_cluster(cluster: ClusterSpec) -> dict[str, Any]:
    if cluster.topology in FOUND:
        return {}
    spelled = msgspec.structs.asdict(cluster)
    return spelled | spell(spelled.pop("options"))


def _spell_nemesis(entry: FaultSpec | MixtureSpec) -> dict[str, Any]:
    if isinstance(entry, MixtureSpec):
        return {"random": entry.random, "every": show_duration(entry.every_ms)}
    times = {"at": show_duration(entry.at_ms), "for": show_duration(entry.for_ms)}
    own = {} if entry.seed is None else {"seed": entry.seed}
    return {"fault": entry.fault, "target": entry.target, **times, **own, **spell(entry.options)}


def builtin_names() -> list[str]:
    """Names of the scenarios that come with the package, but for those of published failures."""
    return _names_in("scenarios")


def incident_names() -> list[str]:
    """Names of the scenarios of published failures: `incidents/NAME`."""
    return [f"{INCIDENTS}/{name}" for name in _names_in(f"scenarios/{INCIDENTS}")]


def _names_in(folder: str) -> list[str]:
    files = (resources.files("chaos") / folder).iterdir()
    return sorted(file.name.removesuffix(SUFFIX) for file in files if file.name.endswith(SUFFIX))


def read_scenario(name_or_path: str | Path) -> Source:
    """The YAML of a built-in scenario (by name) or of a file. Raises BadInput when there is none."""
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        return read_yaml(path)
    builtin = resources.files("chaos") / "scenarios" / f"{name_or_path}{SUFFIX}"
    if not builtin.is_file():
        hint = nearest(str(name_or_path), [*builtin_names(), *incident_names()])
        raise BadInput(f"no scenario file and no built-in scenario is named {str(name_or_path)!r}{hint}")
    return parse_yaml(builtin.read_text(encoding="utf-8"), f"{name_or_path}{SUFFIX}")


def read_summary(name: str) -> str:
    """What a built-in scenario is about: the first line of its comment."""
    text = (resources.files("chaos") / "scenarios" / f"{name}{SUFFIX}").read_text(encoding="utf-8")
    return text.splitlines()[0].lstrip("# ")


def load_scenario(name_or_path: str | Path, overrides: dict[str, Any] | None = None) -> Scenario:
    """Read and validate a scenario; `overrides` are dotted keys (`clients.count`) with YAML values over it.

    Raises BadInput with file, line and the nearest valid key.
    """
    source = read_scenario(name_or_path)
    if source.data is None or not isinstance(source.data, dict):
        source.fail((), "a scenario is a mapping with at least `name`")
    for dotted, value in (overrides or {}).items():
        _override(source, dotted, value)
    return validate(source)


def _override(source: Source, dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    target = source.data
    for parent in parents:
        target = target.setdefault(parent, {}) if isinstance(target, dict) else None
    if not isinstance(target, dict):
        raise BadInput(f"--set {dotted}={value}: {'.'.join(parents)} is not a mapping; set the whole of it")
    target[last] = value


_KEYS = {
    "name",
    "seed",
    "incident",
    "duration",
    "cluster",
    "deploy",
    "endpoint",
    "clients",
    "workload",
    "nemesis",
    "claims",
}


def validate(source: Source) -> Scenario:
    """Turn the content of a scenario file into a Scenario. Raises BadInput."""
    data = _mapping(source, (), source.data, _KEYS, "key")
    if not isinstance(data.get("name"), str) or not data["name"]:
        source.fail(("name",), "a scenario needs a `name`")
    seed = data.get("seed")
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool) or seed < 0):
        source.fail(("seed",), f"seed: {seed!r} is not a whole number from 0")
    duration_ms = _duration(source, ("duration",), data.get("duration", "10s"))
    deploy = _one_of(source, ("deploy",), data.get("deploy", "local"), DEPLOYMENTS, "deployment")
    cluster, endpoint = _cluster(source, data.get("cluster")), None
    routes = TOPOLOGIES[cluster.topology].routes
    if deploy == "endpoint":
        endpoint = endpoint_spec(source, data.get("endpoint"))
        cluster, routes = endpoint.cluster, endpoint.offering.routes
    elif cluster.topology in FOUND:
        source.fail(("cluster", "topology"), f"topology {cluster.topology} is found, not formed: add --endpoint URL")
    scenario = Scenario(
        name=data["name"],
        seed=seed,
        duration_ms=duration_ms,
        cluster=cluster,
        deploy=deploy,
        clients=_clients(source, data.get("clients"), routes),
        workload=_workload(source, data.get("workload")),
        nemesis=_nemesis(source, data.get("nemesis"), duration_ms),
        claims=_claims(source, data.get("claims")),
        endpoint=endpoint,
        incident=incident_of(source, data.get("incident")),
    )
    _possible(source, scenario)
    return scenario


def validated(scenario: Scenario) -> Scenario:
    """A scenario that code has changed, as its own file reads. Raises BadInput for one that no run could carry out."""
    return validate(parse_yaml(scenario.to_yaml(), f"{scenario.name}{SUFFIX}"))


def _mapping(source: Source, place: Place, data: Any, known: Collection[str], what: str) -> dict[str, Any]:
    if data is None:
        return {}
    if not isinstance(data, dict):
        source.fail(place, f"{place[-1] if place else 'a scenario'} must be a mapping, not {data!r}")
    for key in data:
        try:
            if key not in known:
                source.unknown((*place, key), what, known)
        except PluginError as error:
            source.fail((*place, key), str(error))
    return data


def _duration(source: Source, place: Place, value: Any) -> int:
    try:
        return duration(value)
    except ValueError as error:
        source.fail(place, f"{place[-1]}: {error}")


def _one_of(source: Source, place: Place, value: Any, known: Any, what: str) -> str:
    try:
        if value not in known:
            source.fail(place, f"unknown {what} {value!r}{nearest(str(value), sorted(known))}")
    except PluginError as error:
        source.fail(place, str(error))
    return str(value)


def _whole(source: Source, place: Place, value: Any, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        source.fail(place, f"{place[-1]}: {value!r} is not a whole number from {least}")
    return value


def _cluster(source: Source, given: Any) -> ClusterSpec:
    place: Place = ("cluster",)
    named = given.get("topology", "cluster") if isinstance(given, dict) else "cluster"
    kind = TOPOLOGIES[_one_of(source, (*place, "topology"), named, TOPOLOGIES, "topology")]
    options = {spelling(name) for name in kind.options}
    general = {"topology", "primaries", "replicas", "config"}
    data = _mapping(source, place, given, general | options, f"key of cluster with topology {named}")
    own = {name: value for name, value in data.items() if name in options}
    config = _mapping(source, (*place, "config"), data.get("config"), set(data.get("config") or ()), "")
    directives = {name: _directive(source, (*place, "config", name), value) for name, value in config.items()}
    return ClusterSpec(
        topology=named,
        primaries=_whole(source, (*place, "primaries"), data.get("primaries", kind.defaults["primaries"]), 1),
        replicas=_whole(source, (*place, "replicas"), data.get("replicas", kind.defaults["replicas"]), 0),
        config={**kind.config, "appendonly": "no", "save": "", **directives},
        options=resolve(source, place, own, kind.options, f"topology {named}"),
    )


def _directive(source: Source, place: Place, value: Any) -> str:
    """A server directive in the server's own unit; YAML reads a bare yes and no as truth values."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if is_duration(value):
        milliseconds = duration(value)
        if place[-1] not in IN_SECONDS:
            return str(milliseconds)
        if milliseconds % 1000:
            source.fail(place, f"{place[-1]} counts whole seconds; {value} is none")
        return str(milliseconds // 1000)
    if not isinstance(value, str | int | float):
        source.fail(place, f"{place[-1]}: {value!r} is not a value for a server directive")
    return str(value)


def _clients(source: Source, given: Any, routes: Sequence[str]) -> ClientsSpec:
    place: Place = ("clients",)
    named = given.get("route", routes[0]) if isinstance(given, dict) else routes[0]
    route = ROUTES[_one_of(source, (*place, "route"), named, ROUTES, "route")]
    own = {spelling(name) for name in route.options}
    known = {"count", "route", "timeout", "rate", "processes"}
    data = _mapping(source, place, given, known | own, f"key of clients with route {named}")
    chosen = {name: value for name, value in data.items() if name in own}
    options = resolve(source, place, {"over": routes[0]} | chosen if "over" in own else chosen, route.options, named)
    if (reason := route.wrong(options)) is not None:
        source.fail(place, f"route {named}: {reason}")
    rate = data.get("rate", "max")
    if rate != "max" and (not isinstance(rate, int | float) or isinstance(rate, bool) or rate <= 0):
        source.fail((*place, "rate"), f"rate: {rate!r} is neither max nor a number of operations a second and client")
    count = _whole(source, (*place, "count"), data.get("count", 10), 1)
    processes = _whole(source, (*place, "processes"), data.get("processes", 1), 1)
    if processes > count:
        source.fail((*place, "processes"), f"processes: {processes} processes cannot share {count} clients")
    return ClientsSpec(
        count=count,
        route=named,
        timeout_ms=_duration(source, (*place, "timeout"), data.get("timeout", "500ms")),
        rate=None if rate == "max" else float(rate),
        processes=processes,
        options=options,
    )


def _workload(source: Source, given: Any) -> dict[str, dict[str, Any]]:
    data = _mapping(source, ("workload",), {"register": {}} if given is None else given, WORKLOADS, "workload")
    if not data:
        source.fail(("workload",), "workload: name at least one, for example {register: {keys: 50}}")
    resolved = {
        name: resolve(source, ("workload", name), options, WORKLOADS[name].defaults, f"workload {name}")
        for name, options in data.items()
    }
    for name, options in resolved.items():
        try:
            WORKLOADS[name](options)
        except ValueError as error:
            source.fail(("workload", name), str(error))
    return resolved


def _nemesis(source: Source, given: Any, duration_ms: int) -> list[FaultSpec | MixtureSpec]:
    if not isinstance(given or [], list):
        source.fail(("nemesis",), "nemesis: a list of faults, each like {fault: kill, at: 3s, for: 5s}")
    entries: list[FaultSpec | MixtureSpec] = []
    for number, entry in enumerate(given or []):
        place: Place = ("nemesis", number)
        if isinstance(entry, dict) and "random" in entry:
            entries.append(_mixture(source, place, entry))
        elif isinstance(entry, dict) and "fault" in entry:
            entries.append(_fault(source, place, entry, duration_ms))
        else:
            forms = "{fault: KIND, ...} or {random: [KIND, ...], every: 4s}"
            source.fail(place, f"a nemesis is {forms}, not {entry!r}")
    return entries


def _mixture(source: Source, place: Place, entry: dict[str, Any]) -> MixtureSpec:
    _mapping(source, place, entry, {"random", "every"}, "key of a random nemesis")
    kinds = entry["random"] if isinstance(entry["random"], list) else [entry["random"]]
    for kind in kinds:
        _one_of(source, (*place, "random"), kind, FAULTS, "fault")
    every_ms = _duration(source, (*place, "every"), entry.get("every", "4s"))
    if every_ms < 1_000:
        source.fail((*place, "every"), "every: a fault needs at least 1s to strike and heal")
    return MixtureSpec(kinds, every_ms)


def _fault(source: Source, place: Place, entry: dict[str, Any], duration_ms: int) -> FaultSpec:
    kind = _one_of(source, (*place, "fault"), entry["fault"], FAULTS, "fault")
    fault = FAULTS[kind]
    at_ms = _duration(source, (*place, "at"), entry.get("at", "2s"))
    if at_ms >= duration_ms:
        source.fail((*place, "at"), f"at: {show_duration(at_ms)} is not before the end ({show_duration(duration_ms)})")
    given = {name: value for name, value in entry.items() if name not in ("fault", "target", "at", "for", "seed")}
    options = resolve(source, place, given, fault.options, f"fault {kind}")
    try:
        validate_options(kind, options)
    except ValueError as error:
        source.fail(place, str(error))
    return FaultSpec(
        fault=kind,
        target=str(entry.get("target", fault.default_target)),
        at_ms=at_ms,
        for_ms=_duration(source, (*place, "for"), entry.get("for", "3s")),
        options=options,
        seed=None if entry.get("seed") is None else _whole(source, (*place, "seed"), entry["seed"], 0),
    )


def _claims(source: Source, given: Any) -> list[Claim]:
    if not isinstance(given or {}, dict):
        source.fail(("claims",), "claims: a mapping like {lost_writes: 0}")
    claims = []
    for name, value in (given or {}).items():
        try:
            claims.append(parse_claim(name, value))
        except ValueError as error:
            source.fail(("claims", name), str(error))
    return claims


def _possible(source: Source, scenario: Scenario) -> None:
    """Refuse what no run could do: a route that does not lead there, faults and targets that cannot exist."""
    route, named = scenario.clients.way, scenario.cluster.topology
    kind = TOPOLOGIES[named]
    try:
        topology = make_topology(scenario.cluster)
    except ValueError as error:
        source.fail(("cluster",), str(error))
    if (reason := kind.refuses(scenario.workload)) is not None:
        source.fail(("workload",), f"{reason}: choose another workload, or another topology than {named}", Impossible)
    if (reason := refuses(scenario.clients.route, scenario.workload)) is not None:
        source.fail(("clients",), reason, Impossible)
    if route not in kind.routes and named not in ROUTES[route].leads_to:
        fitting = ", ".join(kind.routes)
        message = f"route: {route} does not lead to topology {named}; use one of {fitting}"
        source.fail(("clients", "route"), message, Impossible)
    for number, entry in enumerate(scenario.nemesis):
        place: Place = ("nemesis", number)
        for fault in entry.random if isinstance(entry, MixtureSpec) else [entry.fault]:
            if missing := (FAULTS[fault].requires & FORMED) - kind.capabilities:
                message = f"fault {fault} needs {', '.join(sorted(missing))}, which topology {named} has not"
                source.fail(place, message, Impossible)
        if isinstance(entry, FaultSpec):
            _possible_fault(source, place, entry, scenario, topology)


def _possible_fault(source: Source, place: Place, fault: FaultSpec, scenario: Scenario, topology: Topology) -> None:
    nodes = {member.name: PROGRAMS[member.program] for member in topology.members}
    for name in nodes if fault.target == "all" else nodes.keys() & {fault.target}:
        able = nodes[name].faults
        if able is not None and fault.fault not in able:
            message = f"fault {fault.fault} cannot strike {name}, a proxy: it can have {', '.join(sorted(able))}"
            source.fail(place, message, Impossible)
    try:
        check_target(topology.target(fault.target, scenario.clients.way), nodes, scenario.cluster.replicas)
    except ValueError as error:
        source.fail((*place, "target"), f"target: {error}", Impossible)
    modes = TOPOLOGIES[scenario.cluster.topology].modes.get(fault.fault)
    if modes is not None and (mode := fault.options["mode"]) not in modes:
        message = (
            f"mode: topology {scenario.cluster.topology} has no {fault.fault} of mode {mode}: use {' or '.join(modes)}"
        )
        source.fail((*place, "mode"), message, Impossible)
    if fault.options.get("with_clients", 0) > scenario.clients.count:
        source.fail((*place, "with_clients"), f"with_clients: there are {scenario.clients.count} clients")
    if "resize" in FAULTS[fault.fault].requires and (add := asked(fault.options)[0]) > len(topology.groups["spares"]):
        source.fail(place, f"add: {add}: as many nodes must be spare; write `spare: {add}` under cluster", Impossible)

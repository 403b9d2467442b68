"""What other packages build on to add to cachequake, in one place; `docs/example-plugin/` has one of each.

A package names what it adds as an entry point of its group, by the name that scenario files are to use:

| group | what it names |
|---|---|
| `cachequake.workloads` | a class like `Workload`: it plans operations, each an `Operation` |
| `cachequake.faults` | a `Fault`: it injects and heals; `Mix` says what random mixtures may draw |
| `cachequake.routes` | a `Route`: how clients, most often machines made by `bare_client`, reach a node |
| `cachequake.topologies` | a `TopologyKind`: makes a `Topology` of a `ClusterSpec`; `CLUSTER` is one |
| `cachequake.deployments` | a `DeploymentKind`: prepares a `Deployment`; `LocalKind` is one |
| `cachequake.checkers` | a function, or an object, that makes a `Finding` of a `History`; its `kinds` make claims |

A fault, deployment or checker may be named by its class, if that takes no arguments.

What is named here keeps its meaning within a version 0.N. Everything else may change.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cachequake.plugins import Addition, PluginError, Table
from chaos.deploy.base import Deployment
from chaos.deploy.base import Kind as DeploymentKind
from chaos.deploy.kinds import DEPLOYMENTS
from chaos.deploy.local_kind import LocalKind
from chaos.errors import BadInput
from chaos.job import Job
from chaos.operation import Command, Doubtful, Operation, Refused
from chaos.plan import Plan
from chaos.routes import ROUTES, Route, bare_client, wrong_over
from chaos.routes.machine import Effects, Machine, Plans, Terms
from chaos.topologies import TOPOLOGIES, ClusterSpec, Topology
from chaos.topologies import Kind as TopologyKind
from chaos.topologies.cluster import CLUSTER, SLOTS, ClusterTopology
from chaos.workloads import WORKLOADS, Workload
from chaos.workloads.base import unique_value
from checkers import CHECKERS, Anomaly, Finding, History, Meaning, Verdict
from checkers.events import FAIL, INFO, OK
from checkers.finding import Collector
from nemeses import FAULTS, Fault, Strike
from nemeses.evidence import await_proof, began, info, on_each
from nemeses.fault import Check
from nemeses.mixture import Mix
from nemeses.stream import Stream
from nemeses.system import InjectionFailed, ReplyError, System

TABLES: tuple[Table[Any], ...] = (WORKLOADS, FAULTS, ROUTES, TOPOLOGIES, DEPLOYMENTS, CHECKERS)
"""All tables that packages can add to."""


def additions(tables: Iterable[Table[Any]] = TABLES) -> list[Addition]:
    """What installed packages add to all tables, and what they would add if it could be used."""
    return [addition for table in tables for addition in table.additions()]


__all__ = [
    "CHECKERS",
    "CLUSTER",
    "DEPLOYMENTS",
    "FAIL",
    "FAULTS",
    "INFO",
    "OK",
    "ROUTES",
    "SLOTS",
    "TABLES",
    "TOPOLOGIES",
    "WORKLOADS",
    "Addition",
    "Anomaly",
    "BadInput",
    "Check",
    "ClusterSpec",
    "ClusterTopology",
    "Collector",
    "Command",
    "Deployment",
    "DeploymentKind",
    "Doubtful",
    "Effects",
    "Fault",
    "Finding",
    "History",
    "InjectionFailed",
    "Job",
    "LocalKind",
    "Machine",
    "Meaning",
    "Mix",
    "Operation",
    "Plan",
    "Plans",
    "PluginError",
    "Refused",
    "ReplyError",
    "Route",
    "Stream",
    "Strike",
    "System",
    "Table",
    "Terms",
    "Topology",
    "TopologyKind",
    "Verdict",
    "Workload",
    "additions",
    "await_proof",
    "bare_client",
    "began",
    "info",
    "on_each",
    "unique_value",
    "wrong_over",
]

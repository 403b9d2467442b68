"""The kinds of deployment by the name that scenarios use."""

from __future__ import annotations

from typing import Any

from cachequake.plugins import Table, lacks
from chaos.deploy.base import Kind
from chaos.deploy.docker.kind import DockerKind
from chaos.deploy.endpoint.kind import EndpointKind
from chaos.deploy.local_kind import LocalKind
from chaos.deploy.virtual.kind import VirtualKind

_BUILT_IN: dict[str, Kind] = {
    "local": LocalKind(),
    "docker": DockerKind(),
    "virtual": VirtualKind(),
    "endpoint": EndpointKind(),
}
_NEEDED = ("refuse_impossible", "prefix", "environment", "open", "clean", "clean_shared")


def _unfit(name: str, found: Any) -> str | None:
    return lacks(found, _NEEDED)


DEPLOYMENTS: Table[Kind] = Table("deployments", "deployment", _BUILT_IN, _unfit, instances=True)
"""`deploy:` of a scenario; those that other packages add come last."""

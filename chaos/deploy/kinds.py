"""The kinds of deployment by the name that scenarios use."""

from __future__ import annotations

from chaos.deploy.base import Kind
from chaos.deploy.docker.kind import DockerKind
from chaos.deploy.endpoint.kind import EndpointKind
from chaos.deploy.local_kind import LocalKind
from chaos.deploy.virtual.kind import VirtualKind

DEPLOYMENTS: dict[str, Kind] = {
    "local": LocalKind(),
    "docker": DockerKind(),
    "virtual": VirtualKind(),
    "endpoint": EndpointKind(),
}
"""`deploy:` of a scenario."""

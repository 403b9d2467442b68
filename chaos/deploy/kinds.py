"""The kinds of deployment by the name that scenarios use."""

from __future__ import annotations

from chaos.deploy.base import Kind
from chaos.deploy.docker.kind import DockerKind
from chaos.deploy.local_kind import LocalKind

DEPLOYMENTS: dict[str, Kind] = {"local": LocalKind(), "docker": DockerKind()}
"""`deploy:` of a scenario."""

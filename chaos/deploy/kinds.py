"""The kinds of deployment by the name that scenarios use."""

from __future__ import annotations

from chaos.deploy.base import Kind
from chaos.deploy.local_kind import LocalKind

DEPLOYMENTS: dict[str, Kind] = {"local": LocalKind()}
"""`deploy:` of a scenario."""

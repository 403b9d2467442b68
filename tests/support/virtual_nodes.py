"""Servers in virtual time, started and not formed into anything: what one of them does can be tried by itself."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from chaos import member
from chaos.deploy import preload, servers
from chaos.deploy.virtual.deployment import VirtualDeployment
from chaos.deploy.virtual.shim_library import shim
from chaos.topologies.cluster import IN_CLUSTER

NEEDED = [
    pytest.mark.server,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="virtual time preloads a library: Linux only"),
    pytest.mark.skipif(preload.compiler() is None, reason="no C compiler to make the preloaded library with"),
]
"""Marks of tests that need virtual time."""


@contextmanager
def nodes(count: int, config: Mapping[str, Any] | None = None, seed: int = 1) -> Iterator[VirtualDeployment]:
    """So many servers that answer, with these directives beside those of a cluster's nodes."""
    with tempfile.TemporaryDirectory(prefix="cachequake-test-") as directory:
        work = Path(directory) / "work"
        deployment = VirtualDeployment(
            servers.find(), shim(), member.servers(count, IN_CLUSTER | dict(config or {})), work, seed=seed
        )
        try:
            deployment.start_all()
            yield deployment
        finally:
            deployment.stop_all()

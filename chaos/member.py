"""What a system is made of: which program runs as which node, and how it is set up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Member(NamedTuple):
    """One node of a topology, before it has an address."""

    name: str
    """What histories and reports call it: `n1` a server with data, `s1` a Sentinel, `p1` a proxy."""
    config: Mapping[str, Any] = {}
    """Directives of its configuration file; booleans are yes and no. Addresses are the deployment's affair.

    For a proxy, what its own kind of file is written from (see `chaos.deploy.programs.Proxy`)."""
    program: str = "server"
    """One of `chaos.deploy.programs.PROGRAMS`."""


def servers(count: int, config: Mapping[str, Any]) -> list[Member]:
    """The members `n1` to `nN`, all set up alike."""
    return [Member(f"n{number}", config) for number in range(1, count + 1)]

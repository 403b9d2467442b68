"""What one driver process is told to do: the controller writes a `Job` as JSON, `python -m chaos.drive` reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from chaos.access import Access
from chaos.databases import DatabaseSpec
from chaos.errors import BadInput
from chaos.keyspace import KeySpace
from chaos.workloads import WORKLOADS, Mixture


class Share(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A workload of the mixture."""

    options: dict[str, Any] = {}
    weight: float = 1.0
    """Its share of the operations, relative to the other weights."""


class Job(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """The clients of one process, and all they need to know."""

    part: str
    """Path of the history file that this process writes."""
    streams: dict[int, int]
    """The clients of this process, each with the seed of its stream."""
    total: int
    """Clients of the whole run; decides the process numbers after operations of unknown outcome."""
    workloads: dict[str, Share]
    route: str = "bare"
    route_options: dict[str, Any] = {}
    timeout_ms: int = 500
    """Of one operation, everything included."""
    rate: float | None = None
    """Operations a second and client at most; None for as many as go."""
    duration_ms: int
    nodes: dict[str, tuple[str, int]]
    """Host and port by name, as clients reach them."""
    aliases: dict[str, str] = {}
    """Names by `host:port`, for addresses that servers announce but clients reach elsewhere."""
    sources: dict[int, str] = {}
    """What a client binds (see `chaos.transport.local_address`); anything, when absent."""
    slots: list[tuple[int, int, str]]
    """First slot, last slot, node: the map when the run begins."""
    replicas: dict[str, list[str]] = {}
    """Replicas of each primary when the run begins."""
    groups: dict[str, list[str]] = {}
    """Names of nodes by what they are for: the topology's `groups`."""
    placement: dict[str, Any] = {}
    """The topology's own options, which may decide where keys are."""

    database: DatabaseSpec | None = None
    """What workload `cachefill` has its cache in front of."""
    prefix: str = ""
    """What every key begins with; see `chaos.keyspace`."""
    access: Access = Access()
    """How the nodes let clients in."""

    @property
    def way(self) -> str:
        """The route that finds the node of a key: that which another one wraps (`over`), or the route itself."""
        return str(self.route_options.get("over", self.route))

    def save(self, path: Path) -> None:
        """Write the job as JSON."""
        path.write_bytes(msgspec.json.encode(self))

    def mixture(self) -> Mixture:
        """The operations to be done. Raises BadInput for a workload or an option that does not exist."""
        parts = []
        for name, share in self.workloads.items():
            kind = WORKLOADS.get(name)
            if kind is None:
                raise BadInput(f"unknown workload {name!r}; there are {', '.join(WORKLOADS)}")
            unknown = set(share.options) - set(kind.defaults)
            if unknown:
                raise BadInput(f"workload {name} has no option {unknown.pop()!r}; it has {', '.join(kind.defaults)}")
            parts.append((kind(share.options), share.weight))
        return Mixture(parts, KeySpace(self.prefix) if self.prefix else None)


def read_job(path: Path) -> Job:
    """Read a job file. Raises BadInput when it is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Job)
    except (OSError, msgspec.MsgspecError) as error:
        raise BadInput(f"not a job: {error}", str(path)) from error

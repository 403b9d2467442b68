"""What the clients do. One file a workload; `WORKLOADS` names them all."""

from __future__ import annotations

from typing import Any

from cachequake.plugins import Table, lacks, misnamed
from chaos.workloads.append import Append
from chaos.workloads.base import Workload
from chaos.workloads.cachefill import CacheFill
from chaos.workloads.counter import Counter
from chaos.workloads.hotkey import HotKey
from chaos.workloads.mixture import Mixture
from chaos.workloads.multikey import Multikey
from chaos.workloads.register import Register
from chaos.workloads.sets import Sets
from chaos.workloads.ttl import Ttl

_BUILT_IN: dict[str, type[Workload]] = {
    "register": Register,
    "set": Sets,
    "counter": Counter,
    "multikey": Multikey,
    "append": Append,
    "ttl": Ttl,
    "hotkey": HotKey,
    "cachefill": CacheFill,
}


def _unfit(name: str, found: Any) -> str | None:
    if not callable(found):
        return "it is no class"
    return lacks(found, ("name", "defaults", "checkers", "operation", "finals")) or misnamed(name, found.name)


WORKLOADS: Table[type[Workload]] = Table("workloads", "workload", _BUILT_IN, _unfit)
"""Classes by the name that scenarios use; `WORKLOADS[name](options)` makes a workload. Other packages can add some."""

__all__ = ["WORKLOADS", "Mixture", "Workload"]

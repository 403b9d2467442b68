"""What the clients do. One file a workload; `WORKLOADS` names them all."""

from __future__ import annotations

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

WORKLOADS: dict[str, type[Workload]] = {
    "register": Register,
    "set": Sets,
    "counter": Counter,
    "multikey": Multikey,
    "append": Append,
    "ttl": Ttl,
    "hotkey": HotKey,
    "cachefill": CacheFill,
}
"""Classes by the name that scenarios use; `WORKLOADS[name](options)` makes a workload."""

__all__ = ["WORKLOADS", "Mixture", "Workload"]

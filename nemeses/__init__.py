"""Faults, told through what a system under test is capable of."""

from collections.abc import Mapping
from typing import Any

from cachequake.plugins import Table, lacks, misnamed
from nemeses.bandwidth import BandwidthFault
from nemeses.crash import CrashFault
from nemeses.delay import DelayFault
from nemeses.disk import DiskFault
from nemeses.failover import FailoverFault
from nemeses.fault import ExecutedFault, Fault, PlannedFault, Strike
from nemeses.kill import KillFault, RestartFault, TerminateFault
from nemeses.kill_at import KillAtFault, KillChildFault
from nemeses.migrate import MigrateFault
from nemeses.migration_cancel import MigrationCancelFault
from nemeses.migration_crash import MigrationCrashFault
from nemeses.partition import LossFault, PartitionFault
from nemeses.pause import PauseFault
from nemeses.power_loss import PowerLossFault
from nemeses.reorder import ReorderFault
from nemeses.resize import ResizeFault
from nemeses.skew import SkewFault
from nemeses.words import checked, nearest

_KINDS: tuple[Fault, ...] = (
    KillFault(),
    TerminateFault(),
    RestartFault(),
    PowerLossFault(),
    CrashFault(),
    KillAtFault(),
    KillChildFault(),
    DiskFault(),
    PauseFault(),
    PartitionFault(),
    LossFault(),
    DelayFault(),
    BandwidthFault(),
    ReorderFault(),
    SkewFault(),
    FailoverFault(),
    MigrateFault(),
    MigrationCrashFault(),
    MigrationCancelFault(),
    ResizeFault(),
)
_NEEDED = ("kind", "requires", "default_target", "options", "checks", "inject", "heal")


def _unfit(name: str, found: Any) -> str | None:
    return lacks(found, _NEEDED) or misnamed(name, found.kind)


FAULTS: Table[Fault] = Table("faults", "fault", {fault.kind: fault for fault in _KINDS}, _unfit, instances=True)
"""Every kind of fault by its name; those that other packages add come last."""

__all__ = ["FAULTS", "ExecutedFault", "Fault", "PlannedFault", "Strike", "validate_options"]


def validate_options(kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a fault over its defaults. Raises ValueError, which names the nearest valid kind or option."""
    if kind not in FAULTS:
        raise ValueError(f"there is no fault {kind!r}; {nearest(kind, FAULTS)}")
    return checked(FAULTS[kind], options)

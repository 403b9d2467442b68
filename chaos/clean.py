"""End what the runs of killed controllers left behind."""

from __future__ import annotations

from pathlib import Path

from chaos.deploy.kinds import DEPLOYMENTS
from chaos.plan import read_plan
from chaos.store import PLAN, locked


def clean_up(out: Path) -> list[str]:
    """Clean every run below `out` whose controller is gone; says what was ended or removed.

    What runs share is removed as well, unless one is under way.
    """
    said: list[str] = []
    for run_dir in sorted(path.parent for path in out.glob(f"*/{PLAN}")):
        if run_dir.is_symlink():
            continue
        with locked(run_dir) as ours:
            if ours:
                said.extend(DEPLOYMENTS[read_plan(run_dir / PLAN).scenario.deploy].clean(run_dir))
    for kind in DEPLOYMENTS.values():
        said.extend(kind.clean_shared())
    return said

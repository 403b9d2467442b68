"""What runs of killed controllers have left on the engine: found by label, and removed when nobody uses it."""

from __future__ import annotations

from pathlib import Path

from chaos.deploy.docker.engine import Engine
from chaos.deploy.docker.network import remove_routes
from chaos.store import locked


def remove_run(engine: Engine, run_dir: Path) -> list[str]:
    """Remove everything that was made for a run, and say what it was. Raises ServerError."""
    said = engine.remove_run(str(run_dir.absolute()))
    if said:
        remove_routes(engine)
    return [f"{run_dir.name}: {line}" for line in said]


def remove_orphans(engine: Engine) -> list[str]:
    """Remove what belongs to runs of this owner whose controller is gone, wherever their directories are or were."""
    said = []
    for run in sorted(engine.runs()):
        run_dir = Path(run)
        if not run_dir.is_dir():
            said.extend(remove_run(engine, run_dir))
            continue
        with locked(run_dir) as ours:
            if ours:
                said.extend(remove_run(engine, run_dir))
    return said


def remove_shared(engine: Engine) -> list[str]:
    """Remove what all runs share, the images that were built here, unless a run is under way."""
    if engine.runs():
        return []
    remove_routes(engine)
    return engine.remove_images()

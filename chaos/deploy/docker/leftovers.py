"""What runs of killed controllers have left on the engine: found by label, and removed when nobody uses it."""

from __future__ import annotations

import time
from pathlib import Path

from chaos.deploy.docker.engine import Engine
from chaos.deploy.docker.far import fetch
from chaos.deploy.docker.network import remove_routes
from chaos.errors import ServerError
from chaos.store import locked

UNDER_WAY_S = 10.0
"""How long the engine may still be busy with what a controller asked for before it was killed."""
_POLL_S = 0.1


def remove_run(engine: Engine, run_dir: Path) -> list[str]:
    """Remove everything that was made for a run, and say what it was. Raises ServerError.

    Looks until nothing is found: what the controller asked for in its last moment may appear, or be in use, only now.
    What a controller has recorded on the engine is fetched, if the run directory is still here.
    """
    said: list[str] = []
    if run_dir.is_dir() and fetch(engine, run_dir):
        said.append(f"{run_dir.name}: fetched what its controller had recorded on the engine")
    deadline = time.monotonic() + UNDER_WAY_S
    while True:
        before = len(said)
        try:
            said.extend(f"{run_dir.name}: {line}" for line in engine.remove_run(str(run_dir.absolute())))
        except ServerError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_S)
            continue
        if len(said) == before:
            break
    if said:
        remove_routes(engine)
    return said


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

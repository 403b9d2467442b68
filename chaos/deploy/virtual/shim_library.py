"""The shim: the library that is preloaded into servers, so that their time, network and chance are the run's own."""

from __future__ import annotations

from pathlib import Path

from chaos.deploy.preload import Library

SOURCES = Path(__file__).parent / "shim"
SHIM = Library("shim", "deploy virtual", sorted(SOURCES.glob("*.[ch]")), ("-ldl",))


def shim() -> Path:
    """The library to preload. Raises ServerError where it cannot be made."""
    return SHIM.path()

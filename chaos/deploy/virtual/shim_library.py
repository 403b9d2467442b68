"""The shim: the library that is preloaded into servers, so that their time, network and chance are the run's own."""

from __future__ import annotations

from pathlib import Path

from chaos.deploy import preload

SOURCES = Path(__file__).parent / "shim"


def shim() -> Path:
    """The library to preload. Raises ServerError where it cannot be made."""
    return preload.library("shim", "deploy virtual", sorted(SOURCES.glob("*.[ch]")), ("-ldl",))

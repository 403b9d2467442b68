"""The files that a controller needs on a machine where nothing is installed, at the paths where they are here.

They are the interpreter, its standard library, this project, and, of the packages that are installed, those that the
controller and the clients import; with the files by which those that add to our tables are found. Shared libraries are
not among them; see `images`. A process that has imported more than these finds more to be needed.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import marshal
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import chaos.controller
import chaos.deploy.docker.deployment
import chaos.deploy.docker.leftovers
import chaos.drive  # noqa: F401 - like those above: what they import is what is needed
from cachequake.plugins import metadata_files

_UNCHECKED = (1).to_bytes(4, "little")
SUFFIXES = frozenset({".py", ".so", ".c", ".pem", ".json", ".yaml"})
LEFT_OUT = frozenset(
    {"__pycache__", "site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip"}
)
"""Folders that nothing needs at run time, or that are looked at by themselves."""


def interpreter() -> Path:
    """The real one, not that of a virtual environment."""
    return Path(sys._base_executable)  # type: ignore[attr-defined]


def needed() -> list[Path]:
    """All of them, shared libraries that are modules included."""
    standard = Path(os.__file__).parent  # by which Python finds its library
    packages = (file for _, place in _packages() for file in _below(place))
    return [interpreter(), *sorted({*_below(standard), *packages, *metadata_files()})]


def search_path() -> str:
    """Where the interpreter looks for what is not in its standard library, as PYTHONPATH has it."""
    return os.pathsep.join(dict.fromkeys(str(root) for root, _ in _packages()))


def compiled() -> dict[str, bytes]:
    """Of every module that a controller imports, the bytecode, by the place where Python looks for it.

    In a container, where it could not be kept, compiling takes 9 s at each start. It is marked as not to be compared
    with the source (PEP 552), whose time of change an image does not keep.
    """
    found = {}
    for module in list(sys.modules.values()):
        spec = getattr(module, "__spec__", None)
        loader = None if spec is None else spec.loader
        if isinstance(loader, importlib.machinery.SourceFileLoader):
            header = importlib.util.MAGIC_NUMBER + _UNCHECKED + importlib.util.source_hash(loader.get_data(loader.path))
            place = importlib.util.cache_from_source(loader.path)
            found[os.path.normpath(place)] = header + marshal.dumps(loader.get_code(loader.name))
    return found


def _packages() -> Iterator[tuple[Path, Path]]:
    """Packages and single modules outside of the standard library: the folder to look in, and where they are."""
    for name in sorted({module.partition(".")[0] for module in sys.modules}):
        found = importlib.machinery.PathFinder.find_spec(name)
        origin = None if found is None or not found.has_location else found.origin
        if origin is None or not _is_installed(Path(origin)):
            continue
        place = Path(origin)
        if found is not None and found.submodule_search_locations is not None:
            place = place.parent
        yield place.parent.absolute(), place.absolute()


def _is_installed(origin: Path) -> bool:
    standard = Path(os.__file__).parent
    return standard not in origin.parents or bool({"site-packages", "dist-packages"} & {*origin.parts})


def _below(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
        return
    for folder, folders, names in os.walk(place):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        found = (Path(folder, name) for name in names if os.path.splitext(name)[1] in SUFFIXES)
        yield from (path for path in found if path.is_file())  # and no link to what is not installed

"""Libraries that are preloaded into servers: made from their C sources once for each version of them, and kept.

A wheel carries them ready-made for the machines that it was built for (`hatch_build.py`); where none of them fits, the
compiler of this machine makes them when they are first used.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos.errors import ServerError

FLAGS = ("-std=gnu11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra")
READY = Path(__file__).parent / "ready"
"""Where a wheel has the libraries that it carries."""


def compiler() -> str | None:
    """The C compiler of this machine, or None: `CC`, or `cc`."""
    return shutil.which(os.environ.get("CC") or "cc")


@dataclass(frozen=True)
class Library:
    """A library to preload."""

    name: str
    what: str
    """What needs it, for errors: `setting clocks wrong`."""
    sources: Sequence[Path]
    """C files and their headers."""
    flags: Sequence[str] = ()
    """For the compiler, behind the sources."""

    def file_name(self, machine: str) -> str:
        """What it is called for a machine (`x86_64`): another version of the sources has another name."""
        version = hashlib.blake2b(b"".join(file.read_bytes() for file in self.sources), digest_size=8).hexdigest()
        return f"{self.name}-{version}-{machine}.so"

    def path(self) -> Path:
        """Where it is, ready to preload: as it came, or compiled if this version of it never was.

        Raises ServerError where it cannot be made, or not be preloaded.
        """
        if not sys.platform.startswith("linux"):
            raise ServerError(f"{self.what} needs Linux, where a library can be preloaded into servers")
        name = self.file_name(os.uname().machine)
        ready = READY / name
        if ready.exists() and not _unnameable(ready) and _fits(ready):
            return ready
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cachequake"
        made = cache / name
        if _unnameable(made):
            raise ServerError(f"{made} cannot be preloaded, as its path has a space or a colon: set XDG_CACHE_HOME")
        if not made.exists():
            cc = compiler()
            if cc is None:
                raise ServerError(
                    f"{self.what} needs a C compiler once, to make the library that it preloads, and there is no `cc`: "
                    "install gcc or clang with the headers of libc, or name one in CC"
                )
            self.compile(cc, made)
        return made

    def compile(self, cc: str, made: Path) -> None:
        """Make it with this compiler. Raises ServerError, which says what the compiler said."""
        half = made.with_suffix(f".{os.getpid()}")
        sources = [str(file) for file in self.sources if file.suffix == ".c"]
        try:
            made.parent.mkdir(parents=True, exist_ok=True)
            command = [cc, *FLAGS, "-o", str(half), *sources, *self.flags]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise ServerError(
                    f"{cc} could not compile the library that {self.what} preloads:\n{done.stderr.strip()}"
                )
            half.replace(made)  # complete or not there, also when several runs compile at once
        except OSError as error:
            raise ServerError(
                f"the library that {self.what} preloads cannot be kept in {made.parent}: {error}"
            ) from error


def _unnameable(path: Path) -> bool:
    """Whether LD_PRELOAD would take this path for several."""
    return bool(set(" :") & set(str(path)))


def _fits(ready: Path) -> bool:
    """Whether the libc of this machine can load it: one that is older than that of the builder's cannot."""
    try:
        ctypes.CDLL(str(ready))
    except OSError:
        return False
    return True

"""Libraries that are preloaded into servers: made from their C sources once for each version of them, and kept."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from chaos.errors import ServerError

FLAGS = ("-std=gnu11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra")


def compiler() -> str | None:
    """The C compiler of this machine, or None: `CC`, or `cc`."""
    return shutil.which(os.environ.get("CC") or "cc")


def library(name: str, what: str, sources: Sequence[Path], flags: Sequence[str] = ()) -> Path:
    """The library `name` to preload, compiled if this version of it never was.

    `sources` are its C files and their headers, `flags` follow them to the compiler, and `what` says in an error what
    needs it (`setting clocks wrong`). Raises ServerError where it cannot be made, or not be preloaded.
    """
    if not sys.platform.startswith("linux"):
        raise ServerError(f"{what} needs Linux, where a library can be preloaded into servers")
    version = hashlib.blake2b(b"".join(file.read_bytes() for file in sources), digest_size=8).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cachequake"
    made = cache / f"{name}-{version}-{os.uname().machine}.so"
    if set(" :") & set(str(made)):
        raise ServerError(f"{made} cannot be preloaded, as its path has a space or a colon: set XDG_CACHE_HOME")
    if not made.exists():
        _compile(made, what, [str(file) for file in sources if file.suffix == ".c"], flags)
    return made


def _compile(made: Path, what: str, sources: Sequence[str], flags: Sequence[str]) -> None:
    cc = compiler()
    if cc is None:
        raise ServerError(
            f"{what} needs a C compiler once, to make the library that it preloads, and there is no `cc`: "
            "install gcc or clang with the headers of libc, or name one in CC"
        )
    half = made.with_suffix(f".{os.getpid()}")
    try:
        made.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run([cc, *FLAGS, "-o", half, *sources, *flags], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ServerError(f"{cc} could not compile the library that {what} preloads:\n{done.stderr.strip()}")
        half.replace(made)  # complete or not there, also when several runs compile at once
    except OSError as error:
        raise ServerError(f"the library that {what} preloads cannot be kept in {made.parent}: {error}") from error

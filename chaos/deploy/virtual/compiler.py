"""Makes the shim from its C files, once for each version of them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from chaos.errors import BadInput

SOURCES = Path(__file__).parent / "shim"
FLAGS = ("-std=gnu11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra")


def compiler() -> str | None:
    """The C compiler of this machine, or None: `CC`, or `cc`."""
    return shutil.which(os.environ.get("CC") or "cc")


def shim() -> Path:
    """The library to preload, compiled if this version of it never was.

    Raises BadInput where that is not possible.
    """
    if not sys.platform.startswith("linux"):
        raise BadInput("deploy virtual needs Linux: it preloads a library of its own into the servers; use local")
    files = sorted(SOURCES.glob("*.[ch]"))
    version = hashlib.blake2b(b"".join(file.read_bytes() for file in files), digest_size=8).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cachequake"
    library = cache / f"shim-{version}-{os.uname().machine}.so"
    if not library.exists():
        _compile([str(file) for file in files if file.suffix == ".c"], library)
    return library


def _compile(sources: list[str], library: Path) -> None:
    cc = compiler()
    if cc is None:
        raise BadInput(
            "deploy virtual needs a C compiler once, to make the library that it preloads, and there is no `cc`: "
            "install gcc or clang with the headers of libc (or name one in CC); local and docker need none"
        )
    half = library.with_suffix(f".{os.getpid()}")
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run([cc, *FLAGS, "-o", half, *sources, "-ldl"], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BadInput(f"{cc} could not compile the library that deploy virtual preloads:\n{done.stderr.strip()}")
        half.replace(library)  # complete or not there, also when several runs compile at once
    except OSError as error:
        raise BadInput(f"deploy virtual cannot keep its library in {library.parent}: {error}") from error

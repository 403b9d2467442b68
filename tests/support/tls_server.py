"""A Redis that speaks TLS: the one on PATH, or Debian's, unpacked where it is in nobody's way. It is not installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CHOICE = "CACHEQUAKE_TLS_SERVER"
"""Names a server program that speaks TLS."""
UPDATE = ["apt-get", "update", "-qq", "-o", "Debug::NoLocking=1"]
FETCH = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", "--download-only", "-o", "Debug::NoLocking=1"]


def tls_server(directory: Path) -> list[str]:
    """How it is started. Skips the test where there is none; with CI=true it fails instead."""
    for candidate in (os.environ.get(CHOICE), shutil.which("redis-server")):
        if candidate and _speaks_tls([candidate]):
            return [candidate]
    try:
        command = _unpacked(directory)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", b"") or b""
        command, reason = None, f"{error} {said.decode(errors='replace')[-300:]}"
    else:
        reason = "it does not speak TLS"
    if command is not None and _speaks_tls(command):
        return command
    message = f"no Redis that speaks TLS: {CHOICE} names none, and Debian's cannot be had: {reason}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    return pytest.skip(message)


def _speaks_tls(command: list[str]) -> bool:
    """A server without TLS does not know the directive; one with it misses its certificate."""
    done = subprocess.run([*command, "--port", "0", "--tls-port", "1"], capture_output=True, timeout=10, check=False)
    return b"No tls-cert-file configured" in done.stdout + done.stderr


def _unpacked(directory: Path) -> list[str]:
    """Fetch the package and what this machine lacks of its dependencies, and unpack them without installing."""
    archives, root = directory / "archives", directory / "root"
    (archives / "partial").mkdir(parents=True)
    fetch = [*FETCH, "-o", f"Dir::Cache::archives={archives}", "redis-server"]
    if subprocess.run(fetch, capture_output=True, timeout=60, check=False).returncode != 0:
        subprocess.run(UPDATE, capture_output=True, check=True, timeout=60)  # a fresh machine has no lists
        subprocess.run(fetch, capture_output=True, check=True, timeout=60)
    for archive in archives.glob("*.deb"):
        subprocess.run(["dpkg", "-x", archive, root], capture_output=True, check=True)
    libraries = {str(path.parent) for path in root.rglob("*.so*")}
    return ["/usr/bin/env", f"LD_LIBRARY_PATH={':'.join(sorted(libraries))}", str(root / "usr/bin/redis-server")]

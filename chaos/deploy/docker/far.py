"""The run directory of a controller that runs in a container on the engine: a volume, filled before and fetched after.

The engine keeps a volume in a folder of its own machine. The container sees it at that very path, so that what the
controller has the engine mount into the nodes' containers is found there.
"""

from __future__ import annotations

import io
import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from docker.errors import NotFound

from chaos.deploy.docker.engine import OWNER, Engine, labels, owner, told
from chaos.deploy.docker.kind import WORK
from chaos.deploy.docker.network import name_of
from chaos.errors import ServerError
from chaos.store import LOCK, PARTS, PLAN

CACHE = "cache"
"""Folder of what the controller would otherwise have to make itself."""


def container_name(run: Path) -> str:
    """What the container of a run's controller is called."""
    return f"{name_of(run)}-controller"


def make_volume(engine: Engine, run: Path) -> tuple[str, str]:
    """Make the volume of a run; returns its name and its path on the engine's machine. Raises ServerError."""
    with told("making the volume for the run directory"):
        made = engine.api.create_volume(name_of(run), driver="local", labels=labels(run))
    if made["Labels"] != labels(run):
        raise ServerError(f"there is a volume {made['Name']} of somebody else on the engine")
    return str(made["Name"]), str(made["Mountpoint"])


def fill(engine: Engine, container: str, volume: str, run: Path, cached: Mapping[str, bytes]) -> None:
    """Put a run directory as it was made into the volume, and `cached` into its folder `CACHE`. Raises ServerError."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in sorted(run.rglob("*")):
            if path.relative_to(run).parts[0] not in (LOCK, WORK, "logs"):
                tar.add(path, f"{run.name}/{path.relative_to(run)}", recursive=False, filter=_of_root)
        for folder in ("", "logs", WORK, CACHE, *{str(PurePosixPath(CACHE, name).parent) for name in cached}):
            entry = tarfile.TarInfo(f"{run.name}/{folder}")
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name, content in cached.items():
            entry = tarfile.TarInfo(f"{run.name}/{CACHE}/{name}")
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
    with told("sending the plan of the run to the engine"):
        engine.api.put_archive(container, volume, buffer.getvalue())


def _of_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    return entry


def fetch(engine: Engine, run: Path) -> bool:
    """Copy what the controller of a run has recorded so far into the run directory here; it is stopped first.

    Returns whether the engine has a container of that controller. Raises ServerError.
    """
    name = container_name(run)
    with told(f"fetching what the controller recorded from the container {name}"):
        try:
            found = engine.api.inspect_container(name)
        except NotFound:
            return False
        if found["Config"]["Labels"].get(OWNER) != owner():
            return False
        if found["State"]["Running"]:
            engine.api.kill(name)
            engine.api.wait(name)
        volume = next(mount["Destination"] for mount in found["Mounts"] if mount["Type"] == "volume")
        try:
            stream, _ = engine.api.get_archive(name, f"{volume}/{run.name}")
        except NotFound:  # nothing was sent yet
            return True
        with tempfile.TemporaryFile() as file:
            for chunk in stream:
                file.write(chunk)
            file.seek(0)
            with tarfile.open(fileobj=file) as tar:
                _unpack(tar, run)
    return True


def _unpack(tar: tarfile.TarFile, run: Path) -> None:
    """Only ordinary files, only below the run directory, and nothing that was sent there.

    Parts of the history are there as long as it is not whole; those here are from before the run.
    """
    shutil.rmtree(run / PARTS, ignore_errors=True)
    for entry in tar:
        inside = PurePosixPath(*PurePosixPath(entry.name).parts[1:])
        if not entry.isfile() or ".." in inside.parts or inside.parts[0] in (LOCK, PLAN, WORK, CACHE):
            continue
        content = tar.extractfile(entry)
        assert content is not None
        target = run / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.read())

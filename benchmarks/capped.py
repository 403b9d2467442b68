"""A server program that is held to a share of one processor, so that nodes, not clients, are what limits a run.

On a machine with few processors all nodes share them, and a hot node is no slower than others. With a cap of its own
(a control group, version 1 or 2; root is needed) each node is as slow as a small machine, and a hot one shows.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
NAME = "cachequake-capped"
SLICE_US = 1_000
"""The shortest time that the kernel deals out; the shorter, the more evenly a node works."""
PATIENCE_S = 10.0

SCRIPT = """#!/bin/sh
case "$1" in --version) exec {server} "$@" ;; esac
group=$(mktemp -d {parent}/node-XXXXXX) || exit 1
{limit}
echo 0 >"$group/cgroup.procs" || exit 1
exec {server} "$@"
"""


def reason_against() -> str | None:
    """Why no server can be capped here, in one sentence; None when it can."""
    if os.geteuid() != 0:
        return "control groups are made by root only"
    if not _version_2() and not (GROUPS / "cpu" / "cpu.cfs_quota_us").exists():
        return f"there is no control group for processors below {GROUPS}"
    try:
        _parent().mkdir(exist_ok=True)
        _parent().rmdir()
    except OSError as error:
        return f"{_parent()} cannot be made: {error.strerror}"
    return None


@contextlib.contextmanager
def capped(server: Path, share: float) -> Iterator[Path]:
    """The path of a program that starts `server` with this share of one processor, for as long as the context lasts."""
    period = round(SLICE_US / share)
    parent = _parent()
    parent.mkdir()
    if _version_2():
        (GROUPS / "cgroup.subtree_control").write_text("+cpu")
        (parent / "cgroup.subtree_control").write_text("+cpu")
        limit = f'echo "{SLICE_US} {period}" >"$group/cpu.max" || exit 1'
    else:
        limit = (
            f'echo {period} >"$group/cpu.cfs_period_us" || exit 1\necho {SLICE_US} >"$group/cpu.cfs_quota_us" || exit 1'
        )
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory) / "server"
        script.write_text(SCRIPT.format(server=shlex.quote(str(server)), parent=parent, limit=limit))
        script.chmod(0o755)
        try:
            yield script
        finally:
            _remove(parent)


@contextlib.contextmanager
def held(server: Path, share: float) -> Iterator[Path]:
    """As `capped` where that can be, else the server as it is; `in_words` says which."""
    with contextlib.nullcontext(server) if reason_against() else capped(server, share) as program:
        yield program


def in_words(share: float) -> str:
    """Whether servers are held to this share of a processor here, for the heading of a table."""
    why_not = reason_against()
    return f"not capped ({why_not}): the rates say little" if why_not else f"each held to {share:g} of a processor"


def _version_2() -> bool:
    return "cpu" in _read(GROUPS / "cgroup.controllers").split()


def _parent() -> Path:
    return (GROUPS if _version_2() else GROUPS / "cpu") / f"{NAME}-{os.getpid()}"


def _read(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text()
    return ""


def _remove(parent: Path) -> None:
    """Remove the groups, which takes until the last server in them is gone."""
    deadline = time.monotonic() + PATIENCE_S
    for group in [*parent.glob("node-*"), parent]:
        while group.exists():
            try:
                group.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


def find(server: str | None) -> Path:
    """The server program, as runs find it. Raises ServerError."""
    from chaos.deploy import servers

    return Path(shutil.which(servers.find(server).path) or servers.find(server).path)

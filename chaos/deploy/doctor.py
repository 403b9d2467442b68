"""What this machine can do, found out by trying: the table of `cachequake doctor`."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from cachequake import plugins
from chaos.deploy import envoy, local_kind, namespace, probe, servers, skew, twemproxy
from chaos.errors import ServerError

Row = tuple[str, bool | None, str]
"""What was looked at, whether it is there (None: not, but hardly anything needs it), and in words."""

_WATCHED_S = 0.5
_NAP_S = 0.005
_STALL_MS = 100
"""A node timeout of 500 ms does not notice a machine that stands still for less."""


def report(server: str | None = None) -> list[Row]:
    """One row for each thing that matters; `server` is the path that the user gave. Takes about 2 s."""
    return [
        _server(server),
        *(_namespaces(kind) for kind in namespace.KINDS),
        _isolation(),
        _kernel("links cut in the kernel", "links"),
        _kernel("packet loss", "loss"),
        _slow("links with delay", "delay"),
        _slow("links with limited bandwidth", "bandwidth"),
        _clocks(),
        _docker(),
        _program("Twemproxy", twemproxy.find),
        _program("Envoy", envoy.find),
        _compiler(),
        _processors(),
        _stalls(),
        *additions(),
    ]


def _server(named: str | None) -> Row:
    try:
        found = servers.find(named)
    except ServerError as error:
        return ("server", False, str(error))
    return ("server", True, f"{found} ({found.path})")


def _namespaces(kind: str) -> Row:
    reason = namespace.reason_against(kind)
    return (f"namespaces as {kind}", True if reason is None else None, reason or "unshare works")


def _isolation() -> Row:
    reason = namespace.available()
    if reason is None:
        return ("isolation of local runs", True, "network namespace of the run's own")
    return ("isolation of local runs", True, f"proxy between the nodes, for want of namespaces ({reason})")


def _kernel(name: str, what: str) -> Row:
    reason = probe.reasons_against()[what]
    return (name, True if reason is None else None, reason or "by netlink, tried out")


def _slow(name: str, capability: str) -> Row:
    if probe.reasons_against()[capability] is None:
        return _kernel(name, capability)
    reason = local_kind.reason_against(capability)
    return (name, True if reason is None else None, reason or "by the proxy between the nodes")


def _clocks() -> Row:
    reason = skew.reason_against()
    return ("clocks set wrong", True if reason is None else None, reason or "by a preloaded library")


def _docker() -> Row:
    return ("Docker engine", *_optional(_docker_version))


def _docker_version() -> str:
    from chaos.deploy.docker.engine import Engine  # only here: it takes 0.3 s to load

    with closing(Engine(timeout_s=3)) as engine:
        version, groups = engine.version["Version"], engine.info.get("CgroupVersion", "1")
        return f"version {version}, cgroup v{groups}" + (
            "" if engine.is_here else ", not on this machine: see docs/docker.md"
        )


def _optional(look: Callable[[], str]) -> tuple[bool | None, str]:
    try:
        return True, look()
    except Exception as error:  # noqa: BLE001 - whatever keeps it from answering is the answer
        return None, str(error).splitlines()[0][:160] if str(error) else type(error).__name__


def _program(name: str, find: Callable[[], Path]) -> Row:
    return (name, *_optional(lambda: str(find())))


def _compiler() -> Row:
    found = shutil.which("cc") or shutil.which("gcc")
    return ("C compiler", True if found else None, found or "none on PATH")


def _processors() -> Row:
    count = len(os.sched_getaffinity(0))
    return ("processors", count > 1 or None, f"{count} for this process")


def additions() -> list[Row]:
    """What installed packages add, and what they cannot."""
    from chaos import extend  # the tables know the deployments, of which this is a part

    strays = plugins.strays(table.group for table in extend.TABLES)
    return [
        *((f"{what} {name}", not problem, problem or source) for what, name, source, problem in extend.additions()),
        *((f"entry point {name}", False, reason) for name, reason in strays.items()),
    ]


def _stalls() -> Row:
    """The longest time that this process slept beyond what it asked for: faults last as long, and timeouts fire."""
    longest = 0.0
    end = time.monotonic() + _WATCHED_S
    while (before := time.monotonic()) < end:
        time.sleep(_NAP_S)
        longest = max(longest, (time.monotonic() - before - _NAP_S) * 1000)
    return ("steady clock", longest < _STALL_MS, f"longest stall in {_WATCHED_S} s: {longest:.0f} ms")

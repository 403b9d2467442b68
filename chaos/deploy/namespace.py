"""Namespaces of a run's own: so that its rules never touch the host's, and nothing outlives its controller.

The controller is run again as `unshare ... controller`: the first process of new network, mount and process
namespaces. The kernel ends everything in them when that process ends. Without root a user namespace comes first, in
which the same is allowed. They must be entered before the first thread starts, hence by a new process.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence

_COMMON = ("--net", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child")
KINDS: Mapping[str, Sequence[str]] = {
    "root": _COMMON,
    "user": ("--user", "--map-root-user", *_COMMON),
}
"""Arguments of unshare(1) by who may use them, best first."""
OUTER = "CACHEQUAKE_OUTER_NETWORK"
"""Set for a process in namespaces of its own: the network namespace that it came from."""
CHOICE = "CACHEQUAKE_ISOLATION"
"""Set it to `proxy` to do without namespaces although they are possible.

For containers set it to `helper` to have links cut as if without root, to `published` to reach nodes by published ports
although they have addresses, or to `engine` to have the controller and the clients in a container on the engine."""


@functools.cache
def reason_against(kind: str) -> str | None:
    """Why namespaces of this kind cannot be had here; None when they can. Tries it (about 10 ms)."""
    if kind == "root" and os.geteuid() != 0:
        return "not root"
    if shutil.which("unshare") is None:
        return "the program unshare (package util-linux) is not installed"
    try:
        done = subprocess.run(
            ["unshare", *KINDS[kind], "true"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    if done.returncode != 0:
        return done.stderr.strip() or f"unshare ended with status {done.returncode}"
    return None


def available() -> str | None:
    """Why no kind of namespaces can be used; None when one can."""
    if os.environ.get(CHOICE) == "proxy":
        return f"{CHOICE} says proxy"
    reasons = {kind: reason_against(kind) for kind in KINDS}
    if None in reasons.values():
        return None
    return "; ".join(f"{kind}: {reason}" for kind, reason in reasons.items())


def prefix() -> list[str]:
    """What to put before a command to run it in namespaces of its own; empty where that is not possible.

    Run the command with `environment()`, and have it call `prepare()` first.
    """
    if available() is not None:
        return []
    kind = next(kind for kind in KINDS if reason_against(kind) is None)
    return ["unshare", *KINDS[kind]]


def environment() -> dict[str, str]:
    """Variables for a process that is started behind `prefix()`, so that `entered` can tell that it was."""
    return {OUTER: _network()}


def entered() -> bool:
    """Whether this process is in a network namespace of the run's own. Only there may rules be changed."""
    outer = os.environ.get(OUTER)
    return outer is not None and outer != _network()


def prepare() -> None:
    """Bring the loopback interface of the run's own network namespace up; elsewhere do nothing."""
    if not entered():
        return
    from pyroute2 import IPRoute  # only here: it takes 0.3 s to load, and the command itself never gets here

    with IPRoute() as kernel:
        kernel.link("set", index=kernel.link_lookup(ifname="lo")[0], state="up")


def _network() -> str:
    return os.readlink("/proc/self/ns/net")

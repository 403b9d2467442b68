"""Configuration files of the servers that deployments start, and what a server's last words and its data are."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from chaos.deploy import envoy, twemproxy
from chaos.errors import ServerError
from chaos.member import Member

OURS = frozenset({"port", "bind", "bind-source-addr", "dir", "daemonize", "logfile", "pidfile", "cluster-announce-ip"})
"""Directives that the deployment decides."""

_CONFIG_ERROR = re.compile(r"^>>> '?(?P<line>.*?)'?\n(?P<reason>.+)$", re.MULTILINE)
_DATA = ("appendonlydir", "*.aof", "*.rdb")
_KEPT = {
    "server.log": "log",
    "server.conf": "conf",
    "nodes.conf": "nodes.conf",
    twemproxy.FILE: twemproxy.FILE,
    envoy.FILE: envoy.FILE,
}
"""Files of a node that outlast the run, with what follows the node's name in theirs."""


def refuse_ours(members: Iterable[Member], deployment: str) -> None:
    """Raise ServerError for a directive that is not the user's to set."""
    for member in members:
        if taken := sorted(OURS.intersection(member.config)):
            raise ServerError(f"config sets {taken[0]!r}, which the {deployment} deployment decides: leave it out")


def configuration(directives: Mapping[str, Any]) -> str:
    """A configuration file. Values stand as redis.conf has them; booleans become yes and no, an empty one quotes."""
    texts = {True: "yes", False: "no", "": '""'}
    return "".join(
        f"{name} {texts.get(value, value) if isinstance(value, bool | str) else value}\n"
        for name, value in directives.items()
    )


def last_words(log: Path) -> str:
    """Why a server ended, in its own words: the directive that it refused, or the last lines of its log."""
    text = log.read_text(errors="replace") if log.exists() else ""
    refused = list(_CONFIG_ERROR.finditer(text))
    if refused:
        return f"it refuses the directive {refused[-1]['line']!r}: {refused[-1]['reason']}"
    return " | ".join(text.strip().splitlines()[-3:]) or "it said nothing"


def remove_data(directory: Path) -> None:
    """Remove a dead node's AOF and RDB files; its cluster identity (nodes.conf) stays."""
    for pattern in _DATA:
        for path in directory.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def collect(directory: Path, name: str, target: Path) -> None:
    """Copy the log, the configuration file and the nodes.conf of node `name` from its directory into `target`."""
    for file, suffix in _KEPT.items():
        if (directory / file).exists():
            shutil.copyfile(directory / file, target / f"{name}.{suffix}")

"""Twemproxy (`nutcracker`) as a node: how it is found, and its configuration file.

It speaks to servers from whatever address the machine gives it: there is no setting to bind one. It closes the
connection on a command that it does not know, CLIENT SETNAME among them. PING it answers itself.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chaos.errors import ServerError

VARIABLE = "CACHEQUAKE_NUTCRACKER"
FILE = "nutcracker.yml"
HASHES = {"ketama": "md5", "modula": "crc32a", "random": "md5"}
"""Of the key, by distribution: those of libketama and of `chaos.sharding`, so that a key is on the same server with a
proxy and without. With its own default, fnv1a_64, names that differ in the last character alone are neighbours on the
ring: k0 to k9 all lie on one server."""
RETRY_MS = 2_000
"""How long an ejected server stays out before it is tried again; its own default is 30 s, longer than most runs."""
FAILURES = 1
"""Errors in a row after which a server is ejected; its own default is 2."""
_STATS_PORT = 22222
_FOLDERS = ("/usr/sbin", "/usr/local/sbin")
"""Where packages put it, which is not on everybody's PATH."""


def find() -> Path:
    """The program. Raises ServerError, which says how to get it."""
    named = os.environ.get(VARIABLE)
    found = shutil.which(named or "nutcracker", path=None if named else _search_path())
    if found is None:
        missing = f"{VARIABLE} names {named}, which cannot be run" if named else "there is no nutcracker on PATH"
        raise ServerError(f"{missing}: apt install nutcracker, or name Twemproxy's program with {VARIABLE}=PATH")
    return Path(found).absolute()


def _search_path() -> str:
    return os.pathsep.join([os.environ.get("PATH", os.defpath), *_FOLDERS])


def command(program: Path, own: str) -> Sequence[str]:
    """How it is started in the node's directory; `own` is its address."""
    return [str(program), "-c", FILE, "-o", "server.log", "-p", "nutcracker.pid", "-a", own, "-s", str(_STATS_PORT)]


def write(settings: Mapping[str, Any], own: tuple[str, int], servers: Mapping[str, tuple[str, int]]) -> str:
    """Its configuration file, which is YAML; JSON is that as well.

    `settings` are those of `chaos.topologies.proxied`; `own` is where it listens; `servers` are those behind it.
    """
    pool = {
        "listen": _address(own),
        "redis": True,
        "hash": HASHES[settings["hashing"]],
        "hash_tag": "{}",
        "distribution": settings["hashing"],
        "timeout": settings["timeout_ms"],
        "auto_eject_hosts": settings["auto_eject"],
        "server_retry_timeout": RETRY_MS,
        "server_failure_limit": FAILURES,
        "servers": [f"{_address(address)}:1 {name}" for name, address in servers.items()],
    }
    lines = [f"  {name}: {json.dumps(value)}\n" for name, value in pool.items() if name != "servers"]
    servers_ = "".join(f"   - {server}\n" for server in pool["servers"])
    return f"cachequake:\n{''.join(lines)}  servers:\n{servers_}"


def _address(address: tuple[str, int]) -> str:
    host, port = address
    return f"{host}:{port}"

"""What a process needs to run in virtual time: variables that are the same wherever a run is, and a dynamic loader."""

from __future__ import annotations

import os
from pathlib import Path

from chaos.errors import BadInput


def environment(shim: Path, name: str, host: str, seed: int, number: int) -> dict[str, str]:
    """Variables of a process that `shim` is preloaded into.

    `name` and the address `host` are those of its machine, `seed` decides its chance, `number` is its process number.
    """
    variables = {
        "LD_PRELOAD": str(shim),
        "CACHEQUAKE_SEED": str(seed >> 1),
        "CACHEQUAKE_PID": str(number),
        "CACHEQUAKE_ADDRESS": host,
        "CACHEQUAKE_DIRECTORY": f"/virtual/{name}",
        "PATH": os.defpath,
        "LC_ALL": "C",
        "TZ": "UTC",
    }
    if "LD_LIBRARY_PATH" in os.environ:
        variables["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    return variables


def refuse_static(path: Path) -> None:
    """Raise BadInput for what nothing can be preloaded into.

    A program without a dynamic loader ignores what is preloaded; the loader's path stands at its beginning.
    """
    with path.open("rb") as file:
        head = file.read(4096)
    if head[:4] != b"\x7fELF":
        raise BadInput(f"{path} is a script, and virtual must start the program itself: name the one that it starts")
    if b"/ld-" not in head:
        raise BadInput(f"{path} is linked statically, so nothing can be preloaded into it; use --deploy local")

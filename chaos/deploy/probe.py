"""What the kernel allows inside namespaces of a run's own, tried out in some made for that."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import chaos
from chaos.deploy import namespace

WHAT = ("links", "loss", "delay", "bandwidth", "held")


@functools.cache
def reasons_against() -> dict[str, str | None]:
    """Why links cannot be cut (`links`), packets lost (`loss`) or links slowed (`delay`, `bandwidth`) in the kernel.

    And why packets cannot be held in a process of ours (`held`), which is how containers' links are slowed. None for
    what works. Takes about 2 s.
    """
    if (reason := namespace.available()) is not None:
        return dict.fromkeys(WHAT, f"no namespaces: {reason}")
    root = str(Path(chaos.__file__).parents[1])
    done = subprocess.run(
        [*namespace.prefix(), sys.executable, "-m", "chaos.deploy.probe"],
        env=os.environ | namespace.environment() | {"PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    try:
        found: dict[str, str | None] = json.loads(done.stdout)
    except ValueError:
        return dict.fromkeys(WHAT, f"trying it out failed: {done.stderr.strip()[-300:]}")
    return found


def _try_out() -> dict[str, str | None]:
    """To be called inside namespaces only."""
    from chaos.deploy import links, loss, shaping

    namespace.prepare()
    reasons = {"loss": loss.reason_against(), "held": shaping.reason_against("delay", "NFQUEUE")}
    reasons |= {what: shaping.reasons_against(what) for what in ("delay", "bandwidth")}
    try:
        links.KernelLinks({})
    except OSError as error:
        return {"links": str(error), **reasons}
    return {"links": None, **reasons}


if __name__ == "__main__":
    print(json.dumps(_try_out()))

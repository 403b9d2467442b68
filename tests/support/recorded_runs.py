"""Two runs that were really made, for tests of pages: one that breaks its claim, and one that keeps all."""

from __future__ import annotations

import fcntl
import json
from dataclasses import dataclass
from pathlib import Path

import msgspec
from fake_cluster import FakeCluster
from memory_system import run

from chaos.judge import check_run
from chaos.run import run_scenario
from chaos.scenario import load_scenario
from chaos.store import HISTORY

EVIL = "<script>alert(1)</script>"
_GALLERY = {
    "steady": (1, 2),
    "graceful-failover": (3,),
    "primary-kill": (4, 5),
    "kill-without-persistence": (6,),
    "primary-partition": (7, 8, 9),
    "replica-reads": (10,),
    "slot-migration": (11,),
    "everything": (12,),
}
"""Scenarios and seeds for pictures."""


@dataclass(frozen=True)
class Recorded:
    """Where the runs are."""

    out: Path
    failed: Path
    """Real servers in virtual time; acknowledged writes are lost."""
    key: str
    """The key of one of its anomalies: its name wants to be a script."""
    kept: Path
    """Made by the controller on servers that are made up; nothing is wrong."""


def recorded_once(directory: Path) -> Recorded:
    """The runs below a directory that several processes share: the first one makes them, the others wait for it."""
    with (directory / "recorded.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = directory / "recorded.json"
        if not made.exists():
            made.write_bytes(msgspec.json.encode(record(directory / "runs"), enc_hook=str))
        return msgspec.json.decode(made.read_bytes(), type=Recorded, dec_hook=lambda kind, value: kind(value))


def record(out: Path) -> Recorded:
    """Make the runs. Takes some seconds."""
    scenario = load_scenario("primary-partition", {"deploy": "virtual", "duration": "5s", "clients.count": 6})
    failed = run_scenario(scenario, seed=2, out=out)
    plain = next(anomaly.key for anomaly in failed.result.anomalies("rolled-back-read", "lost-write") if anomaly.key)
    evil = f"{EVIL}{{{plain}}}"  # by its tag in braces it belongs to the same slot
    history = failed.run_dir / HISTORY
    history.write_text(history.read_text().replace(json.dumps(plain), json.dumps(evil)))
    check_run(failed.run_dir)
    kept, _ = run(out, FakeCluster())
    check_run(kept)
    return Recorded(out, failed.run_dir, evil, kept)


def record_gallery(out: Path) -> Path:
    """Make more runs, so that a list has something to list, and return one with a story to tell. Takes a minute."""
    made = {
        (name, seed): run_scenario(load_scenario(name, {"deploy": "virtual"}), seed=seed, out=out).run_dir
        for name, seeds in _GALLERY.items()
        for seed in seeds
    }
    return made["primary-partition", 7]

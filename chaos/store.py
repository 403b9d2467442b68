"""Run directories: `runs/<scenario>-<time>-seed<seed>/`, with everything that a run leaves.

While a run goes on, every process writes its events to a file of its own in `parts/`; when it ends they are merged
by time into `history.jsonl`. If the controller was killed before that, `finish_history` does it afterwards, so that
what was recorded can still be checked.
"""

from __future__ import annotations

import contextlib
import fcntl
import re
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from chaos.errors import BadInput
from chaos.plan import Plan
from nemeses.fault import ExecutedFault

PARTS, HISTORY, PLAN, EXECUTED, HEADER = "parts", "history.jsonl", "plan.json", "executed.json", "header.json"
LOCK = "lock"
"""Locked by the controller as long as it lives; the kernel lets go of it however the controller ends."""


INTERRUPTED = "the run was interrupted"
"""The error of a run that was asked to end before its time."""


MOMENT = "%Y%m%dT%H%M%S"
"""How the name of a run tells when it was made, in local time."""
_MOMENT = re.compile(r"-(\d{8}T\d{6})-seed\d+")


class Executed(msgspec.Struct):
    """What a run really did; `executed.json` is this, as JSON."""

    operations: dict[str, int] = {}
    """Operations done, by client number."""
    faults: list[ExecutedFault] = []
    error: str | None = None
    """Why the run did not go as planned, or None."""


def create_run_dir(out: Path, plan: Plan) -> Path:
    """Make the directory of a new run, with the scenario and the plan in it, and point `latest` to it."""
    moment = datetime.now().astimezone().strftime(MOMENT)
    safe = re.sub(r"[^\w.-]+", "-", plan.scenario.name)
    out.mkdir(parents=True, exist_ok=True)
    run_dir = _fresh(out, f"{safe}-{moment}-seed{plan.seed}")
    (run_dir / PARTS).mkdir()
    (run_dir / "logs").mkdir()
    (run_dir / "scenario.yaml").write_text(plan.scenario.to_yaml(), encoding="utf-8")
    plan.save(run_dir / PLAN)
    _point_latest(out, run_dir)
    return run_dir


def made_at(run_dir: Path) -> float:
    """When a run was made, in seconds since the epoch: its name tells, also of a copy, or else the date of its plan."""
    named = _MOMENT.search(run_dir.name)
    if named is None:
        return (run_dir / PLAN).stat().st_mtime
    return datetime.strptime(named[1], MOMENT).astimezone().timestamp()


def _fresh(out: Path, name: str) -> Path:
    """Create the directory; runs of one second get a number, also when several start at once."""
    for number in range(1, 10_000):
        run_dir = out / (name if number == 1 else f"{name}-{number}")
        try:
            run_dir.mkdir()
        except FileExistsError:
            continue
        return run_dir.absolute()
    raise BadInput(f"{out}: ten thousand runs named {name}; choose another directory with --out")


def _point_latest(out: Path, run_dir: Path) -> None:
    temporary = out / f".latest-{run_dir.name}"
    temporary.symlink_to(run_dir.name)
    temporary.replace(out / "latest")


def adopt_run(run_dir: Path, out: Path) -> Path:
    """Move a run that was made elsewhere below `out`, as the latest of them; returns where it is now."""
    place = _fresh(out, run_dir.name)
    run_dir.replace(place)  # over the empty directory that holds the name
    _point_latest(out, place)
    return place


def remove_run(run_dir: Path) -> None:
    """Remove a run that nobody needs; if it was the latest, `latest` is the one before it, or nothing."""
    shutil.rmtree(run_dir)
    latest = run_dir.parent / "latest"
    if latest.is_symlink() and not latest.exists():
        newest = max(run_dir.parent.glob(f"*/{PLAN}"), key=_written_ns, default=None)
        if newest is not None:
            _point_latest(run_dir.parent, newest.parent)
        else:
            latest.unlink(missing_ok=True)


def _written_ns(file: Path) -> int:
    """When a file was written; 0 for one that another process removed meanwhile."""
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


@contextlib.contextmanager
def locked(run_dir: Path) -> Iterator[bool]:
    """Lock a run for this process; yields False, without the lock, when its controller (or another cleaner) has it."""
    with (run_dir / LOCK).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def find_run(run: str | Path, out: Path) -> Path:
    """The directory of a run named by its path, or by its name below `out`. Raises BadInput when there is none."""
    for candidate in (Path(run), out / run):
        if (candidate / PLAN).is_file():
            return candidate.resolve()
    raise BadInput(f"{run} is not a run directory (one has a {PLAN}); runs are listed in {out}")


def save_executed(run_dir: Path, executed: Executed) -> None:
    """Write `executed.json`."""
    (run_dir / EXECUTED).write_bytes(msgspec.json.format(msgspec.json.encode(executed), indent=2) + b"\n")


def read_executed(run_dir: Path) -> Executed:
    """Read `executed.json`; empty when the controller was killed before it wrote it."""
    path = run_dir / EXECUTED
    if not path.is_file():
        return Executed(error="the controller was killed before the run ended")
    return msgspec.json.decode(path.read_bytes(), type=Executed)


class _Stamp(msgspec.Struct):
    time: int = 0


def finish_history(run_dir: Path) -> Path:
    """Merge the parts of a run by time into `history.jsonl`, give every event its index, and remove the parts.

    A truncated last line of a part is dropped: the operation that it would have completed has no known outcome.
    Does nothing when the history is there already.
    """
    history = run_dir / HISTORY
    parts = run_dir / PARTS
    if not parts.is_dir():
        return history
    stamped = sorted(_lines(parts), key=lambda pair: pair[0])
    header = run_dir / HEADER
    temporary = run_dir / f".{HISTORY}"
    with temporary.open("wb") as file:
        file.write(header.read_bytes() if header.is_file() else _bare_header(run_dir))
        for index, (_, line) in enumerate(stamped):
            file.write(b'{"index":%d,' % index + line[1:] + b"\n")
    temporary.replace(history)
    for part in parts.iterdir():
        part.unlink()
    parts.rmdir()
    header.unlink(missing_ok=True)
    return history


def _lines(parts: Path) -> Iterator[tuple[int, bytes]]:
    decoder = msgspec.json.Decoder(_Stamp)
    for part in sorted(parts.glob("*.jsonl")):
        *lines, last = part.read_bytes().split(b"\n")
        for line in lines:
            yield decoder.decode(line).time, line
        if last:
            try:
                yield decoder.decode(last).time, last
            except msgspec.MsgspecError:
                continue


def write_header(run_dir: Path, header: dict[str, Any]) -> None:
    """Write the history's header line, to be put in front when the parts are merged."""
    (run_dir / HEADER).write_bytes(msgspec.json.encode(header) + b"\n")


def _bare_header(run_dir: Path) -> bytes:
    """For a run that was killed before its system was up: it has nothing but a name."""
    return msgspec.json.encode({"format": "cachequake-history", "version": 1, "run": run_dir.name}) + b"\n"

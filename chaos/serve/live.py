"""A run that is under way, second by second: read from the parts of its history, which grow while it runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from chaos.serve.catalogue import is_running
from chaos.store import PARTS
from checkers.events import Event

_OUTCOMES = {b'"type":"ok"': "ok", b'"type":"fail"': "fail", b'"type":"info"': "info"}


class Watcher:
    """Reads what a run has recorded since the last look."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._read: dict[Path, int] = {}
        """Bytes of each part that were looked at; always whole lines."""
        self._total: Counter[str] = Counter()
        self._faults: dict[int, dict[str, Any]] = {}
        """Those that hold, by number."""
        self._nodes: dict[str, dict[str, Any]] = {}
        self._time_ns = 0
        self._phase = "starting"

    def look(self) -> dict[str, Any]:
        """Operations since the last look and in all, the faults that hold, what each node says it is, and the phase."""
        fresh: Counter[str] = Counter()
        for part in sorted((self._run_dir / PARTS).glob("*.jsonl")):
            lines = self._new(part)
            if part.name == "controller.jsonl":
                for line in lines:
                    self._hear(line)
            else:
                fresh.update(outcome for line in lines if (outcome := _outcome(line)) is not None)
        self._total += fresh
        return {
            "running": is_running(self._run_dir),
            "time_ms": self._time_ns // 1_000_000,
            "phase": self._phase,
            "fresh": dict(fresh),
            "total": dict(self._total),
            "faults": list(self._faults.values()),
            "nodes": self._nodes,
        }

    def _new(self, part: Path) -> list[bytes]:
        try:
            with part.open("rb") as file:
                file.seek(self._read.get(part, 0))
                text = file.read()
        except FileNotFoundError:  # the run has ended, and its parts have become one history
            return []
        whole = text.rfind(b"\n") + 1
        self._read[part] = self._read.get(part, 0) + whole
        return text[:whole].splitlines()

    def _hear(self, line: bytes) -> None:
        try:
            event = msgspec.json.decode(line, type=Event)
        except msgspec.MsgspecError:
            return
        self._time_ns = max(self._time_ns, event.time or 0)
        value = event.value if isinstance(event.value, dict) else {}
        if event.process == "nemesis" and value.get("phase") == "inject":
            self._faults[value["fault"]] = {"kind": event.f, "nodes": value.get("nodes", []), "number": value["fault"]}
        elif event.process == "nemesis" and value.get("phase") == "heal":
            self._faults.pop(value["fault"], None)
        elif event.process == "observer" and "node" in value:
            self._nodes[value["node"]] = {"state": value.get("state"), "role": value.get("role")}
        elif event.process == "controller" and event.f == "phase":
            self._phase = str(value.get("phase"))


def _outcome(line: bytes) -> str | None:
    """How the operation of a completion ended; None for an invocation."""
    return next((name for mark, name in _OUTCOMES.items() if mark in line[:120]), None)

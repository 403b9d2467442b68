"""Several replays of one run: how often its anomalies come back; and the exact replay, that of its history."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from chaos.errors import BadInput
from chaos.judge import check_run
from chaos.replay import Replay, replay_run


def wilson(times: int, of: int) -> tuple[float, float]:
    """In which share of all runs something happens that happened so many times: Wilson's interval, 95 % confidence."""
    from scipy.stats import binomtest  # takes a second to import

    interval = binomtest(times, of).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


@dataclass(frozen=True)
class Replays:
    """What came back in each of them."""

    each: list[Replay]

    @property
    def kinds(self) -> list[str]:
        """Every kind that the first run or a replay had."""
        return sorted({kind for replay in self.each for kind in (*replay.before, *replay.after)})

    @property
    def missing(self) -> list[str]:
        """Wanted kinds that did not come back in most of the replays."""
        return [kind for kind in sorted(self.each[0].wanted) if self.times(kind) * 2 <= len(self.each)]

    @property
    def exit_code(self) -> int:
        """0 every wanted kind came back in most of the replays, 1 one did not, 2 that could not be decided."""
        return 0 if not self.missing else 2 if any(replay.undecided for replay in self.each) else 1

    def times(self, kind: str) -> int:
        """In how many replays there were anomalies of a kind."""
        return sum(bool(replay.after.get(kind)) for replay in self.each)

    def interval(self, kind: str) -> tuple[float, float]:
        """In which share of all replays it would come back: Wilson's interval with 95 % confidence."""
        return wilson(self.times(kind), len(self.each))

    def in_words(self) -> str:
        """One line a kind."""
        rows = [self._row(kind) for kind in self.kinds] or ["no run had an anomaly"]
        verdict = f"did not come back: {', '.join(self.missing)}" if self.missing else "came back"
        return "\n".join([*rows, verdict])

    def _row(self, kind: str) -> str:
        low, high = self.interval(kind)
        new = "" if kind in self.each[0].before else ", not in the first run"
        return f"{kind} {self.times(kind)}/{len(self.each)} ({low:.0%} to {high:.0%} with 95% confidence{new})"

    def to_json(self) -> str:
        """What `replay --times --json` prints."""
        fields = {
            "runs": [str(replay.run_dir) for replay in self.each],
            "before": self.each[0].before,
            "kinds": {kind: {"replays": self.times(kind), "interval": self.interval(kind)} for kind in self.kinds},
            "wanted": sorted(self.each[0].wanted),
            "missing": self.missing,
        }
        return msgspec.json.format(msgspec.json.encode(fields), indent=2).decode()


def replay_times(run_dir: Path, times: int, on_replay: Callable[[Replay], None], **how: Any) -> Replays:
    """Replay a run so many times, one after the other; `how` is as for `replay_run`."""
    each = []
    for _ in range(times):
        each.append(replay_run(run_dir, **how))
        on_replay(each[-1])
    return Replays(each)


def recheck(run_dir: Path) -> bool:
    """Check the recorded history again: whether `results.json` is the same, byte for byte; it is replaced.

    The same version of the checkers says the same. Raises BadInput when the run was never checked.
    """
    file = run_dir / "results.json"
    if not file.is_file():
        raise BadInput(f"{run_dir.name} was never checked, so there is nothing to compare with: use `cachequake check`")
    before = file.read_bytes()
    check_run(run_dir)
    return file.read_bytes() == before

"""The live display of a run: how far it is, how fast, what breaks now and what each node is."""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from chaos.progress import Progress
from chaos.report.words import printable

_WINDOW_MS = 1_000
_NODE_STYLES = {"primary": "green", "replica": "blue", "down": "red"}
_PHASES = {
    "start": "starting the servers",
    "load": "clients and faults at work",
    "heal": "healing every fault",
    "converge": "waiting until the nodes agree",
    "final reads": "reading everything once more",
    "check": "checking the history",
}


class LiveProgress:
    """Shows progress on a console: `with LiveProgress(console) as show: run_scenario(..., on_progress=show)`.

    In a terminal one display is redrawn; elsewhere, and in a terminal that cannot move its cursor (`TERM=dumb`), there
    is one plain line per phase and note, and no animation.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        moves = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(console=console, transient=True, auto_refresh=False) if moves else None
        self._phase: str | None = None
        self._recent: deque[tuple[int, int]] = deque()

    def __enter__(self) -> Self:
        """Begin the display."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the display and leave the screen to what follows."""
        if self._live is not None:
            self._live.stop()

    def __call__(self, progress: Progress) -> None:
        """Show this progress."""
        if progress.note is not None:
            self._console.print(Text(printable(progress.note)), soft_wrap=True)
        if self._live is not None:
            self._live.update(self._drawn(progress), refresh=True)
        elif progress.phase != self._phase:
            self._console.print(Text(f"{progress.elapsed_ms / 1000:6.1f} s  {_phase(progress)}"), soft_wrap=True)
        self._phase = progress.phase

    def rate(self, progress: Progress) -> float:
        """Operations a second over the last second of progress."""
        total = progress.ok + progress.fail + progress.info
        self._recent.append((progress.elapsed_ms, total))
        while len(self._recent) > 2 and self._recent[1][0] <= progress.elapsed_ms - _WINDOW_MS:
            self._recent.popleft()
        since, before = self._recent[0]
        return (total - before) * 1000 / max(progress.elapsed_ms - since, 1)

    def _drawn(self, progress: Progress) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", justify="right")
        table.add_column()
        bar = ProgressBar(max(progress.duration_ms, 1), min(progress.elapsed_ms, progress.duration_ms), width=40)
        time = f"{progress.elapsed_ms / 1000:.1f} of {progress.duration_ms / 1000:.1f} s"
        table.add_row(time, bar)
        table.add_row("phase", _phase(progress))
        table.add_row("operations", f"{self.rate(progress):,.0f} a second; {progress.ok:,} ok")
        table.add_row("errors", f"{progress.fail:,} refused, {progress.info:,} undecided")
        faults = printable(", ".join(progress.faults))
        table.add_row("faults", Text(faults, style="red") if faults else "none now")
        if progress.nodes:
            table.add_row("nodes", _nodes(progress.nodes))
        return table


def _phase(progress: Progress) -> str:
    return _PHASES.get(progress.phase, progress.phase)


def _nodes(nodes: dict[str, str]) -> Text:
    return Text("  ").join(
        Text(f"{name} {printable(state)}", style=_NODE_STYLES.get(state, "")) for name, state in nodes.items()
    )

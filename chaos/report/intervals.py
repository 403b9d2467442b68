"""The operations that prove an anomaly, drawn as one interval per operation, one line per process.

What proves an anomaly is the *order* of beginnings and ends, and a write may precede the read that misses it by
milliseconds or by seconds. So the axis is not to scale: every distinct time gets the same room, in true order.
"""

from __future__ import annotations

from collections.abc import Sequence

from chaos.report.charts import LEFT, RIGHT, WIDTH, name_of
from chaos.report.markup import Html, join, tag
from chaos.report.story import describe
from chaos.report.words import seconds
from checkers.history import NEVER, TYPES, Operations
from nemeses.fault import ExecutedFault

_ROW, _TOP = 40, 24
_FINAL_PROCESS = 1_000_000
"""Final reads have processes from here on (see the conventions of the history)."""


def draw_intervals(operations: Operations, rows: Sequence[int], fault: ExecutedFault | None) -> Html:
    """The operations of `rows` in true order, the first to begin on top, over a band for the fault that was active."""
    times = sorted(_times(operations, rows, fault))
    step = (WIDTH - LEFT - RIGHT) / (len(times) + 1)
    position = {time: LEFT + step * (number + 1) for number, time in enumerate(times)}
    ordered = sorted(rows, key=lambda row: int(operations.start[row]))
    processes = list(dict.fromkeys(int(operations.process[row]) for row in ordered))
    bottom = _TOP + _ROW * len(processes)
    drawn = [_axis(position, bottom)]
    if fault is not None and fault.injected_ns is not None:
        drawn.insert(0, _band(fault, position, bottom))
    for line, process in enumerate(processes):
        y = _TOP + _ROW * line
        drawn.append(tag("text", process_name(process), x=LEFT - 6, y=y + 27, class_="tick end"))
        drawn.extend(_bar(operations, row, position, y) for row in rows if operations.process[row] == process)
    label = f"{len(rows)} operations in the order of time"
    view = f"0 0 {WIDTH} {bottom + 44}"
    return tag("svg", *drawn, viewBox=view, role="img", aria_label=label, class_="intervals")


def process_name(process: int) -> str:
    """What a reader calls a process."""
    return "final" if process >= _FINAL_PROCESS else f"p{process}"


def _times(operations: Operations, rows: Sequence[int], fault: ExecutedFault | None) -> set[int]:
    times = {int(operations.start[row]) for row in rows} | {int(operations.end[row]) for row in rows}
    if fault is not None:
        times |= {time for time in (fault.injected_ns, fault.healed_ns) if time is not None}
    return times - {NEVER}


def _axis(position: dict[int, float], bottom: int) -> Html:
    """A line per time; labels on two levels, so that neighbours do not run into each other."""
    marks = []
    for number, (time, x) in enumerate(position.items()):
        level = bottom + 16 + 15 * (number % 2)
        marks.append(tag("line", x1=x, x2=x, y1=_TOP, y2=level - 10, class_="grid"))
        marks.append(tag("text", f"{time / 1e6:,.2f} ms", x=x, y=level, class_="tick middle"))
    return join(marks)


def _band(fault: ExecutedFault, position: dict[int, float], bottom: int) -> Html:
    start = position[fault.injected_ns or 0]
    end = WIDTH - RIGHT if fault.healed_ns is None else position[fault.healed_ns]
    return join(
        [
            tag("rect", x=start, y=4, width=end - start, height=bottom - 4, class_="band"),
            tag("text", name_of(fault), x=start + 4, y=16, class_="label"),
        ]
    )


def _bar(operations: Operations, row: int, position: dict[int, float], y: int) -> Html:
    start, end = int(operations.start[row]), int(operations.end[row])
    left, right = position[start], WIDTH - RIGHT if end == NEVER else position[end]
    outcome = TYPES[operations.type[row]]
    node = operations.node_name(row)
    label = f"{describe(operations, row)}{'' if outcome == 'ok' else f' ({outcome})'}{f' at {node}' if node else ''}"
    late = left > WIDTH * 0.6  # a label that would run over the right edge ends with its bar
    return tag(
        "g",
        tag("title", f"{label}: {seconds(start)} to {'never' if end == NEVER else seconds(end)}"),
        tag("rect", x=left, y=y + 18, width=max(right - left, 2), height=12, rx=3, class_=f"bar {outcome}"),
        tag("text", label, x=right if late else left, y=y + 13, class_="label end" if late else "label"),
    )

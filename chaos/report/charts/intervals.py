"""The operations that prove an anomaly, drawn as one interval per operation, in lines by process.

What proves an anomaly is the *order* of beginnings and ends, and a write may precede the read that misses it by
milliseconds or by seconds. So there are two charts of the same rows: in the first every distinct time gets the same
room, in true order; in the second time is to scale, and has to be looked at closely to tell neighbours apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chaos.report.charts.style import GUTTER, OUTCOMES, SECONDS, Spec, coloured, stretch, whole
from chaos.report.charts.timeline import name_of
from chaos.report.story import describe
from chaos.report.words import seconds
from checkers.events import NEVER, TYPES
from checkers.history import Operations
from nemeses.fault import ExecutedFault

LINE = 40
"""Pixels of a line."""
IN_ORDER, TO_SCALE = "intervals-in-order", "intervals-to-scale"
_FINAL_PROCESS = 1_000_000
"""Final reads have processes from here on (see the conventions of the history)."""
_LETTER, _PLOT = 6.3, 860
"""Pixels of a letter and of a wide plot, near enough to keep labels apart."""


def specs() -> dict[str, Spec]:
    """Both charts; each takes the parameters `since`, `until`, `lines` and `moments` from what it draws."""
    in_order = {"title": None, "tickMinStep": 1, "labelExpr": "moments[datum.value] || ''", "labelOverlap": "greedy"}
    return {
        IN_ORDER: _spec(
            "in order",
            "first",
            "last",
            {**in_order, "labelSeparation": 8, "tickCount": {"expr": "length(moments)"}},
        ),
        TO_SCALE: _spec("to scale", "a", "b", SECONDS),
    }


def chart(operations: Operations, rows: Sequence[int], fault: ExecutedFault | None) -> dict[str, Any]:
    """What the charts draw of the operations of `rows`: `data`, `params`, and the `whole` of each axis.

    `height` is that of the plot in pixels, and `span` is from when to when they go, in nanoseconds since the run began.
    """
    times = sorted(_times(operations, rows, fault))
    place = {time: number + 1 for number, time in enumerate(times)}
    until, margin = times[-1], max((times[-1] - times[0]) // 30, 1000)
    end = until + margin
    place[NEVER] = len(times) + 1
    ordered = sorted(rows, key=lambda row: int(operations.start[row]))
    bars = [_bar(operations, row, place, end) for row in ordered]
    processes = [process_name(int(operations.process[row])) for row in ordered]
    lines = _into_lines(bars, processes, _PLOT / (len(times) + 1))
    return {
        "data": {"operations": bars, "faults": [] if fault is None else _band(fault, place, end)},
        "params": {
            "lines": lines,
            "moments": ["", *(f"{time / 1e6:,.2f} ms" for time in times)],
        },
        "height": LINE * len(lines),
        "span": (times[0], times[-1]),
        "whole": {IN_ORDER: [0.5, len(times) + 1], TO_SCALE: [(times[0] - margin) / 1e9, end / 1e9]},
    }


def process_name(process: int) -> str:
    """What a reader calls a process."""
    return "final" if process >= _FINAL_PROCESS else f"p{process}"


def _spec(name: str, start: str, end: str, axis: Mapping[str, Any]) -> Spec:
    x = stretch(start, axis)
    span = {"x": x, "x2": {"field": end}}
    y = {
        "field": "line",
        "type": "ordinal",
        "axis": {
            "title": None,
            "labelExpr": "lines[datum.value]",
            "domain": False,
            "ticks": False,
            "minExtent": GUTTER,
            "maxExtent": GUTTER,
            "labelLimit": GUTTER,
            "grid": True,
        },
    }
    shade = {"type": "rect", "color": "var(--band)", "opacity": 0.1, "clip": True}
    late = f"(datum.{start} - since) / (until - since) > 0.6"
    label = {
        "type": "text",
        "align": {"expr": f"{late} ? 'right' : 'left'"},  # a label that would run over the edge ends where it begins
        "dx": {"expr": f"{late} ? 4 : -1"},
        "dy": -13,
        "fontSize": 11,
        "clip": True,
    }
    tip = [
        {"field": "label", "title": "operation"},
        {"field": "began", "title": "from"},
        {"field": "ended", "title": "to"},
        {"field": "outcome"},
    ]
    spec = {
        "usermeta": {"choice": name},  # what the button that chooses it is called
        "height": LINE,
        "params": [{"name": "lines", "value": []}, {"name": "moments", "value": []}],
        "layer": [
            {"data": {"name": "faults"}, "mark": shade, "encoding": {**span, "tooltip": {"field": "told"}}},
            {
                "data": {"name": "operations"},
                "transform": [
                    {"calculate": "format(datum.a, ',.6f') + ' s'", "as": "began"},
                    {"calculate": "datum.never ? 'never' : format(datum.b, ',.6f') + ' s'", "as": "ended"},
                ],
                "encoding": {"y": y, "color": coloured("outcome", OUTCOMES), "tooltip": tip},
                "layer": [
                    {"mark": {"type": "bar", "height": 12, "yOffset": 3, "clip": True}, "encoding": span},
                    {
                        "mark": {"type": "tick", "thickness": 3, "height": 12, "yOffset": 3, "clip": True},
                        "encoding": {"x": x},
                    },
                    {"mark": label, "encoding": {"x": x, "text": {"field": "label"}, "color": {"value": "var(--ink)"}}},
                ],
            },
        ],
    }
    return whole(spec, (0, 1))


def _times(operations: Operations, rows: Sequence[int], fault: ExecutedFault | None) -> set[int]:
    times = {int(operations.start[row]) for row in rows} | {int(operations.end[row]) for row in rows}
    if fault is not None:
        times |= {time for time in (fault.injected_ns, fault.healed_ns) if time is not None}
    return times - {NEVER}


def _bar(operations: Operations, row: int, place: Mapping[int, int], until: int) -> dict[str, Any]:
    start, end = int(operations.start[row]), int(operations.end[row])
    outcome, node = TYPES[operations.type[row]], operations.node_name(row)
    label = f"{describe(operations, row)}{'' if outcome == 'ok' else f' ({outcome})'}{f' at {node}' if node else ''}"
    return {
        "a": start / 1e9,
        "b": (until if end == NEVER else end) / 1e9,
        "first": place[start],
        "last": place[end],
        "outcome": outcome,
        "label": label,
        **({"never": True} if end == NEVER else {}),
    }


def _band(fault: ExecutedFault, place: Mapping[int, int], until: int) -> list[dict[str, Any]]:
    if fault.injected_ns is None:
        return []
    end = fault.healed_ns
    told = f"{name_of(fault)}: {seconds(fault.injected_ns)} to {'the end' if end is None else seconds(end)}"
    return [
        {
            "a": fault.injected_ns / 1e9,
            "b": (until if end is None else end) / 1e9,
            "first": place[fault.injected_ns],
            "last": place[NEVER if end is None else end],
            "told": told,
        }
    ]


def _into_lines(bars: Sequence[dict[str, Any]], processes: Sequence[str], step: float) -> list[str]:
    """Give each bar a `line`, and return the names of the lines: those of one process follow each other.

    A process gets another line where labels would overlap; `step` is the room of one moment in pixels.
    """
    names: list[str] = []
    for process in dict.fromkeys(processes):
        free: list[float] = []
        for bar in (bar for bar, its in zip(bars, processes, strict=True) if its == process):
            left, wide = bar["first"] * step, _LETTER * len(bar["label"])
            if bar["first"] * step > 0.6 * _PLOT:
                left -= wide
            line = next((number for number, edge in enumerate(free) if edge <= left), len(free))
            free[line : line + 1] = [max(bar["last"] * step, left + wide) + 8]
            bar["line"] = len(names) + line
        names += [process, *[""] * (len(free) - 1)]
    return names

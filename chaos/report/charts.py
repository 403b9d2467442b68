"""The timeline of a run as one SVG, every panel over the same axis of time, so that cause stands above effect."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chaos.report.markup import Html, join, tag
from chaos.report.series import Segment, Timeline, end_of, roles, timeline
from chaos.report.story import slots
from chaos.report.words import enumeration, seconds
from checkers.history import History
from nemeses.fault import ExecutedFault

WIDTH, LEFT, RIGHT = 1040, 66, 14
_PANEL, _GAP, _LANE, _ROW = 120, 34, 20, 22
_LETTER = 6.3
"""Width of a letter at the size of labels, near enough to keep labels apart."""


@dataclass(frozen=True)
class Axis:
    """Time to horizontal position."""

    until: int
    """Nanoseconds since the run began at the right edge."""

    def x(self, time: float) -> float:
        """Position of a time; times outside are moved to the edge."""
        return LEFT + (WIDTH - LEFT - RIGHT) * min(max(time / self.until, 0.0), 1.0)


def draw_timeline(history: History, executed: Sequence[ExecutedFault]) -> Html:
    """Faults, operations a second, errors a second, latency and what each node was, over the time of the run."""
    axis, series = Axis(max(end_of(history), 1)), timeline(history)
    faults = [fault for fault in executed if fault.injected_ns is not None]
    lanes = _lanes(faults, axis)
    top = 16 + _LANE * (max(lanes, default=-1) + 1)
    nodes = roles(history)
    panels: list[Html] = []
    y = top + 18
    for draw in (_throughput, _errors, _latency):
        panels.append(draw(series, axis, y))
        y += _PANEL + _GAP
    panels.append(_roles(nodes, faults, axis, y))
    bottom = y + _ROW * max(len(nodes), 1)
    back = join([_ticks(axis, top, bottom), *_bands(faults, lanes, axis, top, bottom)])
    height = bottom + 26
    label = f"Timeline of {axis.until / 1e9:.1f} seconds with {len(faults)} faults"
    return tag("svg", back, *panels, viewBox=f"0 0 {WIDTH} {height}", role="img", aria_label=label, class_="timeline")


def _lanes(faults: Sequence[ExecutedFault], axis: Axis) -> list[int]:
    """A row for each fault's label such that no two labels overlap."""
    free: list[float] = []
    lanes = []
    for fault in faults:
        start = axis.x(fault.injected_ns or 0)
        end = max(axis.x(_healed(fault, axis)), start + _LETTER * len(name_of(fault)) + 12)
        lane = next((number for number, edge in enumerate(free) if edge <= start), len(free))
        free[lane : lane + 1] = [end]
        lanes.append(lane)
    return lanes


def _healed(fault: ExecutedFault, axis: Axis) -> int:
    return axis.until if fault.healed_ns is None else fault.healed_ns


def name_of(fault: ExecutedFault) -> str:
    """A fault in short: `1 partition of n1`."""
    return f"{fault.number} {fault.kind} of {enumeration(fault.nodes) or fault.target}"


def _bands(faults: Sequence[ExecutedFault], lanes: Sequence[int], axis: Axis, top: int, bottom: int) -> Iterator[Html]:
    for fault, lane in zip(faults, lanes, strict=True):
        start, end = axis.x(fault.injected_ns or 0), axis.x(_healed(fault, axis))
        width, y = max(end - start, 1.5), 12 + _LANE * lane
        told = f"{name_of(fault)}, {seconds(fault.injected_ns or 0)} to {seconds(_healed(fault, axis))}"
        # A label that would run over the right edge ends there instead.
        x = min(start + 4, WIDTH - RIGHT - _LETTER * len(name_of(fault)))
        yield tag(
            "g",
            tag("title", told),
            tag("rect", x=start, y=top, width=width, height=bottom - top, class_="band"),
            tag("rect", x=start, y=y, width=width, height=_LANE - 4, class_="fault"),
            tag("text", name_of(fault), x=x, y=y + 12, class_="label"),
        )


def _ticks(axis: Axis, top: int, bottom: int) -> Html:
    step = _nice(axis.until / 1e9 / 10)
    marks = []
    for number in range(int(axis.until / 1e9 / step + 1e-9) + 1):
        x = axis.x(number * step * 1e9)
        marks.append(tag("line", x1=x, x2=x, y1=top, y2=bottom, class_="grid"))
        marks.append(tag("text", f"{number * step:g} s", x=x, y=bottom + 16, class_="tick middle"))
    return join(marks)


def _nice(least: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(max(least, 1e-9)))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))


def _frame(title: str, y: int, marks: Sequence[tuple[float, str]]) -> Html:
    """A panel's title, its horizontal grid and the labels of it; `marks` are (vertical position, label)."""
    lines = [
        join(
            [
                tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=at, y2=at, class_="grid"),
                tag("text", label, x=LEFT - 6, y=at + 4, class_="tick end"),
            ]
        )
        for at, label in marks
    ]
    return join([tag("text", title, x=LEFT, y=y - 7, class_="title"), *lines])


def _linear(y: int, highest: float) -> tuple[Callable[[float], float], list[tuple[float, str]]]:
    """A scale from 0 to just above `highest`, with three labelled marks."""
    step = _nice(max(highest, 1) / 2)
    top = step * max(math.ceil(highest / step), 1)

    def scale(value: float) -> float:
        return y + _PANEL * (1 - value / top)

    marks = [(scale(step * n), f"{step * n:,.0f}") for n in range(round(top / step) + 1)]
    return scale, marks


def _throughput(series: Timeline, axis: Axis, y: int) -> Html:
    rate = series.rates["ok"]
    scale, marks = _linear(y, float(rate.max(initial=0)))
    steps = " ".join(
        f"L{axis.x(start):.1f} {scale(value):.1f} L{axis.x(start + series.bucket_ns):.1f} {scale(value):.1f}"
        for start, value in zip(series.starts.tolist(), rate.tolist(), strict=True)
    )
    floor = y + _PANEL
    path = tag("path", d=f"M{LEFT} {floor} {steps} L{WIDTH - RIGHT} {floor} Z", class_="ok area")
    return join([_frame(f"ok operations a second (per {series.bucket_ns // 1_000_000} ms)", y, marks), path])


def _errors(series: Timeline, axis: Axis, y: int) -> Html:
    fail, info = series.rates["fail"], series.rates["info"]
    scale, marks = _linear(y, float((fail + info).max(initial=0)))
    bars = []
    width = max(axis.x(series.bucket_ns) - LEFT - 0.6, 0.6)
    for bucket in np.flatnonzero(fail + info).tolist():
        x, low, high = axis.x(int(series.starts[bucket])), float(fail[bucket]), float(fail[bucket] + info[bucket])
        for name, bottom, top in (("fail", 0.0, low), ("info", low, high)):
            if top > bottom:
                bars.append(tag("rect", x=x, y=scale(top), width=width, height=scale(bottom) - scale(top), class_=name))
    return join([_frame("refused (fail) and undecided (info) operations a second", y, marks), *bars])


def _latency(series: Timeline, axis: Axis, y: int) -> Html:
    values = np.concatenate(list(series.latency_ms.values()))
    values = values[np.isfinite(values) & (values > 0)]
    lowest = math.floor(math.log10(values.min())) if len(values) else 0
    highest = max(math.ceil(math.log10(values.max())), lowest + 1) if len(values) else 1

    def scale(value: float) -> float:
        share = (math.log10(max(value, 10.0**lowest)) - lowest) / (highest - lowest)
        return y + _PANEL * (1 - share)

    marks = [(scale(10.0**power), f"{10.0**power:g} ms") for power in range(lowest, highest + 1)]
    middle = (series.starts + series.bucket_ns // 2).astype(np.float64)
    lines = [_line(name, middle, series.latency_ms[name], axis, scale) for name in ("max", "p99", "p50")]
    return join([_frame("latency of ok operations: p50, p99, max (logarithmic)", y, marks), *lines])


def _line(
    name: str, times: NDArray[np.float64], values: NDArray[np.float64], axis: Axis, scale: Callable[[float], float]
) -> Html:
    """A line with gaps where there is no value."""
    path, pen = [], "M"
    for time, value in zip(times.tolist(), values.tolist(), strict=True):
        if math.isnan(value):
            pen = "M"
            continue
        path.append(f"{pen}{axis.x(time):.1f} {scale(value):.1f}")
        pen = "L"
    return tag("path", d=" ".join(path) or None, class_=f"line {name}")


def _roles(nodes: dict[str, list[Segment]], faults: Sequence[ExecutedFault], axis: Axis, y: int) -> Html:
    rows = []
    for position, (node, segments) in enumerate(nodes.items()):
        top = y + _ROW * position
        rows.append(tag("text", node, x=LEFT - 6, y=top + 14, class_="tick end"))
        rows.extend(_segment(node, segment, axis, top) for segment in segments)
        for fault in faults:
            if node in fault.nodes:
                start, end = axis.x(fault.injected_ns or 0), axis.x(_healed(fault, axis))
                told = tag("title", f"{node}: {name_of(fault)}")
                shape = tag("rect", x=start, y=top + 15, width=max(end - start, 1.5), height=4, class_="hit")
                rows.append(tag("g", told, shape))
    heading = "what each node said it was" if nodes else "what each node was: the history does not say"
    return join([tag("text", heading, x=LEFT, y=y - 7, class_="title"), *rows])


def _segment(node: str, segment: Segment, axis: Axis, top: int) -> Html:
    start, end = axis.x(segment.start), axis.x(segment.end)
    told = segment.told
    role = f"primary of {slots(told.get('slots') or [])}" if told.get("role") == "primary" else segment.state
    shown = {
        "down": "does not answer",
        "refusing": f"{role}, sees the cluster as failed",
        "sentinel": f"Sentinel, names {told.get('primary')} as primary",
    }.get(segment.state, role)
    epoch = "" if told.get("epoch") is None else f", epoch {told['epoch']}"
    title = f"{node}: {shown}{epoch}, {seconds(segment.start)} to {seconds(segment.end)}"
    label = segment.state if end - start > _LETTER * len(segment.state) + 8 else ""
    return tag(
        "g",
        tag("title", title),
        tag("rect", x=start, y=top, width=max(end - start, 1.0), height=_ROW - 3, class_=f"role {segment.state}"),
        tag("text", label, x=start + 5, y=top + 13, class_="inside"),
    )

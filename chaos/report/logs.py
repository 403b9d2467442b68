"""What the servers logged around an anomaly, with the time of the run beside each line.

Redis and Valkey begin a line with process number, role and local time (`1234:M 25 Nov 2026 04:04:04.123 * ...`); lines
of another form belong to nobody here. The history says what the clock on the wall said when the run began. Of the time
zone it says nothing: a server's log begins within minutes of the run, so the zone is the one, in quarters of an hour,
by which it does.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from checkers.history import History

NEAR_NS = 3_000_000_000
"""How far from a moment a line may be to be shown with it."""
_LINE = re.compile(r"\d+:[A-Z] (\d{1,2}) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d)\.(\d{3}) (.*)$")
_MONTHS = {
    name: number
    for number, name in enumerate(
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], 1
    )
}
_ZONE_NS = 15 * 60 * 1_000_000_000
_LETTERS = 300
_BYTES = 4_000_000
"""Of one log, from its beginning."""


class Line(NamedTuple):
    """One line of a server's log."""

    time: int
    """Nanoseconds since the run began, by the server's own clock: a fault may have set it wrong."""
    node: str
    text: str


def read_logs(logs: Path, history: History) -> list[Line]:
    """The lines of all servers in the order of time; none when the history does not say when the run began."""
    began = _began(history)
    if began is None:
        return []
    lines = [line for log in sorted(logs.glob("*.log")) for line in _placed(log, began)]
    return sorted(lines, key=lambda line: line.time)  # those of one time stay in the order of their log


def around(lines: Sequence[Line], moments: Collection[int], most: int = 24) -> list[Line]:
    """Up to `most` lines within `NEAR_NS` of one of the moments, in the order of time.

    The nearest of each moment come before the second nearest of any, so that no moment takes the room of the others.
    """
    nearest = [_nearest(lines, moment, most) for moment in sorted(moments)]
    chosen: dict[int, None] = {}
    for places in zip_longest(*nearest):
        chosen.update(dict.fromkeys(place for place in places if place is not None))
    return [lines[place] for place in sorted([*chosen][:most])]


def _nearest(lines: Sequence[Line], moment: int, most: int) -> list[int]:
    """Places of the lines that are near a moment, the nearest first."""
    first, last = (bisect_left(lines, moment + way * NEAR_NS, key=lambda line: line.time) for way in (-1, 1))
    return sorted(range(first, last), key=lambda place: abs(lines[place].time - moment))[:most]


def _began(history: History) -> int | None:
    """Nanoseconds from 1970 to the begin of the run."""
    for event in history.context:
        if event.f == "phase" and isinstance(event.value, dict) and (wall := event.value.get("wall")):
            return int(datetime.fromisoformat(wall).timestamp() * 1000) * 1_000_000
    return None


def _placed(log: Path, began: int) -> Iterator[Line]:
    with log.open("rb") as file:
        text = file.read(_BYTES).decode("utf-8", "replace")
    zone: int | None = None
    for line in text.splitlines():
        if (found := _LINE.search(line)) is None or found[2] not in _MONTHS:
            continue
        day, month, year, hour, minute, second, milliseconds, said = found.groups()
        try:
            written = datetime(int(year), _MONTHS[month], int(day), int(hour), int(minute), int(second), tzinfo=UTC)
        except ValueError:  # what looks like a date and is none
            continue
        since = int(written.timestamp()) * 1_000_000_000 + int(milliseconds) * 1_000_000 - began
        if zone is None:
            zone = round(since / _ZONE_NS) * _ZONE_NS
        yield Line(since - zone, log.stem, said[:_LETTERS])

"""Lines of servers' logs get the time of the run, whatever the zone that the server wrote them in."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.report.logs import NEAR_NS, Line, around, read_logs
from checkers.events import Event
from checkers.history import History, from_events

S = 1_000_000_000
LOG = """\
monotonic: x86 linux clock7:M 14 Nov 2023 {hour}:13:20.500 * Ready to accept connections tcp
[2023-11-14 22:13:21] a line of another program
7:M 14 Nov 2023 {hour}:13:24.250 # Cluster state changed: fail
7:S 31 Feb 2023 {hour}:13:24.250 # There is no such day
"""


def history(wall: str | None = "2023-11-14T22:13:22.000+00:00") -> History:
    value = {"phase": "start"} | ({"wall": wall} if wall else {})
    return from_events([Event("info", "phase", "controller", time=0, value=value)])


@pytest.mark.parametrize("hour", [22, 23, 20])
def test_a_line_has_the_time_of_the_run_in_any_zone(tmp_path: Path, hour: int) -> None:
    (tmp_path / "n1.log").write_text(LOG.format(hour=hour))

    assert read_logs(tmp_path, history()) == [
        Line(-1_500_000_000, "n1", "* Ready to accept connections tcp"),
        Line(2_250_000_000, "n1", "# Cluster state changed: fail"),
    ]


def test_without_the_time_of_the_beginning_there_is_nothing_to_place_lines_by(tmp_path: Path) -> None:
    (tmp_path / "n1.log").write_text(LOG.format(hour=22))

    assert read_logs(tmp_path, history(None)) == []


def test_each_moment_gets_its_nearest_lines_before_another_gets_more() -> None:
    lines = [Line(second * S // 100, "n1", str(second)) for second in range(100)] + [Line(20 * S, "n2", "took over")]

    shown = around(lines, {0, 19 * S}, most=3)

    assert [line.text for line in shown] == ["0", "1", "took over"]
    assert around(lines, {20 * S + NEAR_NS + 1}) == []

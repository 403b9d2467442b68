"""Anomalies drawn as intervals: the golden histories of registers, and the corners."""

from pathlib import Path

import pytest
from exhaustive import Op, as_history

from checkers import check, load
from checkers.drawing import draw, rows_of

GOLDEN = Path(__file__).parents[1] / "golden"
DRAWN = sorted(GOLDEN.glob("*.drawing.txt"))


@pytest.mark.parametrize("path", DRAWN, ids=lambda path: path.name.removesuffix(".drawing.txt"))
def test_golden_drawing(path: Path) -> None:
    """Each anomaly of the three checkers under its kind; the whole history where there is none."""
    history = load(path.with_name(path.name.replace(".drawing.txt", ".jsonl")))
    anomalies = [
        anomaly
        for finding in check(history, ["linearizability", "staleness", "sessions"]).values()
        for anomaly in finding.anomalies
    ]
    drawings = [f"{a.kind}\n{draw(history, rows_of(history.operations, a.operations))}\n" for a in anomalies]
    if not drawings:
        drawings = [f"no anomaly\n{draw(history, range(len(history.operations)))}\n"]
    assert "\n".join(drawings) == path.read_text()


def test_every_kind_about_registers_is_drawn() -> None:
    kinds = {line for path in DRAWN for line in path.read_text().splitlines() if "-" in line and " " not in line}
    assert kinds == {
        "non-linearizable",
        "stale-read",
        "rolled-back-read",
        "read-your-writes",
        "non-monotonic-read",
        "non-monotonic-write",
        "writes-follow-reads",
    }


def test_an_operation_that_took_no_time_and_one_that_never_ended() -> None:
    history = as_history([Op("write", 1, 0, 9, "info"), Op("read", 1, 5_000_000, 5_000_000)])
    assert draw(history, [0, 1]).splitlines() == [
        "process 0  | write 1 >",
        "process 1    | read 1",
        "ms         0 5",
    ]


def test_equal_times_share_a_column() -> None:
    first, second, _ = draw(as_history([Op("write", 1, 0, 7), Op("read", 1, 7, 9)]), [0, 1]).splitlines()
    assert first.rindex("|") == second.index("|")


def test_nothing_is_drawn_as_nothing() -> None:
    assert draw(as_history([]), []) == ""


def test_an_operation_that_is_not_there_is_an_error() -> None:
    history = as_history([Op("write", 1, 0, 1)])
    with pytest.raises(KeyError):
        rows_of(history.operations, [5])

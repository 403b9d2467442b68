"""How soon replicas show writes: which reads missed which write, and for how long."""

from typing import Any

from checkers.events import Event
from checkers.history import from_events
from checkers.visibility import check_visibility

MS = 1_000_000


def write(value: int, start: float, end: float, key: str = "k0", **more: Any) -> list[Event]:
    return [
        Event("invoke", "write", process=value, time=round(start * MS), key=key, value=value),
        Event("ok", "write", process=value, time=round(end * MS), key=key, value=value, node="n1", **more),
    ]


def read(process: int, value: int | None, start: float, key: str = "k0", via: str | None = "replica") -> list[Event]:
    return [
        Event("invoke", "read", process=process, time=round(start * MS), key=key, via=via),
        Event("ok", "read", process=process, time=round((start + 0.05) * MS), key=key, value=value, node="n2"),
    ]


def figures(*events: list[Event]) -> dict[str, Any]:
    return check_visibility(from_events(sorted((e for some in events for e in some), key=lambda e: e.time))).metrics


def test_a_read_right_after_the_acknowledgement_that_shows_the_value_before_missed_the_write() -> None:
    found = figures(write(1, 0, 1), write(2, 2, 3), read(10, 1, 3.25), read(11, 1, 3.75), read(12, 2, 5))
    assert (found["checked"], found["missed"], found["writes"]) == (3, 2, 1)
    assert found["window_ms"]["max"] == 0.75
    assert found["by_age"] == [
        {"up_to_ms": 0.3, "reads": 1, "missed": 1},
        {"up_to_ms": 1, "reads": 1, "missed": 1},
        {"up_to_ms": 3, "reads": 1, "missed": 0},
    ]


def test_the_value_of_a_write_that_overlaps_may_be_the_newer_one() -> None:
    found = figures(write(1, 0, 3), write(2, 2, 2.5), read(10, 1, 3.5))
    assert (found["checked"], found["missed"]) == (1, 0)


def test_only_replicas_are_asked_and_only_of_keys_that_were_written_before() -> None:
    found = figures(
        write(1, 0, 1), write(2, 2, 3), read(10, 1, 3.25, via=None), read(11, None, 4, "k1"), read(12, 1, 0.5)
    )
    assert found["checked"] == 0
    assert found["missed_share"] is None


def test_the_write_of_another_key_does_not_count() -> None:
    found = figures(write(1, 0, 1), write(2, 2, 3, "k1"), read(10, 1, 4))
    assert (found["checked"], found["missed"], found["window_ms"]["max"]) == (1, 0, 0)


def test_a_write_that_nobody_acknowledged_is_not_asked_for() -> None:
    unknown = write(2, 2, 3)
    unknown[1].type = "info"
    found = figures(write(1, 0, 1), unknown, read(10, 1, 4))
    assert (found["checked"], found["missed"]) == (1, 0)


def test_writes_are_told_apart_by_what_wait_counted() -> None:
    found = figures(write(1, 0, 1, acked=2), read(10, 1, 2), write(2, 3, 4, acked=0), read(11, 1, 4.5))
    assert {name: (by["checked"], by["missed"]) for name, by in found["by_wait"].items()} == {
        "0 replicas": (1, 1),
        "2 replicas": (1, 0),
    }

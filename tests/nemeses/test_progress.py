"""Faults that wait for the load: struck when a client has come as far as it had then, within a window of time."""

from __future__ import annotations

import pytest
from fake_system import MS, FakeSystem
from schedules import run_schedule
from test_schedule import Told

from nemeses.fault import PlannedFault, Reached


class Load:
    """Client 1 begins an operation every so many milliseconds of the system's time."""

    def __init__(self, system: FakeSystem, every_ms: int) -> None:
        self.system = system
        self.every_ms = every_ms

    def begun(self, client: int, operations: int) -> bool:
        assert client == 1
        return self.system.now // MS // self.every_ms >= operations


@pytest.mark.parametrize(
    ("every_ms", "struck_ms"),
    [(10, range(1000, 1010)), (16, range(1600, 1610)), (1, range(500, 510)), (50, range(2000, 2010))],
    ids=["as quick as then", "slower", "never before the window", "never after the window"],
)
def test_a_fault_strikes_when_the_load_has_come_so_far(every_ms, struck_ms):
    system, fault = FakeSystem(), Told()
    system.expect(1)
    planned = PlannedFault(0, "told", "n1", 1000, 300, seed=0, when=Reached(1, 100, 500, 2000))
    (executed,) = run_schedule(system, [planned], 3, lambda *_: None, {"told": fault}, progress=Load(system, every_ms))
    assert executed.error is None
    began, healed = fault.times[0]
    assert began in struck_ms
    assert executed.struck_ns is not None
    assert executed.struck_ns // MS == began
    assert healed - began in range(300, 310)


def test_without_a_load_to_look_at_the_clock_decides():
    system, fault = FakeSystem(), Told()
    system.expect(1)
    planned = PlannedFault(0, "told", "n1", 1000, 300, seed=0, when=Reached(1, 100, 500, 2000))
    run_schedule(system, [planned], 3, lambda *_: None, {"told": fault})
    assert fault.times[0][0] == 1000

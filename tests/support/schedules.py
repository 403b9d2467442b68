"""A schedule from its beginning to its end, as a run has it that nobody interrupts."""

from __future__ import annotations

from typing import Any

from nemeses.fault import ExecutedFault
from nemeses.schedule import Schedule


def run_schedule(*arguments: Any, **options: Any) -> list[ExecutedFault]:
    """Carry out the faults of a `Schedule`, heal again what was not healed, and return what became of each."""
    schedule = Schedule(*arguments, **options)
    schedule.run()
    return schedule.finish()

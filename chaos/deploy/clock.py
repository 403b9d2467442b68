"""Real time, as a deployment gives it to faults and to the controller: it passes, and can be interrupted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from nemeses.system import Interrupted, ReplyError, Unreachable, WaitTimeout

T = TypeVar("T")
POLL_S = 0.005
"""Between two looks at a condition that is awaited."""


class Clock:
    """The time part of `nemeses.system.System`: nanoseconds since the run began, on the monotonic clock."""

    def __init__(self, began_ns: int) -> None:
        """`began_ns` is what `time.monotonic_ns()` said when the run began."""
        self.began_ns = began_ns
        self._interrupted = threading.Event()

    def now_ns(self) -> int:
        """Nanoseconds since the run began."""
        return time.monotonic_ns() - self.began_ns

    def interrupt(self) -> None:
        """Make everything that waits, now or later, raise Interrupted."""
        self._interrupted.set()

    def clear_interrupt(self) -> None:
        """Let waiting work again, for what follows an interrupted run: healing and the last reads."""
        self._interrupted.clear()

    def sleep_until(self, time_ns: int) -> None:
        """Return at `time_ns` of this clock. Raises Interrupted when the run is asked to end first."""
        while (left := time_ns - self.now_ns()) > 0:
            self._pause(left / 1e9)

    def wait(self, what: str, condition: Callable[[], T | None], timeout_ms: int = 10_000) -> T:
        """Call `condition` every few milliseconds until it returns something true, and return that.

        Unreachable and ReplyError count as "not yet". Raises WaitTimeout at the deadline, which quotes the last of
        them, and Interrupted when the run is asked to end.
        """
        return _poll(what, condition, timeout_ms, self._pause)

    def wait_anyway(self, what: str, condition: Callable[[], T | None], timeout_ms: int = 10_000) -> T:
        """As `wait`, but an interrupt does not end it: for what must be finished to leave nothing half-done."""
        return _poll(what, condition, timeout_ms, time.sleep)

    def _pause(self, seconds: float) -> None:
        if self._interrupted.wait(seconds):
            raise Interrupted("the run was asked to end")


def _poll(what: str, condition: Callable[[], T | None], timeout_ms: int, pause: Callable[[float], None]) -> T:
    deadline = time.monotonic_ns() + timeout_ms * 1_000_000
    last: Exception | None = None
    while True:
        try:
            if found := condition():
                return found
            last = None
        except (Unreachable, ReplyError) as error:
            last = error
        if time.monotonic_ns() >= deadline:
            because = "" if last is None else f"; last: {last}"
            raise WaitTimeout(f"{what}: not within {timeout_ms} ms{because}")
        pause(POLL_S)

"""A world of its own time: events in the order of their times, and threads of which exactly one runs.

Nothing here waits for a real clock. A thread that has to wait gives the baton away; as long as nobody can go on, the
holder of the baton lets the next event happen, which is what makes time pass. Who holds the baton is decided by the
events alone, never by the operating system, so the same events give the same run.
"""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from chaos.errors import RunFailed
from nemeses.system import Interrupted

TICK_NS = 1_000
"""A reading of the clock takes that long: no two readings are equal, so the history has one order."""

Action = Callable[..., None]


class World:
    """Time, what is to happen, and the threads of the run. Made by the thread that is the first to hold the baton."""

    def __init__(self) -> None:
        self.now = 0
        """Nanoseconds since the world began."""
        self.events = 0
        """How many have happened."""
        self._queue: list[tuple[int, int, Action, tuple[Any, ...]]] = []
        self._number = 0
        self._able: deque[Fibre] = deque()
        """Fibres that can go on, in the order in which they became able to."""
        self._current = Fibre(self, "main", None)
        self._sleepers: dict[Fibre, None] = {}
        """Fibres whose wait an interrupt ends, in the order in which they began to wait."""
        self._fibres = [self._current]
        self._interrupted = False
        self._failure: BaseException | None = None

    @property
    def broken(self) -> bool:
        """Whether something failed that nobody can wait through."""
        return self._failure is not None

    # Time and events

    def read_clock(self) -> int:
        """The time; reading it takes `TICK_NS`."""
        self.now += TICK_NS
        return self.now

    def at(self, time: int, action: Action, *arguments: Any) -> None:
        """Let something happen at a time, after whatever was asked for earlier for the same time."""
        self._number += 1
        heapq.heappush(self._queue, (time, self._number, action, arguments))

    def _happen(self) -> None:
        if not self._queue:
            raise RunFailed("in virtual time nothing is left to happen, and something still waits: a fault of ours")
        time, _, action, arguments = heapq.heappop(self._queue)
        if time > self.now:
            self.now = time
        self.events += 1
        action(*arguments)

    # Threads

    @property
    def current(self) -> Fibre:
        """The thread that holds the baton: the caller's."""
        return self._current

    def thread(self, target: Callable[[], None], name: str) -> Fibre:
        """A thread of this world; `start` and `join` it as one of `threading`."""
        fibre = Fibre(self, name, target)
        self._fibres.append(fibre)
        return fibre

    def event(self) -> Event:
        """A flag to wait for, as `threading.Event`."""
        return Event(self)

    def wake(self, fibre: Fibre) -> None:
        """Let a thread that waits go on. Without effect on one that does not wait."""
        if fibre.waits:
            fibre.waits = False
            self._sleepers.pop(fibre, None)
            self._able.append(fibre)

    def block(self) -> None:
        """Wait until somebody calls `wake` for this thread. Raises RunFailed when the world has broken down."""
        me = self._current
        me.waits = True
        while not self._able:
            self._proceed()
        self._hand_over(me)
        if self._failure is not None:
            raise RunFailed(f"virtual time broke down: {self._failure}") from self._failure

    def sleep_until(self, time: int, *, interruptible: bool = True) -> None:
        """Let time pass. Raises Interrupted when `interrupt` was called and that may end this wait."""
        me = self._current
        if interruptible:
            self._look()
        if time <= self.now:
            return
        over = [False]

        def wake() -> None:
            if not over[0]:
                self.wake(me)

        self.at(time, wake)
        if interruptible:
            self._sleepers[me] = None
        self.block()
        over[0] = True
        if interruptible:
            self._look()

    def _look(self) -> None:
        if self._interrupted:
            raise Interrupted("the run was asked to end")

    def interrupt(self) -> None:
        """End every interruptible wait, now and later. The only thing that a foreign thread may call."""
        self._interrupted = True

    def clear_interrupt(self) -> None:
        """Let waiting work again."""
        self._interrupted = False

    def _proceed(self) -> None:
        """Nobody can go on: let something happen. If that fails, everybody is woken to hear of it."""
        if self._interrupted and self._sleepers:
            for fibre in list(self._sleepers):
                self.wake(fibre)
            return
        try:
            self._happen()
        except BaseException as error:  # noqa: BLE001 - it concerns whoever waits, not who happened to drive
            self._failure = self._failure or error
            for fibre in self._fibres:
                self.wake(fibre)

    def _hand_over(self, me: Fibre | None) -> None:
        """Give the baton to the first that can go on; returns when it has come back, unless `me` is None."""
        chosen = self._able.popleft()
        if chosen is me:
            return
        self._current = chosen
        chosen.baton.release()
        if me is not None:
            me.baton.acquire()

    def leave(self) -> None:
        """The last act of a thread: somebody else goes on."""
        self._fibres.remove(self._current)
        while not self._able:
            self._proceed()
        self._hand_over(None)


class Fibre:
    """A thread that runs only while it holds the baton of its world."""

    def __init__(self, world: World, name: str, target: Callable[[], None] | None) -> None:
        self.name = name
        self.waits = False
        self.baton = threading.Semaphore(0)
        self._world = world
        self._target = target
        self._ended = Event(world)

    def start(self) -> None:
        """Run as soon as the threads before this one wait."""
        self.waits = True
        threading.Thread(target=self._run, name=self.name, daemon=True).start()
        self._world.wake(self)

    def join(self) -> None:
        """Wait until it has ended."""
        self._ended.wait()

    def _run(self) -> None:
        self.baton.acquire()
        try:
            assert self._target is not None
            self._target()
        finally:
            self._ended.set()
            self._world.leave()


class Event:
    """A flag that threads of a world can wait for: what `threading.Event` is to others."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._set = False
        self._waiting: list[Fibre] = []

    def set(self) -> None:
        """Raise the flag."""
        self._set = True
        for fibre in self._waiting:
            self._world.wake(fibre)
        self._waiting.clear()

    def clear(self) -> None:
        """Lower the flag."""
        self._set = False

    def is_set(self) -> bool:
        """Whether the flag is up."""
        return self._set

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the flag, at most `timeout` seconds of virtual time; says whether it is up."""
        if not self._set:
            world = self._world
            me = world.current
            self._waiting.append(me)
            if timeout is None:
                while not self._set:
                    world.block()
            else:
                world.sleep_until(world.now + round(timeout * 1e9), interruptible=False)
            if me in self._waiting:
                self._waiting.remove(me)
        return self._set

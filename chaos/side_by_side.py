"""The same thing done to many, several at a time, each worker on a processor of its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from typing import TYPE_CHECKING, Protocol, TypeVar

from chaos.errors import BadInput

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

In = TypeVar("In")
Out = TypeVar("Out")


class Each(Protocol):
    """Calls a function with every item, and yields what it returns, in the order of the items."""

    def __call__(self, function: Callable[[In], Out], items: Iterable[In], /) -> Iterator[Out]:
        """Like `map`."""


def refuse_disturbance(jobs: int, deploy: str) -> None:
    """Raise BadInput for several runs at a time where they would disturb each other's time."""
    if jobs > 1 and deploy != "virtual":
        raise BadInput(f"--jobs {jobs}: runs on {deploy} disturb each other's time; add --deploy virtual")


@contextmanager
def workers(jobs: int) -> Iterator[Each]:
    """What does things `jobs` at a time, in processes that live as long as the context; with one job, in this one."""
    if jobs == 1:
        yield map
        return
    context = get_context("spawn")
    numbers = context.Queue()
    for number in range(jobs):
        numbers.put(number)
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_settle, initargs=(numbers,)) as pool:
        yield pool.map


def _settle(numbers: Queue[int]) -> None:
    """Let this worker, and what it starts, have a processor that the others have not, as long as there are enough."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {allowed[numbers.get() % len(allowed)]})


def _end_with_the_parent() -> None:
    """A pool does not hear of a parent that was killed: its workers would finish what they do, and then wait for ever.

    What a worker has started ends with it, as a controller does whose input is closed.
    """
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)

"""Writes down what each node says of itself, whenever it changes: the context in which operations are judged."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, Self

from chaos.topologies.rest import info
from nemeses.system import ReplyError, System, Unreachable, threads_of
from nemeses.view import View

EVERY_S = 0.1
PATIENCE_MS = 400
"""A node that does not answer for that long is down: dead, paused, or the machine stood still."""


class Observer:
    """Asks every node about every 100 ms, each from a thread of its own: a paused one keeps no other waiting."""

    def __init__(
        self, system: System, emit: Callable[[Mapping[str, Any]], None], nodes: Collection[str] | None = None
    ) -> None:
        """`emit` gets the value of a `view` event, at the start and at every change; it must be thread-safe.

        `nodes` are those to ask: all, unless given. One that is in no cluster has neither slots nor epoch. A node that
        is down says nothing of itself: its event has `node` and `state` only.
        """
        self._system = system
        self._emit = emit
        threads = threads_of(system)
        self._stop = threads.event()
        self._threads = [
            threads.thread(partial(self._watch, node), f"observer-{node}")
            for node in (system.nodes if nodes is None else nodes)
        ]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to watch."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop watching; returns when the last thread has ended, at most a second later."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _watch(self, node: str) -> None:
        last: dict[str, Any] | None = None
        while not self._stop.is_set():
            seen = self._look(node)
            if seen is not None and seen != last:
                self._emit(seen)
                last = seen
            self._stop.wait(EVERY_S)

    def _look(self, node: str) -> dict[str, Any] | None:
        """What a node says of itself; None when it answers but cannot say yet (LOADING)."""
        try:
            myself = View.fetch(self._system, node, PATIENCE_MS).myself
            state = "ok" if myself.alone else info(self._system, node, "cluster-info", PATIENCE_MS)["cluster_state"]
        except Unreachable:
            return {"node": node, "state": "down"}
        except ReplyError:
            return None
        return {
            "node": node,
            "state": "up",
            "role": "primary" if myself.is_primary else "replica",
            "primary": myself.primary,
            "epoch": myself.epoch,
            "slots": [list(pair) for pair in myself.slots],
            "cluster": state,
        }

"""Several workloads at once: which one plans an operation is drawn from the operation's own stream, by weight."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from chaos.keyspace import KeySpace
from chaos.operation import Operation
from chaos.workloads.base import Workload
from nemeses.stream import Stream, word


class Mixture:
    """The operations of a run: a pure function of the clients' seeds, the workloads and their weights."""

    def __init__(self, parts: Sequence[tuple[Workload, float]], keys: KeySpace | None = None) -> None:
        """`parts` are workloads with their weights (any positive numbers). Raises ValueError when there is none.

        `keys` is the key space that operations keep to, where servers hold other keys as well.
        """
        if not parts or any(weight <= 0 for _, weight in parts):
            raise ValueError("a run needs at least one workload, each with a weight above 0")
        self.workloads = [workload for workload, _ in parts]
        self._keys = keys
        total = sum(weight for _, weight in parts)
        self._bounds = [bound / total for bound in accumulate(weight for _, weight in parts)]

    def operation(self, client: int, n: int, seed: int) -> Operation:
        """Operation `n` (from 0) of `client`, whose stream has this seed."""
        planned = self._planned(client, n, seed)
        return planned if self._keys is None else self._keys.operation(planned)

    def _planned(self, client: int, n: int, seed: int) -> Operation:
        draw = Stream(word(seed, n))
        if len(self.workloads) == 1:
            return self.workloads[0].operation(client, n, draw)
        point = draw.unit()
        for workload, bound in zip(self.workloads, self._bounds, strict=True):
            if point < bound:
                return workload.operation(client, n, draw)
        return self.workloads[-1].operation(client, n, draw)

    def finals(self, executed: Mapping[int, int]) -> Iterable[Operation]:
        """One read of each object that was touched when client c had done `executed[c]` operations."""
        for workload in self.workloads:
            yield from workload.finals(executed)

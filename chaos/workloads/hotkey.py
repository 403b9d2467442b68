"""Registers of very unequal popularity: a few are wanted by everybody, and one more than all others together.

Item number r of `keys` is wanted in proportion to 1 / r^skew (Zipf's law; the requests for web pages that caches see
follow it with exponents about 0.6 to 1, Breslau et al., "Web caching and Zipf-like distributions", 1999). On top of
that a share of all operations goes to the one *viral* item. The operations are those of the workload `register`, with
unique values, and the same checkers judge them.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from chaos.operation import Operation
from chaos.workloads.register import Register
from nemeses.stream import Stream

VIRAL = "viral"


class HotKey(Register):
    """`write` v by SET and `read` by GET on keys `h0` (the most popular) ... and `viral`."""

    name = "hotkey"
    defaults: Mapping[str, Any] = {"keys": 200, "skew": 1.1, "viral": 0.3, "writes": 0.05, "wait": None}

    def __init__(self, options: Mapping[str, Any]) -> None:
        chosen = {**self.defaults, **options}
        super().__init__({**Register.defaults, **chosen})
        if chosen["keys"] < 1:
            raise ValueError("hotkey: keys must be above 0")
        self.keys = [*(f"h{rank}" for rank in range(chosen["keys"])), VIRAL]
        self._viral: float = chosen["viral"]
        weights = list(accumulate((rank + 1) ** -chosen["skew"] for rank in range(chosen["keys"])))
        self._bounds = [weight / weights[-1] for weight in weights]

    def operation(self, client: int, n: int, draw: Stream) -> Operation:
        """A write with probability `writes`, else a read: of the viral item, or of one drawn by its popularity."""
        key = VIRAL if draw.chance(self._viral) else self.keys[bisect(self._bounds, draw.unit())]
        return self.of_key(key, client, n, draw)

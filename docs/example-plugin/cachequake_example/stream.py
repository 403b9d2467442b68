"""Workload `stream`: entries added to streams by XADD. The checker `durability` says which of them were lost."""

from collections.abc import Iterable, Mapping
from typing import Any

from chaos.extend import Operation, Stream, unique_value


class Streams:
    """`add` v by XADD on keys `x0` ..., and `read` by XRANGE at the end: to the checkers, sets that only grow."""

    name = "stream"
    defaults: Mapping[str, Any] = {"keys": 5}
    checkers = ("durability",)

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.keys = [f"x{number}" for number in range({**self.defaults, **options}["keys"])]

    def operation(self, client: int, n: int, draw: Stream) -> Operation:
        key, value = draw.choice(self.keys), unique_value(client, n)
        command = ("XADD", key, "*", "v", value)
        return Operation("stream", "add", key, value, (command,), key, True, lambda replies: value)

    def finals(self, executed: Mapping[int, int]) -> Iterable[Operation]:
        def entries(replies: list[Any]) -> list[int]:
            return [int(fields[1]) for _, fields in replies[0]]

        for key in self.keys:
            yield Operation("stream", "read", key, None, (("XRANGE", key, "-", "+"),), key, False, entries)

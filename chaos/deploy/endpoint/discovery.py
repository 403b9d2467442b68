"""Which nodes there are at an endpoint, as the servers themselves say.

A cluster says it in CLUSTER SLOTS, by the addresses that it wants clients to use, and in CLUSTER NODES, by those under
which its nodes know each other; the node's id stands in both. Primaries come first, by their slots, then the replicas
in turn: `n1` is the primary of the lowest slots.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from nemeses.system import Node, ReplyError

Address = tuple[str, int]
Ask = Callable[..., Any]
"""Sends a command to the endpoint and returns the reply."""


class Found(NamedTuple):
    """One node."""

    node: Node
    """By the address under which the servers know it."""
    reached: Address
    """Where clients reach it."""


def of_cluster(ask: Ask, asked: Address) -> list[Found]:
    """The nodes of a cluster; `asked` is where the server that answers `ask` was reached. Raises ReplyError."""
    ranges = ask("CLUSTER", "SLOTS")
    known = _by_id(ask("CLUSTER", "NODES").decode())
    shards: dict[bytes, list[list[Any]]] = {}
    try:
        for _, _, primary, *replicas in sorted(ranges, key=lambda entry: int(entry[0])):
            shards.setdefault(primary[2], [primary, *replicas])
    except (TypeError, ValueError, LookupError) as error:
        raise ReplyError(f"CLUSTER SLOTS answered {ranges!r:.200}") from error
    if not shards:
        raise ReplyError("CLUSTER SLOTS names no node: nobody serves a slot there")
    in_turn = [server for row in zip_longest(*shards.values()) for server in row if server is not None]
    return [_found(f"n{number}", server, known, asked) for number, server in enumerate(in_turn, 1)]


def of_names(addresses: Sequence[Address]) -> list[Found]:
    """A primary's endpoint, and those of readers: which servers are behind these names is not theirs to tell."""
    return [Found(Node(f"n{number}", host, port, 0), (host, port)) for number, (host, port) in enumerate(addresses, 1)]


def _by_id(text: str) -> dict[str, Address]:
    """Under which address each node of CLUSTER NODES is known, by its id."""
    known = {}
    for line in text.splitlines():
        id_, address = line.split(" ")[:2]
        host, _, port = address.partition("@")[0].rpartition(":")
        known[id_] = (host, int(port))
    return known


def _found(name: str, server: Sequence[Any], known: dict[str, Address], asked: Address) -> Found:
    """`server` is [host, port, id, ...] of CLUSTER SLOTS; without a host, it is that of the node that was asked."""
    host, port, id_ = (server[0] or b"").decode(), int(server[1]), server[2].decode()
    reached = (host if host not in ("", "?") else asked[0], port)
    own = known.get(id_) or ("", 0)
    inside = own if own[0] else reached
    return Found(Node(name, *inside, bus_port=0), reached)

"""Packets dropped, or handed to a queue, by nftables in the network namespace of the calling thread.

Netlink alone does it, no program is needed.

Each cut, loss or delay is a table of its own, made and deleted in one transaction: the kernel takes all of its rules
or none, and tables add up, for a packet that one of them drops is gone, and one that comes back from a queue goes on
to the next table.

Needs nothing but the standard library, so it also runs by itself where nothing is installed:
`python nftables.py` reads requests from its input, a line of JSON each, and answers each with a line (see `serve`).
The numbers are those of linux/netfilter/nfnetlink.h and linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple

Ports = tuple[int, int]
"""First and last TCP port."""


class Drop(NamedTuple):
    """Packets to be dropped or, with `queue`, to be held by whoever reads that queue. What is None decides nothing."""

    hook: Literal["input", "output"]
    source: str | None = None
    destination: str | None = None
    source_ports: Ports | None = None
    destination_ports: Ports | None = None
    percent: float = 100.0
    """The kernel draws a number for each packet that the rest concerns, and drops this share of them."""
    queue: int | None = None
    """Number of a queue (NFQUEUE, see `chaos.deploy.delayer`). A packet passes while nobody reads it."""


_NETLINK_NETFILTER = 12
_SUBSYSTEM = 10
_BATCH_BEGIN, _BATCH_END, _ERROR, _DONE = 0x10, 0x11, 2, 3
_NEW_TABLE, _DELETE_TABLE, _NEW_CHAIN, _NEW_RULE, _GET_RULE = 0, 2, 3, 6, 7
_REQUEST, _ACK, _DUMP, _CREATE, _APPEND, _EXCLUSIVE = 0x1, 0x4, 0x300, 0x400, 0x800, 0x200
_NESTED = 0x8000
_IPV4 = 2
_HOOKS = {"input": 1, "output": 3}
_ACCEPT, _DROP = 1, 0
_REGISTER, _VERDICT_REGISTER = 1, 0
_EQUAL, _LESS, _AT_MOST, _AT_LEAST = 0, 2, 3, 5
_NETWORK_HEADER, _TRANSPORT_HEADER = 1, 2
_PROTOCOL_AT, _SOURCE_AT, _DESTINATION_AT = 9, 12, 16
_SOURCE_PORT_AT, _DESTINATION_PORT_AT = 0, 2
_TCP = b"\6"
_RANDOM, _HOST_TO_NETWORK = 1, 1
_SCALE = 1_000_000
_BYPASS = 1
_NFQUEUE_REVISION = 3
_ANSWERS_WITHIN_S = 5.0
_numbers = itertools.count(1)


def add(table: str, drops: Iterable[Drop]) -> None:
    """Make a table that drops these. Raises OSError when the kernel refuses any of it; then nothing was made."""
    drops = list(drops)
    try:
        _transact(_requests(table, drops, _queued))
    except FileNotFoundError:  # this kernel does not know the expression `queue`, or knows no queues at all
        if all(drop.queue is None for drop in drops):
            raise
        _transact(_requests(table, drops, _queued_as_by_iptables))


def _requests(table: str, drops: list[Drop], queued: Callable[[int], bytes]) -> list[tuple[int, int, bytes]]:
    requests = [(_NEW_TABLE, _CREATE | _EXCLUSIVE, _text(1, table))]
    for hook in sorted({drop.hook for drop in drops}):
        hooked = _nest(4, _number(1, _HOOKS[hook]) + _number(2, 0))
        chain = _text(1, table) + _text(3, hook) + hooked + _number(5, _ACCEPT) + _text(7, "filter")
        requests.append((_NEW_CHAIN, _CREATE, chain))
    for drop in drops:
        end = _dropped() if drop.queue is None else queued(drop.queue)
        rule = _text(1, table) + _text(2, drop.hook) + _nest(4, b"".join(_expressions(drop)) + end)
        requests.append((_NEW_RULE, _CREATE | _APPEND, rule))
    return requests


def delete(table: str) -> None:
    """Delete a table. Raises OSError, with ENOENT when there is none of that name."""
    _transact([(_DELETE_TABLE, 0, _text(1, table))])


def count(table: str) -> int:
    """How many rules the kernel lists in a table; 0 when there is none of that name."""
    with _opened() as kernel:
        kernel.send(_message(_SUBSYSTEM << 8 | _GET_RULE, _REQUEST | _DUMP, _text(1, table)))
        found = 0
        for kind, payload in _answers(kernel):
            if kind == _DONE:
                return found
            if kind == _SUBSYSTEM << 8 | _NEW_RULE and _text(1, table) in payload:  # old kernels list all tables
                found += 1
    raise AssertionError("the answers of a dump end with DONE or an error")


def serve() -> None:
    """Answer requests, `["add", TABLE, [DROP, ...]]`, `["delete", TABLE]` or `["count", TABLE]`, until input ends.

    An answer is `["ok", RESULT]` or `["error", ERRNO, TEXT]`.
    """
    for line in sys.stdin:
        name, table, *rest = json.loads(line)
        try:
            answer: list[Any] = ["ok", _COMMANDS[name](table, *rest)]
        except OSError as error:
            answer = ["error", error.errno, str(error.strerror)]
        print(json.dumps(answer), flush=True)


_COMMANDS: dict[str, Callable[..., int | None]] = {
    "add": lambda table, drops: add(table, map(_read_drop, drops)),
    "delete": delete,
    "count": count,
}


def _read_drop(fields: list[Any]) -> Drop:
    hook, source, destination, source_ports, destination_ports, percent, queue = fields
    return Drop(hook, source, destination, _pair(source_ports), _pair(destination_ports), percent, queue)


def _pair(ports: list[int] | None) -> Ports | None:
    return None if ports is None else (ports[0], ports[1])


def _expressions(drop: Drop) -> Iterator[bytes]:
    """In the words of nft: `ip saddr A ip daddr B tcp sport F-L tcp dport F-L numgen random mod SCALE < N`."""
    for address, offset in ((drop.source, _SOURCE_AT), (drop.destination, _DESTINATION_AT)):
        if address is not None:
            yield _load(_NETWORK_HEADER, offset, 4)
            yield _compare(_EQUAL, socket.inet_aton(address))
    if drop.source_ports or drop.destination_ports:
        yield _load(_NETWORK_HEADER, _PROTOCOL_AT, 1)
        yield _compare(_EQUAL, _TCP)
    for ports, offset in ((drop.source_ports, _SOURCE_PORT_AT), (drop.destination_ports, _DESTINATION_PORT_AT)):
        if ports is not None:
            yield _load(_TRANSPORT_HEADER, offset, 2)
            yield _compare(_AT_LEAST, struct.pack(">H", ports[0]))
            yield _compare(_AT_MOST, struct.pack(">H", ports[1]))
    if drop.percent < 100:
        yield _expression("numgen", _number(1, _REGISTER), _number(2, _SCALE), _number(3, _RANDOM), _number(4, 0))
        sizes = _number(4, 4) + _number(5, 4)
        yield _expression(
            "byteorder", _number(1, _REGISTER), _number(2, _REGISTER), _number(3, _HOST_TO_NETWORK), sizes
        )
        yield _compare(_LESS, struct.pack(">I", round(_SCALE * drop.percent / 100)))


def _dropped() -> bytes:
    return _expression("immediate", _number(1, _VERDICT_REGISTER), _nest(2, _nest(2, _number(1, _DROP))))


def _queued(number: int) -> bytes:
    """In the words of nft: `queue num N bypass`."""
    fields = zip((1, 2, 3), (number, 1, _BYPASS), strict=True)
    return _expression("queue", *(_attribute(kind, struct.pack(">H", value)) for kind, value in fields))


def _queued_as_by_iptables(number: int) -> bytes:
    """`-j NFQUEUE --queue-num N --queue-bypass`, which nftables runs where the kernel has iptables' targets."""
    information = struct.pack("=HHHH", number, 1, _BYPASS, 0)
    return _expression("target", _text(1, "NFQUEUE"), _number(2, _NFQUEUE_REVISION), _attribute(3, information))


def _load(header: int, offset: int, length: int) -> bytes:
    return _expression("payload", _number(1, _REGISTER), _number(2, header), _number(3, offset), _number(4, length))


def _compare(operator: int, value: bytes) -> bytes:
    return _expression("cmp", _number(1, _REGISTER), _number(2, operator), _nest(3, _attribute(1, value)))


def _expression(name: str, *attributes: bytes) -> bytes:
    return _nest(1, _text(1, name) + _nest(2, b"".join(attributes)))


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def _nest(kind: int, data: bytes) -> bytes:
    return _attribute(kind | _NESTED, data)


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack(">I", value))


def _text(kind: int, text: str) -> bytes:
    return _attribute(kind, text.encode() + b"\0")


def _message(kind: int, flags: int, attributes: bytes = b"", resource: int = 0) -> bytes:
    body = struct.pack("=BB", _IPV4, 0) + struct.pack(">H", resource) + attributes
    return struct.pack("=IHHII", 16 + len(body), kind, flags, next(_numbers), 0) + body


def _opened() -> socket.socket:
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
    kernel.settimeout(_ANSWERS_WITHIN_S)
    kernel.bind((0, 0))
    return kernel


def _transact(requests: list[tuple[int, int, bytes]]) -> None:
    """Have the kernel do all of these or none. Raises OSError with the first reason it gives."""
    batch = [_message(_BATCH_BEGIN, _REQUEST, resource=_SUBSYSTEM)]
    batch += [_message(_SUBSYSTEM << 8 | kind, _REQUEST | _ACK | flags, body) for kind, flags, body in requests]
    batch += [_message(_BATCH_END, _REQUEST, resource=_SUBSYSTEM)]
    with _opened() as kernel:
        kernel.send(b"".join(batch))
        for _ in zip(requests, _answers(kernel), strict=False):  # each is acknowledged, or the first error raised
            pass


def _answers(kernel: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Kind and payload of each message that comes. Raises OSError for an error message, and when none comes."""
    while True:
        data = kernel.recv(1 << 20)
        while data:
            length, kind, _, _, _ = struct.unpack_from("=IHHII", data)
            payload = data[16:length]
            data = data[length + -length % 4 :]
            if kind == _ERROR and (code := -struct.unpack_from("=i", payload)[0]):
                raise OSError(code, os.strerror(code))
            yield kind, payload


if __name__ == "__main__":
    serve()

"""The process that holds packets: what nftables hands to its queues (NFQUEUE) it gives back later.

Run by its path in a network namespace, with nothing but the standard library. A request is a line of JSON on its
input, answered with a line, `["ok", null]` or `["error", ERRNO, TEXT]`:

* `["hold", QUEUE, DELAY_MS, JITTER_MS, KBIT]`: read this queue from now on, or otherwise than before. A packet leaves
  DELAY_MS, give or take up to JITTER_MS, after it came; with KBIT no more than so many kilobits leave in a second.
  Packets of one direction of a connection keep their order, since TCP takes a packet that overtakes for the loss of
  another.
* `["release", QUEUE]`: let go of what is held, and read it no longer.

It ends when its input does; the kernel then lets pass what was to be held. The kernel's part is described by
linux/netfilter/nfnetlink_queue.h. A packet costs about 20 µs, and only its headers come up here.
"""

from __future__ import annotations

import errno
import heapq
import itertools
import json
import os
import random
import select
import socket
import struct
import sys
import time
from typing import Any

_NETLINK_NETFILTER = 12
_SOL_NETLINK, _NO_ENOBUFS = 270, 5
_SUBSYSTEM = 3
_PACKET, _VERDICT, _CONFIG = (_SUBSYSTEM << 8 | kind for kind in (0, 1, 2))
_ERROR = 2
_REQUEST, _ACK = 0x1, 0x4
_COMMAND, _PARAMETERS, _MOST, _MASK, _FLAGS = 1, 2, 3, 4, 5
_BIND, _UNBIND = 1, 2
_COPY_PACKET = 2
_FAIL_OPEN, _WHOLE = 0x1, 0x4
"""Let pass what there is no room for; do not cut large packets into pieces before they are queued."""
_HEADER, _PAYLOAD, _VERDICT_HEADER = 1, 10, 2
_ACCEPT = 1
_HEADERS = 80
"""Bytes of a packet that are wanted: the longest IP header, and the ports."""
_ROOM = 16_384
"""Packets that a queue may hold."""
_BUFFER = 4 << 20
_FORGET_FLOWS_AT = 4_096
_numbers = itertools.count(1)


class Queue:
    """When the packets of one queue may leave. Times in seconds of the monotonic clock."""

    def __init__(self, delay_ms: float, jitter_ms: float, kbit: float | None) -> None:
        self._delay_s = delay_ms / 1000
        self._jitter_s = jitter_ms / 1000
        self._bytes_per_s = None if kbit is None else kbit * 1000 / 8
        self._free = 0.0
        """When the link has sent what it was given so far."""
        self._last: dict[bytes, float] = {}

    def due(self, now: float, packet: bytes) -> float:
        """When a packet that came now leaves; `packet` is its beginning, from the IP header on."""
        leaves = now
        if self._bytes_per_s is not None:
            leaves = self._free = max(self._free, now) + int.from_bytes(packet[2:4], "big") / self._bytes_per_s
        leaves += self._delay_s + random.uniform(-self._jitter_s, self._jitter_s)
        ports = (packet[0] & 15) * 4
        flow = packet[12:20] + packet[ports : ports + 4]
        if len(self._last) >= _FORGET_FLOWS_AT:
            self._last = {flow: time_s for flow, time_s in self._last.items() if time_s > now}
        leaves = self._last[flow] = max(leaves, self._last.get(flow, 0.0))
        return leaves


class Delayer:
    """Reads queues and gives back what is due."""

    def __init__(self) -> None:
        self._queues: dict[int, Queue] = {}
        self._held: list[tuple[float, int, int]] = []
        """A heap: when a packet leaves, the kernel's number for it, and its queue."""
        self._kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
        self._kernel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._kernel.setsockopt(_SOL_NETLINK, _NO_ENOBUFS, 1)
        self._kernel.bind((0, 0))

    def serve(self) -> None:
        """Hold, give back and answer until the input ends."""
        unread = b""
        while True:
            wait_s = max(0.0, self._held[0][0] - time.monotonic()) if self._held else None
            ready, _, _ = select.select([self._kernel, sys.stdin], [], [], wait_s)
            if self._kernel in ready:
                self._receive()
            self._give_back(time.monotonic())
            if sys.stdin in ready:
                received = os.read(sys.stdin.fileno(), 65536)
                if not received:
                    return
                *lines, unread = (unread + received).split(b"\n")
                for line in lines:
                    print(json.dumps(self._answer(*json.loads(line))), flush=True)

    def _answer(self, request: str, queue: int, *settings: Any) -> list[Any]:
        try:
            if request == "hold":
                self._hold(queue, Queue(*settings))
            else:
                self._release(queue)
        except OSError as error:
            return ["error", error.errno, str(error.strerror)]
        return ["ok", None]

    def _hold(self, number: int, queue: Queue) -> None:
        if number in self._queues:
            self._queues[number] = queue
            return
        copied = struct.pack(">IB", _HEADERS, _COPY_PACKET)
        flags = struct.pack(">I", _FAIL_OPEN | _WHOLE)
        self._configure(number, _attribute(_COMMAND, struct.pack(">BxH", _BIND, socket.AF_INET)))
        self._configure(number, _attribute(_PARAMETERS, copied) + _attribute(_MOST, struct.pack(">I", _ROOM)))
        self._configure(number, _attribute(_MASK, flags) + _attribute(_FLAGS, flags))
        self._queues[number] = queue

    def _release(self, number: int) -> None:
        """Before the queue is given up: the kernel drops what is left in it then."""
        if self._queues.pop(number, None) is None:
            return
        self._receive()
        mine = sorted(packet for packet in self._held if packet[2] == number)
        self._held = [packet for packet in self._held if packet[2] != number]
        heapq.heapify(self._held)
        for _, packet, _ in mine:
            self._accept(number, packet)
        self._configure(number, _attribute(_COMMAND, struct.pack(">BxH", _UNBIND, socket.AF_INET)))

    def _receive(self) -> None:
        """Take in all packets that wait."""
        while True:
            try:
                data = self._kernel.recv(65536, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            self._take(data)

    def _take(self, data: bytes) -> dict[int, int]:
        """Take in the packets of one datagram from the kernel; by number of the request: what it was answered."""
        now = time.monotonic()
        answers = {}
        while data:
            length, kind, _, request = struct.unpack_from("=IHHI", data)
            if kind == _PACKET:
                number = int.from_bytes(data[18:20], "big")
                found = dict(_attributes(data[20:length]))
                packet = int.from_bytes(found[_HEADER][:4], "big")
                queue = self._queues.get(number)
                if queue is None:
                    self._accept(number, packet)
                else:
                    heapq.heappush(self._held, (queue.due(now, found[_PAYLOAD]), packet, number))
            elif kind == _ERROR:
                answers[request] = -int(struct.unpack_from("=i", data, 16)[0])
            data = data[length + -length % 4 :]
        return answers

    def _give_back(self, now: float) -> None:
        while self._held and self._held[0][0] <= now:
            _, packet, number = heapq.heappop(self._held)
            self._accept(number, packet)

    def _accept(self, number: int, packet: int) -> None:
        verdict = _attribute(_VERDICT_HEADER, struct.pack(">II", _ACCEPT, packet))
        self._kernel.send(_message(_VERDICT, next(_numbers), number, verdict))

    def _configure(self, number: int, attributes: bytes) -> None:
        """Raises OSError when the kernel refuses."""
        request = next(_numbers)
        self._kernel.send(_message(_CONFIG, request, number, attributes, _ACK))
        code: int | None = None
        while code is None:  # packets of other queues may come first
            code = self._take(self._kernel.recv(65536)).get(request)
        if code:
            raise OSError(code, os.strerror(code))


def _message(kind: int, number: int, queue: int, attributes: bytes, flags: int = 0) -> bytes:
    body = struct.pack(">BBH", socket.AF_UNSPEC, 0, queue) + attributes
    return struct.pack("=IHHII", 16 + len(body), kind, _REQUEST | flags, number, 0) + body


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def _attributes(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        found.append((kind & 0x3FFF, data[4:length]))
        data = data[length + -length % 4 :]
    return found


if __name__ == "__main__":
    try:
        Delayer().serve()
    except OSError as failure:
        print(json.dumps(["error", failure.errno or errno.EIO, str(failure.strerror)]), flush=True)

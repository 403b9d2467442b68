"""What the controller and the shim tell each other: see `shim/barrier.c`, whose structures these are."""

from __future__ import annotations

import array
import socket
import struct
from typing import NamedTuple

STEP = struct.Struct("=qIIII")
"""How long it would wait in nanoseconds (-1 for ever), readings of the clock, whether a socket was full, notes."""
NOTE = struct.Struct("=IiIIIHH")
TURN = struct.Struct("=qqII")
RESULT = struct.Struct("=iIi")
ARRIVAL = struct.Struct("=4sHH")
CONNECT, LISTEN = 1, 2
_MOST_FDS = 253
_ROOM = socket.CMSG_SPACE(_MOST_FDS * 4)


class Note(NamedTuple):
    """A connection that was asked for, or an address that is listened to; `end` is our end of it."""

    kind: int
    fd: int
    serial: int
    address: tuple[str, int]
    source: tuple[str, int]
    end: socket.socket


class Step(NamedTuple):
    """A process hands over its turn."""

    timeout_ns: int
    ticks: int
    stuck: bool
    notes: list[Note]


def receive(control: socket.socket) -> Step | None:
    """Wait for the next step; None when the process has ended. Raises TimeoutError when it takes too long."""
    try:
        data, ancillary, _, _ = control.recvmsg(16384, _ROOM)
    except ConnectionResetError:
        return None
    if not data:
        return None
    timeout_ns, ticks, stuck, count, _ = STEP.unpack_from(data)
    if not count:
        return Step(timeout_ns, ticks, bool(stuck), [])
    fds = array.array("i")
    for _, _, part in ancillary:
        fds.frombytes(part)
    notes = [_note(data, STEP.size + i * NOTE.size, fds[i]) for i in range(count)]
    return Step(timeout_ns, ticks, bool(stuck), notes)


def _note(data: bytes, offset: int, fd: int) -> Note:
    kind, own, serial, address, source, port, source_port = NOTE.unpack_from(data, offset)
    end = socket.socket(fileno=fd)
    end.setblocking(False)
    return Note(kind, own, serial, (_host(address), port), (_host(source), source_port), end)


def _host(address: int) -> str:
    return socket.inet_ntoa(struct.pack("=I", address))


def turn(now_ns: int, skew_ns: int, results: list[tuple[int, int, int]]) -> bytes:
    """Give the turn: the time, and how connects ended (file number, serial, error)."""
    if not results:
        return TURN.pack(now_ns, skew_ns, 0, 0)
    return TURN.pack(now_ns, skew_ns, len(results), 0) + b"".join(RESULT.pack(*result) for result in results)


def arrival(source: tuple[str, int]) -> bytes:
    """The record that goes with a connection which comes in."""
    return ARRIVAL.pack(socket.inet_aton(source[0]), source[1], 0)

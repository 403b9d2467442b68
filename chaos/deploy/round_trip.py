"""How long a request and its answer take on an open connection to a server.

Needs nothing but the standard library, so it also runs by itself where nothing is installed: `python round_trip.py HOST
PORT PAYLOAD TIMEOUT_S` prints `["ok", MILLISECONDS]` or `["error", ERRNO, TEXT]`.
"""

from __future__ import annotations

import errno
import json
import socket
import sys
import time

PIECES = 16
"""In so many pieces a payload goes and comes, one after the other."""


def measure_ms(
    address: tuple[str, int], source: tuple[str, int] | None, payload: int, timeout_s: float, *, echoes: bool = True
) -> float:
    """Milliseconds from asking to the last answer, once the connection stands. IPv4. Raises OSError.

    A node that does not know ECHO (`echoes`) is asked by PING, without the payload.
    """
    deadline = time.monotonic() + timeout_s
    with socket.socket() as connection:  # create_connection needs a codec for names, which a bare Python may lack
        connection.settimeout(timeout_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            connection.bind(source)
        connection.connect(address)
        if not echoes:
            payload = 0
        _echo(connection, b"", deadline, echoes)
        began = time.monotonic()
        for _ in range(PIECES if payload else 1):
            _echo(connection, bytes(payload // PIECES), deadline, echoes)
        return (time.monotonic() - began) * 1000


def _echo(connection: socket.socket, data: bytes, deadline: float, echoes: bool) -> None:
    answer = b"$%d\r\n%b\r\n" % (len(data), data) if echoes else b"+PONG\r\n"
    connection.sendall(b"*2\r\n$4\r\nECHO\r\n" + answer if echoes else b"*1\r\n$4\r\nPING\r\n")
    received = b""
    while len(received) < len(answer):
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        part = connection.recv(65536)
        received += part
        if not part or received.startswith(b"-"):
            raise OSError(errno.EPROTO, received.decode(errors="replace").strip() or "the node closed the connection")


def main() -> None:
    """See the module."""
    host, port, payload, timeout_s = sys.argv[1:]
    try:
        print(json.dumps(["ok", measure_ms((host, int(port)), None, int(payload), float(timeout_s))]))
    except OSError as error:
        print(json.dumps(["error", error.errno or errno.ETIMEDOUT, error.strerror or str(error)]))


if __name__ == "__main__":
    main()

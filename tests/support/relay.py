"""A socket that is reached by another address as well."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def relayed(unix: str) -> Iterator[int]:
    """The port of the loopback that leads to a socket in the file system; ends of either side are passed on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_accept, args=(server, unix), daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)  # which ends the waiting for the next connection


def _accept(server: socket.socket, unix: str) -> None:
    while True:
        try:
            near, _ = server.accept()
        except OSError:
            return
        far = socket.socket(socket.AF_UNIX)
        far.connect(unix)
        passing = [threading.Thread(target=_pass, args=ends, daemon=True) for ends in ((near, far), (far, near))]
        for thread in passing:
            thread.start()
        threading.Thread(target=_close, args=(passing, near, far), daemon=True).start()


def _pass(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _close(passing: list[threading.Thread], *ends: socket.socket) -> None:
    for thread in passing:
        thread.join()
    for end in ends:
        end.close()

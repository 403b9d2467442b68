"""Ways into the network namespace of a container, from outside: the image knows nothing of it.

Root on the engine's machine enters it with a thread (setns, as the program nsenter does; 2 ms). Anybody else asks the
engine for a helper: a container of its own that shares the namespace, and alone may administer it.
"""

from __future__ import annotations

import ctypes
import json
import os
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from chaos.deploy import nftables
from chaos.deploy.docker.containers import MEMORY, Container, Place, create
from chaos.deploy.docker.engine import Engine, Once, told
from chaos.deploy.docker.images import helper_image
from chaos.deploy.nftables import Drop

ADMIN = "NET_ADMIN"
_NETWORK_NAMESPACE = 0x40000000


class Gone(Exception):
    """The container does not run, so it has no network."""


class Inside(Protocol):
    """The tables of `chaos.deploy.nftables` in the network namespace of one container after another.

    Methods raise Gone, and OSError when the kernel refuses.
    """

    words: str
    """How it works, for people."""

    def place(self, name: str, place: Place) -> Place:
        """Where a node's container is to be put so that its network can be entered, when it is meant for `place`."""

    def add(self, container: Container, table: str, drops: Iterable[Drop]) -> None:
        """See `nftables.add`."""

    def delete(self, container: Container, table: str) -> None:
        """See `nftables.delete`."""

    def count(self, container: Container, table: str) -> int:
        """See `nftables.count`."""

    def close(self) -> None:
        """Give back what was taken."""


class FromHere:
    """For root on the engine's machine."""

    words = "container network, nftables from the host"

    def place(self, name: str, place: Place) -> Place:
        """See `Inside`."""
        return place

    def add(self, container: Container, table: str, drops: Iterable[Drop]) -> None:
        """See `Inside`."""
        _within(container, lambda: nftables.add(table, drops))

    def delete(self, container: Container, table: str) -> None:
        """See `Inside`."""
        _within(container, lambda: nftables.delete(table))

    def count(self, container: Container, table: str) -> int:
        """See `Inside`."""
        return int(_within(container, lambda: nftables.count(table)))

    def close(self) -> None:
        """See `Inside`."""


def _within(container: Container, do: Any) -> Any:
    """Call `do` in a thread that is in the container's network namespace, and ends there."""
    pid = container.state.pid
    if not pid:
        raise Gone(container.name)
    with ThreadPoolExecutor(1, thread_name_prefix=f"in-{container.name}") as thread:
        return thread.submit(_entered, pid, container.name, do).result()


def _entered(pid: int, name: str, do: Any) -> Any:
    try:
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise Gone(name) from error
    try:
        if os.path.samestat(os.fstat(namespace), os.stat("/proc/self/ns/net")):
            raise Gone(name)  # it ended, and its process id is another's now: these rules are not for this machine
        if ctypes.CDLL(None, use_errno=True).setns(namespace, _NETWORK_NAMESPACE) != 0:
            code = ctypes.get_errno()
            raise OSError(code, f"entering the network of {name}: {os.strerror(code)}")
    finally:
        os.close(namespace)
    return do()


class FromHelpers:
    """For everybody who may use the engine: a helper container for each node, in whose network the node lives.

    So what is cut stays cut when the node is started anew.
    """

    words = "container network, nftables from a helper container"

    def __init__(self, engine: Engine, run: Path, prefix: str) -> None:
        """`prefix` begins the helpers' names."""
        self._engine = engine
        self._run = run
        self._prefix = prefix
        self._image = Once(lambda: helper_image(engine))
        self._helpers: dict[str, _Helper] = {}

    def place(self, name: str, place: Place) -> Place:
        """See `Inside`."""
        helper = _Helper(self._engine, self._image(), place, self._run, f"{self._prefix}-{name}-links")
        self._helpers[name] = helper
        return Place(f"container:{helper.id}")

    def add(self, container: Container, table: str, drops: Iterable[Drop]) -> None:
        """See `Inside`."""
        self._helpers[container.name].ask(["add", table, list(drops)])

    def delete(self, container: Container, table: str) -> None:
        """See `Inside`."""
        self._helpers[container.name].ask(["delete", table])

    def count(self, container: Container, table: str) -> int:
        """See `Inside`."""
        return int(self._helpers[container.name].ask(["count", table]))

    def close(self) -> None:
        """See `Inside`."""
        self._engine.each(self._helpers.values(), lambda helper: helper.close())
        self._helpers.clear()


class _Helper:
    """A container that answers requests about its network namespace, one at a time."""

    def __init__(self, engine: Engine, image: str, place: Place, run: Path, name: str) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._unread = b""
        self.id = create(
            engine, image, place, run, name, {"stdin_open": True}, {"mem_limit": MEMORY, "cap_add": [ADMIN]}
        )
        with told(f"starting the container {name}"):
            self._stream = engine.api.attach_socket(self.id, {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
            self._socket = self._stream._sock  # the library gives only the reading half
            engine.api.start(self.id)

    def ask(self, request: list[Any]) -> Any:
        with self._lock:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            status, *rest = json.loads(self._line())
        if status == "error":
            raise OSError(*rest)
        return rest[0]

    def _line(self) -> bytes:
        """One line of its output. It comes in frames: a byte for the stream, three of padding, four of length."""
        line = b""
        while not line.endswith(b"\n"):
            header = self._exactly(8)
            content = self._exactly(int.from_bytes(header[4:], "big"))
            if header[0] == 1:
                line += content
            else:
                raise OSError(0, f"the helper that cuts links failed: {content.decode(errors='replace').strip()}")
        return line

    def _exactly(self, count: int) -> bytes:
        while len(self._unread) < count:
            received = self._socket.recv(65536)
            if not received:
                raise OSError(0, "the helper that cuts links has ended")
            self._unread += received
        found, self._unread = self._unread[:count], self._unread[count:]
        return found

    def close(self) -> None:
        self._stream.close()
        self._socket.close()
        self._engine.remove_container(self.id)

"""Ways into the network namespace of a container, from outside: the image knows nothing of it.

Root on the engine's machine enters it with a thread (setns, as the program nsenter does; 2 ms). Anybody else asks the
engine for a helper: a container of its own that shares the namespace, and alone may administer it.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
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
from chaos.deploy.docker.images import helper_command, helper_image
from chaos.deploy.endpoints import Shape
from chaos.deploy.holding import DelayerProcess
from chaos.deploy.nftables import Drop
from chaos.deploy.round_trip import measure_ms

Address = tuple[str, int]
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

    def hold(self, container: Container, queue: int, shape: Shape) -> None:
        """Let packets of this queue, which a table hands over, leave as `shape` says; see `delayer`."""

    def release(self, container: Container, queue: int) -> None:
        """Let go of what is held, and hold no more."""

    def round_trip_ms(self, container: Container, address: Address, payload: int, timeout_s: float) -> float:
        """See `chaos.deploy.round_trip.measure_ms`, of a connection from the container's network."""

    def close(self) -> None:
        """Give back what was taken."""


class FromHere:
    """For root on the engine's machine."""

    words = "container network, nftables from the host"

    def __init__(self) -> None:
        self._delayers: dict[str, tuple[int, DelayerProcess]] = {}
        """By node, with the first process of the container in whose network it is."""

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

    def hold(self, container: Container, queue: int, shape: Shape) -> None:
        """See `Inside`."""
        pid, delayer = self._delayers.get(container.name, (0, None))
        if delayer is None or pid != container.state.pid:
            if delayer is not None:
                delayer.close()
            delayer = _within(container, DelayerProcess)
            self._delayers[container.name] = container.state.pid, delayer
        delayer.ask("hold", queue, *shape)

    def release(self, container: Container, queue: int) -> None:
        """See `Inside`."""
        if container.name in self._delayers:
            self._delayers[container.name][1].ask("release", queue)

    def round_trip_ms(self, container: Container, address: Address, payload: int, timeout_s: float) -> float:
        """See `Inside`."""
        return float(_within(container, lambda: measure_ms(address, None, payload, timeout_s)))

    def close(self) -> None:
        """See `Inside`."""
        for _, delayer in self._delayers.values():
            delayer.close()
        self._delayers.clear()


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

    def hold(self, container: Container, queue: int, shape: Shape) -> None:
        """See `Inside`."""
        self._helpers[container.name].delayer.ask(["hold", queue, *shape])

    def release(self, container: Container, queue: int) -> None:
        """See `Inside`."""
        self._helpers[container.name].delayer.ask(["release", queue])

    def round_trip_ms(self, container: Container, address: Address, payload: int, timeout_s: float) -> float:
        """See `Inside`."""
        asked = [address[0], str(address[1]), str(payload), str(timeout_s)]
        with contextlib.closing(self._helpers[container.name].run("/round_trip.py", *asked)) as talk:
            return float(talk.answer())

    def close(self) -> None:
        """See `Inside`."""
        self._engine.each(self._helpers.values(), lambda helper: helper.close())
        self._helpers.clear()


class _Helper:
    """A container that answers requests about its network namespace."""

    def __init__(self, engine: Engine, image: str, place: Place, run: Path, name: str) -> None:
        self._engine = engine
        self.id = create(
            engine, image, place, run, name, {"stdin_open": True}, {"mem_limit": MEMORY, "cap_add": [ADMIN]}
        )
        with told(f"starting the container {name}"):
            self._talk = _Talk(engine.api.attach_socket(self.id, {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}))
            engine.api.start(self.id)
        self.ask = self._talk.ask

    @functools.cached_property
    def delayer(self) -> _Talk:
        """The program that holds packets, started when it is first wanted."""
        return self.run("/delayer.py")

    def run(self, program: str, *arguments: str) -> _Talk:
        """Run one of the helper's programs beside the one that it was started with. Raises ServerError."""
        command = [*helper_command(program), *arguments]
        with told(f"running {program} in a helper"):
            made = self._engine.api.exec_create(self.id, command, stdin=True)
            return _Talk(self._engine.api.exec_start(made["Id"], socket=True))

    def close(self) -> None:
        if "delayer" in self.__dict__:
            self.delayer.close()
        self._talk.close()
        self._engine.remove_container(self.id)


class _Talk:
    """A program in a container that answers requests, one at a time, with a line each."""

    def __init__(self, stream: Any) -> None:
        """`stream` is what the docker library gives of the program's input and output."""
        self._stream = stream
        self._socket = stream._sock  # the library gives only the reading half
        self._lock = threading.Lock()
        self._unread = b""

    def ask(self, request: list[Any]) -> Any:
        """Raises OSError: the program's own, and when it has ended."""
        with self._lock:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            return self.answer()

    def answer(self) -> Any:
        """What the program says next. Raises OSError."""
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

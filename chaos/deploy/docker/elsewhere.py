"""Run the controller, and so the clients, in a container on the engine: `python -m chaos.deploy.docker.elsewhere`.

What follows is the command of the controller as it would run here. This process stands for it: its output is that of
the controller, and when its input closes, or it dies in whatever way, the controller is told to heal and to finish, for
the engine closes the input of a container when the connection that carries it is gone. It holds the lock of the run
directory, so that others leave alone what the run has made on the engine.

The container is on the network of the engine's machine, where it reaches the nodes by their addresses, and may use the
engine. Its run directory is a volume (see `far`), which is fetched when it has ended. What is to run there comes from
here: the images are built of what this machine has.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from docker.types import Mount

from chaos.deploy import skew
from chaos.deploy.docker import python_files
from chaos.deploy.docker.containers import Place, create
from chaos.deploy.docker.engine import Engine, owner, told
from chaos.deploy.docker.far import CACHE, container_name, fill, make_volume
from chaos.deploy.docker.images import controller_image, helper_image, server_image
from chaos.deploy.docker.kind import SENT_TO, WORK
from chaos.deploy.docker.leftovers import remove_orphans, remove_run
from chaos.deploy.docker.orders import Orders
from chaos.errors import BadInput, CachequakeError
from chaos.plan import Plan, read_plan
from chaos.progress import Failure, Progress
from chaos.store import PLAN, locked
from nemeses import FAULTS

SOCKET = "/var/run/docker.sock"
SOCKET_CHOICE = "CACHEQUAKE_DOCKER_SOCKET"
"""Set it to the path of the engine's socket on the engine's machine where that is another one than `SOCKET`."""
SCRATCH = "/cachequake"
"""Folder in the container that can be written to, and is gone with it."""
THREADS = 4096
"""Clients of some routes have one each."""
RIGHTS = ["CHOWN", "DAC_OVERRIDE"]
"""The nodes' data belong to an ordinary user; the controller gives them to it and takes them away."""


class Sent:
    """A controller in a container."""

    def __init__(self, engine: Engine, run: Path, server: str | None, image: str | None) -> None:
        """Have the engine hold all images, and make the container. Raises ServerError."""
        self._engine = engine
        self._run = run
        plan = read_plan(run / PLAN)
        volume, path = make_volume(engine, run)  # first: while a run has something there, nobody removes the images
        chosen = server_image(engine, image, server)
        orders = Orders(str(run), owner(), chosen.name, [*chosen.command], chosen.note, helper_image(engine))
        controller = controller_image(engine)
        note = f"the controller and the clients run on the engine at {engine.url}, in a container of {controller}"
        say(Progress("start", 0, plan.scenario.duration_ms, note=note))
        self.id = create(
            engine,
            controller,
            Place("host"),
            run,
            container_name(run),
            {
                "command": ["-m", "chaos.controller", f"{path}/{run.name}"],
                "environment": {**orders.environment(), **_environment(f"{path}/{run.name}/{CACHE}")},
                "stdin_open": True,
            },
            {
                "binds": {volume: {"bind": path, "mode": "rw"}},
                "mounts": [Mount(SOCKET, os.environ.get(SOCKET_CHOICE) or SOCKET, type="bind")],
                "tmpfs": {SCRATCH: ""},
                "cap_add": RIGHTS,
                "pids_limit": THREADS,
            },
        )
        fill(engine, self.id, path, run, _cached(plan))

    def carry_out(self) -> int:
        """Start it, and be it until it ends; returns its exit status. Raises ServerError."""
        api = self._engine.api
        with told("running the controller on the engine"):
            output = api.attach(self.id, stdout=True, stderr=True, stream=True, demux=True)
            told_to_end = _Input(api.attach_socket(self.id, {"stdin": 1, "stream": 1}))
            api.start(self.id)
            _when_told(told_to_end.close)
            for out, errors in output:
                _pass_on(sys.stdout.fileno(), out)
                _pass_on(sys.stderr.fileno(), errors)
            return int(api.wait(self.id)["StatusCode"])


class _Input:
    """The input of a container, which closes with the connection."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._socket = getattr(stream, "_sock", stream)  # the library gives only the reading half of a plain one

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._stream.close()


def _environment(cache: str) -> Mapping[str, str]:
    """Where the controller finds what it needs, and where it may write."""
    return {
        "PYTHONPATH": python_files.search_path(),
        "PYTHONDONTWRITEBYTECODE": "1",
        "XDG_CACHE_HOME": cache,
        "HOME": SCRATCH,
        "TMPDIR": SCRATCH,
        "LANG": "C.UTF-8",
    }


def _cached(plan: Plan) -> dict[str, bytes]:
    """What it finds in its cache: the library for clocks, for there is no compiler where it runs."""
    if not any("skew" in FAULTS[fault.kind].requires for fault in plan.faults):
        return {}
    library = skew.LIBRARY.path()
    return {f"{library.parent.name}/{library.name}": library.read_bytes()}


def _when_told(end: Callable[[], None]) -> None:
    """Call `end` on SIGTERM, on SIGINT, and when our input closes."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: end())

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        end()

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _pass_on(file: int, data: bytes | None) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody listens any more; our input closes as well
        while data:
            data = data[os.write(file, data) :]


def say(line: Progress | Failure) -> None:
    """Say it as the controller would."""
    _pass_on(sys.stdout.fileno(), msgspec.json.encode(line) + b"\n")


def main() -> int:
    """Carry out a run on the engine; the exit status is that of its controller."""
    parser = argparse.ArgumentParser(prog="python -m chaos.deploy.docker.elsewhere")
    parser.add_argument("python", help="here; there it is another one")
    parser.add_argument("-m", dest="module", required=True)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--server")
    parser.add_argument("--image")
    arguments = parser.parse_args()
    run = arguments.run_dir.absolute()
    try:
        with locked(run), contextlib.closing(Engine()) as engine:
            remove_orphans(engine)
            (run / WORK).mkdir()
            (run / WORK / SENT_TO).write_text(engine.url)
            try:
                return Sent(engine, run, arguments.server, arguments.image).carry_out()
            finally:
                remove_run(engine, run)
    except CachequakeError as error:
        bad = isinstance(error, BadInput)
        say(Failure(str(error) if bad else f"{type(error).__name__}: {error}", bad_input=bad))
        return 0


if __name__ == "__main__":
    sys.exit(main())

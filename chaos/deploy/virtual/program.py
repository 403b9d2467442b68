"""An unmodified program as one more machine of the world: redis-cli, or a Python program with redis-py.

It runs under the same library as the servers: its time passes when it waits, its connections are those of the
simulated network, and what it draws at random comes from the seed. Only its main thread may wait.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from chaos.deploy.virtual.launching import refuse_static
from chaos.deploy.virtual.process import Process
from chaos.deploy.virtual.world import World
from chaos.errors import BadInput

OUTPUT = "output.txt"
INTERPRETER = "libpython"
"""The library that has an interpreter's own code, where its program has not: its readings of the clock take time."""
LOOK_NS = 20_000_000
"""Between two looks at whether it has ended."""


class Program:
    """A program that was started by `VirtualDeployment.program`."""

    def __init__(self, world: World, process: Process, directory: Path) -> None:
        """It will live in `directory`, which is made."""
        self.output = directory / OUTPUT
        """What it says, standard error included."""
        self._world = world
        self._process = process
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def start(self, command: Sequence[str | Path], variables: Mapping[str, str]) -> None:
        """Start it with these variables. Raises BadInput for what cannot be run."""
        try:
            refuse_static(Path(command[0]))
            own = {"PYTHONHASHSEED": "0", "CACHEQUAKE_PROGRAM": INTERPRETER, **variables}
            self._process.spawn([os.fspath(word) for word in command], self._directory, own, self.output)
        except OSError as error:
            raise BadInput(f"{command[0]} cannot be started: {error}") from error
        self._process.begin()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.running

    @property
    def status(self) -> int | None:
        """How it ended, as `subprocess` tells it; None while it runs."""
        return self._process.status

    def wait(self, timeout_ms: int) -> int:
        """Let virtual time pass until it ends, and return its exit code. Raises TimeoutError."""
        deadline = self._world.now + timeout_ms * 1_000_000
        while self._process.running:
            if self._world.now >= deadline:
                raise TimeoutError(f"{self._process.name} has not ended within {timeout_ms} ms of virtual time")
            self._world.sleep_until(self._world.now + LOOK_NS, interruptible=False)
        assert self._process.status is not None
        return self._process.status

    def terminate(self) -> None:
        """SIGTERM."""
        if self._process.running:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL. Without effect on one that has ended."""
        self._process.kill()

"""Server processes of a run: started, stopped, ended, and never left behind.

In a process namespace of the run's own the kernel ends them with the controller. Elsewhere each asks the kernel for
SIGKILL when the controller dies, and a file lists them so that `cachequake clean` can make sure.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PIDS = "pids"
"""Name of the file that lists the processes of a run, in its work directory."""
GONE = "gone"

# prctl(PR_SET_PDEATHSIG, SIGKILL), unless the controller is gone already; the signal survives execv.
_WITH_PARENT = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


def with_parent(command: Sequence[str]) -> list[str]:
    """`command`, to die with the thread that starts it. A program of its own, since threads forbid a fork hook."""
    return [sys.executable, "-I", "-S", "-c", _WITH_PARENT, str(os.getpid()), *command]


class Spawner:
    """Starts processes from one thread that lives as long as the run, and lists them in a file.

    The kernel's parent-death signal goes by the thread that started a process, not by the process: a server started
    by a short-lived thread would die with that thread.
    """

    def __init__(self, directory: Path) -> None:
        self._list = directory / PIDS
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spawner")

    def spawn(
        self, command: Sequence[str], directory: Path, log: Path, environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        """Start a process in `directory`, its output appended to `log`, with these variables beside ours.

        Raises OSError.
        """
        if os.getpid() != 1:
            command = with_parent(command)
        return self._thread.submit(self._spawn, command, directory, log, environment).result()

    def _spawn(
        self, command: Sequence[str], directory: Path, log: Path, environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                cwd=directory,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the controller, which stops servers in its own order
            )
        with self._list.open("a") as pids:
            pids.write(f"{json.dumps(_identity(process.pid))}\n")
        return process

    def close(self) -> None:
        """End the thread, and with it (outside a process namespace of the run's own) what it started."""
        self._thread.shutdown()


class Process:
    """One server process, told by signals. Safe to use from several threads.

    `directory` is its working directory, and `environment` are variables of its own.
    """

    def __init__(
        self, name: str, command: Sequence[str], directory: Path, spawner: Spawner, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.command = command
        self.directory = directory
        self.log = directory / "server.log"
        self._spawner = spawner
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def spawn(self) -> None:
        """Start it unless it runs. Raises OSError."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._process = self._spawner.spawn(self.command, self.directory, self.log, self._environment)

    @property
    def status(self) -> int | None:
        """Its exit status (negative: ended by that signal); None while it runs or before it was started."""
        return None if self._process is None else self._process.poll()

    @property
    def running(self) -> bool:
        """Whether it exists; a stopped one does."""
        return self._process is not None and self._process.poll() is None

    def end(self, number: int, timeout_s: float) -> None:
        """Send a signal and return when it is gone. Raises subprocess.TimeoutExpired; without effect on a dead one."""
        if self._process is not None and self.running:
            self._process.send_signal(number)
            if number != signal.SIGKILL:
                self._process.send_signal(signal.SIGCONT)  # a stopped process would take no other signal
            self._process.wait(timeout_s)

    def signal(self, number: int) -> None:
        """Send a signal. Raises ProcessLookupError when there is no process."""
        if self._process is None or not self.running:
            raise ProcessLookupError(f"{self.name} does not run")
        self._process.send_signal(number)

    @property
    def stopped(self) -> bool:
        """Whether every thread of it is stopped, read from the operating system."""
        if self._process is None or not self.running:
            return False
        try:
            return all(_state(task) == "T" for task in Path(f"/proc/{self._process.pid}/task").iterdir())
        except OSError:
            return False

    @property
    def continued(self) -> bool:
        """Whether no thread of it is stopped."""
        if self._process is None or not self.running:
            return True
        try:
            return all(_state(task) != "T" for task in Path(f"/proc/{self._process.pid}/task").iterdir())
        except OSError:
            return True


def remove_left(run_dir: Path, work: Path) -> list[str]:
    """Kill what is left of a run and remove its work directory, but keep logs; says what was done."""
    if not work.exists():
        return []
    killed = [f"{run_dir.name}: ended process {pid}" for pid in kill_left(work)]
    for log in work.glob("*/server.log"):
        kept = run_dir / "logs" / f"{log.parent.name}.log"
        if not kept.exists():
            shutil.copyfile(log, kept)
    shutil.rmtree(work)
    return [*killed, f"{run_dir.name}: removed the data of its nodes"]


def kill_left(directory: Path) -> list[int]:
    """SIGKILL what a run with this work directory left; returns the process ids. A reused id is not touched."""
    killed = []
    listed = directory / PIDS
    for line in listed.read_text().splitlines() if listed.exists() else []:
        identity = json.loads(line)
        if identity["started"] != GONE and identity == _identity(identity["pid"]):
            os.kill(identity["pid"], signal.SIGKILL)
            killed.append(identity["pid"])
    return killed


def _identity(pid: int) -> dict[str, int | str]:
    """What tells a process from a later one with the same id: when it started, and in which process namespace."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        state, fields = "X", []
    started = GONE if state in "XZ" else fields[18]
    return {"pid": pid, "started": started, "namespace": os.readlink("/proc/self/ns/pid")}


def _state(task: Path) -> str:
    return (task / "stat").read_text().rpartition(")")[2].split()[0]

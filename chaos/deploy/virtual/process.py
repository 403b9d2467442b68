"""One server process in virtual time: it gets a turn, does what there is to do, and stands still again."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from zlib import crc32

from chaos.deploy.virtual import wire
from chaos.deploy.virtual.network import Flow, Network
from chaos.deploy.virtual.sockets import Acceptor, ServerEnd
from chaos.deploy.virtual.world import World
from chaos.errors import RunFailed

HANG_S = 60
"""Real seconds after which a process that does not hand over its turn is taken for hung."""
MOST_TURNS = 200_000
"""Turns in a virtual second after which a process is taken to be spinning."""

_ENDED = contextlib.suppress(BrokenPipeError, ConnectionResetError)
"""What sending to a process meets that has ended: hearing it says so."""

Trace = Callable[[int, str, int, int, int], None]
"""Told of every turn: when, which process, its readings of the clock, hashes of what it was given and what it sent."""


class Process:
    """A server process, of which the shim has taken hold. `name` is that of its node."""

    def __init__(self, world: World, network: Network, name: str, host: str, trace: Trace) -> None:
        self.name = name
        self.host = host
        self.paused = False
        self.skew_ns = 0
        self.running = False
        self.status: int | None = None
        """How it ended, as `subprocess` tells it; None while it runs and before it was started."""
        self._world = world
        self._network = network
        self._trace = trace
        self._due: int | None = None
        """When its next turn is, if one is due."""
        self._free_at = 0
        """When its last turn ends: readings of the clock take time."""
        self._second, self._turns = 0, 0
        self._ends: dict[int, ServerEnd] = {}
        """Our ends of its connections by our file number."""
        self.full: set[ServerEnd] = set()
        """Those of which it has not taken all that arrived."""
        self._made = 0
        self._results: list[tuple[int, int, int]] = []
        self._given = 0
        self._acceptors: list[Acceptor] = []
        self.after_turn: Callable[[int], None] | None = None
        """Called at the end of each turn, with the time when that is over."""

    # Life

    def spawn(self, command: Sequence[str], directory: Path, environment: Mapping[str, str], log: Path) -> None:
        """Start it; it stands still before its first instruction until `begin`. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        seconds = struct.pack("@qq", HANG_S, 0)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, seconds)
        with log.open("ab") as output, theirs:
            self._popen = subprocess.Popen(
                command,
                cwd=directory,
                env={**environment, "CACHEQUAKE_CONTROL": str(theirs.fileno())},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._control = ours
        self._epoll = select.epoll()
        self._second, self._turns = 0, 0
        self.running, self.paused, self.status = True, False, None

    def begin(self) -> None:
        """Wait until the shim has taken hold, and give it its first turn now."""
        self._free_at = 0
        if self._hear() is None:
            self._gone()
        else:
            self.wake_now()

    @property
    def pid(self) -> int:
        """The real process number."""
        return self._popen.pid

    def kill(self) -> None:
        """SIGKILL. What it had sent still arrives; then its connections end."""
        if self.running:
            self._popen.kill()
            self._gone()

    def send_signal(self, number: int) -> None:
        """A signal to the process, whose handler runs before it does anything else."""
        os.kill(self.pid, number)
        self.wake_now()

    def pause(self) -> None:
        """Give it no more turns."""
        self.paused = True

    def resume(self) -> None:
        """Give it turns again, at once."""
        if self.paused:
            self.paused = False
            self.wake_now()

    def _gone(self) -> int:
        """It has ended: whatever it sent in its last turn still arrives; returns a hash of that."""
        self.running = False
        self._popen.kill()  # without effect on one that ends by itself: its status is decided by now
        self.status = self._popen.wait()
        self._control.close()
        self._due, self._free_at = None, self._world.now
        sent = self._drain()
        for acceptor in self._acceptors:
            self._network.stop_listening(acceptor)
            acceptor.close()
        for end in sorted(self._ends.values(), key=_number):
            end.close(self._world.now)
        self._acceptors, self._results = [], []
        self._epoll.close()
        if self.status == -signal.SIGSYS:
            raise RunFailed(
                f"{self.name} made a system call that would let the real world in (an internet socket, or waiting in "
                "epoll) past the library that virtual time preloads: this server cannot be tested so; use local"
            )
        return sent

    # Turns

    def wake_now(self) -> None:
        """Give it a turn as soon as its last one is over."""
        self.wake(self._world.now)

    def wake(self, at: int) -> None:
        """Give it a turn at that time, or when its last one is over."""
        if not self.running:
            return
        at = max(at, self._free_at)
        if self._due is None or at < self._due:
            self._due = at
            self._world.at(at, self._come, at)

    def _come(self, due: int) -> None:
        if due != self._due:
            return  # another turn came before
        self._due = None
        if not self.paused:
            self._turn()

    def _turn(self) -> None:
        now = self._world.now
        self._count_turns(now)
        results, self._results = self._results, []
        with _ENDED:
            self._control.send(wire.turn(now, self.skew_ns, results))
        step = self._hear()
        if step is None:
            self._trace(now, self.name, -1, self._given, self._gone())
            return
        self._free_at = now + step.ticks * 1_000
        for note in step.notes:
            self._note(note)
        sent = self._drain()
        self._trace(now, self.name, step.ticks, self._given, sent)
        self._given = 0
        if self._push_rest() or step.stuck:
            self.wake(self._free_at)
        if step.timeout_ns == 0:
            self._free_at += 1_000  # whatever it does, time goes on
            self.wake(self._free_at)
        elif step.timeout_ns > 0:
            self.wake(self._free_at + step.timeout_ns)
        if self.after_turn is not None:
            self.after_turn(self._free_at)

    def _count_turns(self, now: int) -> None:
        second = now // 1_000_000_000
        if second != self._second:
            self._second, self._turns = second, 0
        self._turns += 1
        if self._turns > MOST_TURNS:
            raise RunFailed(f"{self.name} spins: {MOST_TURNS} turns within one virtual second")

    def _hear(self) -> wire.Step | None:
        try:
            return wire.receive(self._control)
        except BlockingIOError:
            raise RunFailed(
                f"{self.name} (process {self.pid}) has not come back for {HANG_S} s of real time: it hangs, or waits "
                "in a call that virtual time does not know; its log is in the run's logs"
            ) from None

    # Connections, as `chaos.deploy.virtual.sockets` needs them

    def _note(self, note: wire.Note) -> None:
        if note.kind == wire.LISTEN:
            host, port = note.source
            acceptor = Acceptor(self, (self.host if host == "0.0.0.0" else host, port), note.end)
            self._acceptors.append(acceptor)
            self._network.listen(acceptor)
        else:
            end = self.new_end(note.end, 0, (note.fd, note.serial))
            end.connection = self._network.connect(self.name, note.source, note.address, end, self._free_at)

    def flows(self) -> list[Flow]:
        """What carries the bytes that the process sends, over each of its connections."""
        return [end.outgoing for end in sorted(self._ends.values(), key=_number)]

    def new_end(self, ours: socket.socket, side: int, asked: tuple[int, int] | None) -> ServerEnd:
        """Our end of another connection of this process."""
        self._made += 1
        end = self._ends[ours.fileno()] = ServerEnd(self, self._made, ours, side, asked)
        self.heed(end)
        return end

    def heed(self, end: ServerEnd) -> None:
        """Take what the process writes to it, and give it the turn that it may be waiting for."""
        self._epoll.register(end.socket.fileno(), select.EPOLLIN | select.EPOLLRDHUP)
        self.wake_now()

    def ignore(self, end: ServerEnd) -> None:
        """Leave what the process writes to it where it is."""
        self._epoll.unregister(end.socket.fileno())

    def answer(self, fd: int, serial: int, error: int) -> None:
        """Tell the process how a connect ended."""
        self._results.append((fd, serial, error))
        self.wake_now()

    def given(self, data: bytes) -> None:
        """The process was handed these bytes; they go into the trace."""
        self._given = crc32(data, self._given)

    def forget(self, end: ServerEnd) -> None:
        """An end is about to be closed."""
        self._ends.pop(end.socket.fileno(), None)
        self.full.discard(end)

    def _drain(self) -> int:
        """Take what it has sent, and notice what it has closed; returns a hash of it."""
        hashed = 0
        ready = [(self._ends[fd], events) for fd, events in self._epoll.poll(0)]
        if len(ready) > 1:
            ready.sort(key=lambda pair: pair[0].number)
        for end, events in ready:
            hashed = end.drain(self._free_at, hashed, may_be_closed=events != select.EPOLLIN)
        return hashed

    def _push_rest(self) -> bool:
        """Give it what there was no room for before; says whether there was room now."""
        if not self.full:
            return False
        moved = [end.push() for end in sorted(self.full, key=_number)]
        return any(moved)


def _number(end: ServerEnd) -> int:
    return end.number

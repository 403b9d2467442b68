"""A driver process: `python -m chaos.drive JOB` makes the clients of one job work and writes their history.

It talks to the controller by lines. It says `ready`; it is told `go NANOSECONDS`, the reading of the monotonic clock
at which the run begins (which may be yet to come). It may be told `nodes n1 n2 ...` any number of times: the nodes
among which the clients share the keys from now on, where they decide that themselves. Once they do, it says
`{"nodes": ["n1", "n2"], "at": NANOSECONDS}`, the time of the run. Every driver hears of a change when it hears of it:
for a moment clients disagree, as they do in life. It may be told `mark CLIENT OPERATIONS`, and says
`{"mark": [0, 812]}` as soon as that client has begun so many. It says a line of JSON every quarter of a second, the
operations completed so far (`{"ok": 5, "fail": 0, "info": 0}`), and at last

    {"done": true, "executed": {"0": 812, "1": 799}, "ok": 1598, "fail": 9, "info": 4}

The end comes when the duration is over, on SIGTERM, or when standard input closes (the controller is gone). Whatever
is under way then is still waited for, at most its timeout. SIGINT is left to the controller.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import msgspec

from chaos.crew import Clock, Crew
from chaos.errors import BadInput, CachequakeError
from chaos.job import Job, read_job
from chaos.recorder import Recorder
from chaos.routes import ROUTES


def make_crew(job: Job, recorder: Recorder, clock: Clock) -> Crew:
    """The clients of a job on real sockets. Raises BadInput for a route, workload or option that does not exist."""
    route = ROUTES.get(job.route)
    if route is None:
        raise BadInput(f"unknown route {job.route!r}; there are {', '.join(ROUTES)}")
    unknown = set(job.route_options) - set(route.options)
    if unknown:
        raise BadInput(f"route {job.route} has no option {unknown.pop()!r}")
    complete = msgspec.structs.replace(job, route_options={**route.options, **job.route_options})
    return route.crew(complete, recorder, clock)


class RunClock:
    """Nanoseconds since the run began, on the monotonic clock; `begin` says when that was."""

    def __init__(self) -> None:
        self.began_ns = 0

    def __call__(self) -> int:
        """The time."""
        return time.monotonic_ns() - self.began_ns


def drive(job: Job) -> None:
    """Do a job, talking to the controller on standard input and output."""
    clock = RunClock()
    recorder = Recorder(Path(job.part))
    crew = make_crew(job, recorder, clock)
    _say(b"ready")
    told = _told()
    command = next(told, [])
    if command:  # else the controller is gone already
        if command[0] != "go" or len(command) != 2:
            raise BadInput(f"expected `go NANOSECONDS` and was told {' '.join(command)!r}")
        clock.began_ns = int(command[1])
        gc.freeze()
        orders = Orders(crew, clock, told)
        crew.run(job.duration_ms * 1_000_000, orders.stopped, lambda: _say_json(dict(crew.counts)))
    _say_json({"done": True, "executed": crew.executed, **crew.counts})
    recorder.close()


class Orders:
    """What the controller asks for while the clients work: to share the keys among other nodes, and to stop."""

    def __init__(self, crew: Crew, clock: Clock, told: Iterator[list[str]]) -> None:
        """`told` are the words of each line that comes; they are read from now on, in a thread."""
        self._crew = crew
        self._clock = clock
        self._news: deque[list[str]] = deque()
        self._marks: list[tuple[int, int]] = []
        """Clients, and how many operations they are to begin before that is said."""
        self._stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: self._stop.set())
        threading.Thread(target=self._listen, args=(told,), daemon=True).start()

    def stopped(self) -> bool:
        """Whether SIGTERM came or standard input was closed; first has the clients do what was asked."""
        while self._news:
            nodes = self._news.popleft()
            self._crew.adopt(nodes)
            _say_json({"nodes": nodes, "at": self._clock()})
        if self._marks:
            self._look_at_marks()
        return self._stop.is_set()

    def _look_at_marks(self) -> None:
        begun = self._crew.executed
        for mark in [mark for mark in self._marks if begun.get(mark[0], 0) >= mark[1]]:
            self._marks.remove(mark)
            _say_json({"mark": mark})

    def _listen(self, told: Iterator[list[str]]) -> None:
        for word, *nodes in told:
            if word == "nodes" and nodes:
                self._news.append(nodes)
            elif word == "mark":
                client, operations = map(int, nodes)
                self._marks.append((client, operations))
        self._stop.set()


def _told() -> Iterator[list[str]]:
    """The words of each line of standard input.

    Not read through `sys.stdin`, whose lock a daemon thread may not hold at the end.
    """
    text = b""
    while chunk := os.read(sys.stdin.fileno(), 4096):
        *lines, text = (text + chunk).split(b"\n")
        yield from (words for line in lines if (words := line.decode().split()))


def _say_json(value: object) -> None:
    _say(msgspec.json.encode(value))


def _say(line: bytes) -> None:
    """Write a line, unless the controller is gone: the history still has to be finished then."""
    try:
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        pass


def main() -> int:
    """Do the job named on the command line; the exit code is that of the error, if any."""
    parser = argparse.ArgumentParser(prog="chaos.drive", description="Drive the clients of one job.")
    parser.add_argument("job", type=Path, help="path of the job file")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        drive(read_job(parser.parse_args().job))
    except CachequakeError as error:
        print(error, file=sys.stderr)
        return 254 if isinstance(error, BadInput) else 255
    return 0


if __name__ == "__main__":
    sys.exit(main())

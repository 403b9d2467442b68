"""One client of redis-py as a simulated machine: `python -m chaos.deploy.virtual.client JOB NANOSECONDS`.

NANOSECONDS is the reading of the monotonic clock at which the run begins. The client works in the only thread of its
process, for only a main thread can wait in virtual time, and writes the history that its job names. SIGTERM ends it
early: what is under way is still waited for.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from chaos.drive import RunClock, make_crew
from chaos.errors import CachequakeError
from chaos.job import read_job
from chaos.recorder import Recorder
from chaos.routes.redis_client import ThreadCrew


def work(job_file: Path, began_ns: int) -> None:
    """Do the job. Raises what reading it and connecting raise."""
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    job = read_job(job_file)
    clock = RunClock()
    clock.began_ns = began_ns
    recorder = Recorder(Path(job.part))
    crew = make_crew(job, recorder, clock)
    assert isinstance(crew, ThreadCrew)
    crew.run_alone(job.duration_ms * 1_000_000, lambda: bool(asked))
    recorder.close()


def main() -> int:
    """Do the job named on the command line; 0 when it was done."""
    try:
        work(Path(sys.argv[1]), int(sys.argv[2]))
    except CachequakeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

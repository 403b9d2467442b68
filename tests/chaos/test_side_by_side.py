"""Workers side by side: they end with whoever started them, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from isolated import ROOT

from chaos.side_by_side import workers

PROGRAM = """
import os, pathlib, sys, threading
from chaos.side_by_side import workers

def wait_for_ever(folder):
    pathlib.Path(folder, str(os.getpid())).touch()
    threading.Event().wait()

if __name__ == "__main__":
    with workers(2) as each:
        list(each(wait_for_ever, [sys.argv[1]] * 2))
"""


def _until(condition, what):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_a_parent_that_was_killed(tmp_path, number):
    program, at_work = tmp_path / "program.py", tmp_path / "at_work"
    program.write_text(PROGRAM)
    at_work.mkdir()
    here = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, str(program), str(at_work)], env=here)
    try:
        _until(lambda: len(list(at_work.iterdir())) == 2, "both workers are at work")
        parent.send_signal(number)
        parent.wait()
        for worker in at_work.iterdir():
            _until(lambda pid=worker.name: not _alive(pid), f"worker {worker.name} ends")
    finally:
        parent.kill()
        parent.wait()


def test_workers_do_everything_once_and_answer_in_order():
    with workers(2) as each:
        assert list(each(abs, [-3, 2, -1])) == [3, 2, 1]
    with workers(1) as each:
        assert list(each(os.path.basename, ["a/b"])) == ["b"], "with one job, in this process"

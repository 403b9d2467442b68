"""Commands of the user's that ask an offering for a fault: started without a shell, and quoted without the password."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from collections.abc import Callable, Sequence

from nemeses.system import InjectionFailed, WaitTimeout

QUOTED = 300
"""So many characters of what a command said last are quoted when it fails."""
Await = Callable[[str, Callable[[], bool]], object]
"""Waits for a condition, named in words, as long as is allowed. Raises WaitTimeout and Interrupted."""


def for_node(command: str, node: str, host: str, port: int) -> list[str]:
    """The words of a command, in which `{node}`, `{host}` and `{port}` stand for the node that is struck.

    Raises ValueError for quotes that do not end.
    """
    named = {"{node}": node, "{host}": host, "{port}": str(port)}
    words = shlex.split(command)
    for placeholder, value in named.items():
        words = [word.replace(placeholder, value) for word in words]
    return words


def carry_out(words: Sequence[str], wait: Await, redacted: Callable[[str], str]) -> int:
    """Run a command to its end and return its status, which is 0; it is killed when it takes too long.

    Raises InjectionFailed, with what it said last, and Interrupted.
    """
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT)
        except OSError as error:
            raise InjectionFailed(f"{words[0]} cannot be started: {error.strerror}") from error
        try:
            wait(f"{words[0]} ends", lambda: process.poll() is not None)
        except WaitTimeout as error:
            raise InjectionFailed(str(error)) from error
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
        if process.returncode != 0:
            said.seek(0)
            text = redacted(said.read().decode(errors="replace")).strip()
            raise InjectionFailed(f"{words[0]} ended with status {process.returncode}: {text[-QUOTED:]}")
    return process.returncode

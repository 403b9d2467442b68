"""Runs a function of a test in namespaces of its own, since pytest itself is not in any."""

from __future__ import annotations

import importlib.util
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from chaos.deploy import namespace

ROOT = Path(__file__).parents[2]
NOBODY = 65534
"""A user without any rights."""


@cache
def python_for_nobody() -> str | None:
    """A Python of this version that a user without any rights may run; virtual environments may lie in a home."""
    here = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, shutil.which(here, path="/usr/local/bin:/usr/bin:/bin")):
        if candidate is not None:
            try:
                done = subprocess.run([candidate, "-c", ""], user=NOBODY, group=NOBODY, extra_groups=[], check=False)
            except OSError:
                continue
            if done.returncode == 0:
                return candidate
    return None


class FailedInside(AssertionError):
    """The function raised; the message is the traceback from inside."""


def run_isolated(
    function: Callable[..., Any],
    *arguments: Any,
    prefix: Sequence[str] | None = None,
    user: int | None = None,
    python: str = sys.executable,
    timeout_s: float = 120,
) -> Any:
    """Call a top-level function of a test file in a fresh Python behind `prefix`, and return what it returned.

    Arguments and result are pickled. With `user` it runs under that user id, by a `python` of the same version that
    this user may run. Raises FailedInside with the traceback, or with the output of a process that ended without
    an answer.
    """
    before = namespace.prefix() if prefix is None else list(prefix)
    packages = [str(ROOT), str(Path(__file__).parent), *(path for path in sys.path if path.endswith("-packages"))]
    variables = os.environ | namespace.environment() | {"PYTHONPATH": os.pathsep.join(packages)}
    with tempfile.TemporaryDirectory() as directory:
        if user is not None:
            os.chown(directory, user, user)
        call, answer = Path(directory, "call"), Path(directory, "answer")
        file = sys.modules[function.__module__].__file__
        call.write_bytes(pickle.dumps((str(file), function.__name__, arguments)))
        done = subprocess.run(
            [*before, python, __file__, call, answer],
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            env=variables,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if not answer.exists():
            raise FailedInside(f"{function.__name__} ended with status {done.returncode}\n{done.stdout}{done.stderr}")
        raised, value = pickle.loads(answer.read_bytes())
    if raised:
        raise FailedInside(f"inside {' '.join(before) or 'a process of its own'}:\n{value}")
    return value


def _main(call: Path, answer: Path) -> None:
    file, name, arguments = pickle.loads(call.read_bytes())
    namespace.prepare()
    try:
        spec = importlib.util.spec_from_file_location("inside", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        result = (False, getattr(module, name)(*arguments))
    except BaseException:  # noqa: BLE001 - whatever it is, the test outside must see it
        result = (True, traceback.format_exc())
    answer.write_bytes(pickle.dumps(result))


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]))

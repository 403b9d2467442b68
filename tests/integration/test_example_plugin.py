"""The example package, built, installed and used: each of the six things that it adds, in one run on real servers."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from checkers.events import OK
from checkers.history import load

pytestmark = pytest.mark.server
EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "example-plugin"
ADDED = {
    "workload": "stream",
    "fault": "refuse-writes",
    "route": "awaited",
    "topology": "uneven",
    "deployment": "threads",
    "checker": "slow",
}


@pytest.fixture(scope="module")
def cachequake(tmp_path_factory):
    """The command, where the example is installed; returns its standard output."""
    place = tmp_path_factory.mktemp("example")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)]
    subprocess.run(build, cwd=EXAMPLE, check=True, capture_output=True)
    (wheel,) = place.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(place / "site")
    paths = [str(place / "site"), str(EXAMPLE.parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "COLUMNS": "200"}

    def run(*arguments):
        command = [sys.executable, "-c", "from chaos.cli import main; main()", *map(str, arguments)]
        done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_each_of_the_six_takes_less_than_thirty_lines():
    modules = {path.stem: len(path.read_text().splitlines()) for path in EXAMPLE.glob("cachequake_example/*.py")}
    assert len(modules) == 1 + len(ADDED)
    assert max(modules.values()) < 30


def test_they_are_listed_and_in_the_schema(cachequake):
    listed = [line.split() for line in cachequake("list").splitlines()]
    assert [words[:2] for words in listed if words[-2:-1] == ["cachequake-example"]] == [*map(list, ADDED.items())]
    schema = cachequake("schema")
    assert all(f'"{name}"' in schema for name in (*ADDED.values(), "slow_operations") if name != "slow")


def test_a_run_with_all_of_them(cachequake, tmp_path):
    result = json.loads(cachequake("run", EXAMPLE / "everything.quake.yaml", "--seed", 4, "--out", tmp_path, "--json"))
    history = load(tmp_path / "latest" / "history.jsonl")
    operations, header = history.operations, history.header
    assert header["plugins"] == {"cachequake-example": "0.1.0"}
    assert header["workloads"] == {"stream": {"keys": 8}}
    assert (header["deployment"], header["topology"], header["route"]) == ("threads", "uneven", "awaited")

    (first, *_) = header["slots"]
    assert first == [0, 9829, "n1"]

    work = operations.select(~operations.final)
    assert {work.functions[code] for code in set(work.f.tolist())} == {"add"}
    acked = [about["acked"] for about in work.details.values() if about.get("acked") is not None]
    assert len(acked) == (work.type == OK).sum() > 0
    assert max(acked) == 1

    executed = json.loads((tmp_path / "latest" / "executed.json").read_text())
    (fault,) = executed["faults"]
    assert (fault["kind"], fault["error"]) == ("refuse-writes", None)
    assert fault["evidence"]["inject"]["replicas_wanted"] == 1000
    assert any("NOREPLICAS" in about.get("error", "") for about in work.details.values())

    slow = result["findings"]["slow"]
    took_ms = (work.end - work.start)[work.type == OK] / 1e6
    assert slow["metrics"]["checked"] == len(took_ms)
    assert slow["counts"].get("slow-operation", 0) == np.count_nonzero(took_ms > 100)
    assert [claim["claim"] for claim in result["claims"]] == ["lost_writes: 0", "slow_operations: 1000"]
    assert result["findings"]["durability"]["metrics"]["checked"] > 0

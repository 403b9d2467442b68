"""From nothing to a small failing scenario, in virtual time: search, and shrink what was found."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.cli import run_command
from chaos.deploy import preload
from chaos.scenario import load_scenario

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(preload.compiler() is None, reason="no C compiler to make the preloaded library with"),
]


def test_a_lost_write_is_found_from_steady_and_made_small(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # where the package is not installed
    look = ["search", "steady", "--time", "4s", "--for", "lost-write", "--budget", "100s", "--seed", "1"]
    small = ["--set", "clients.rate=50", "--set", "workload={set: {keys: 5}}"]
    assert run_command([*look, *small]) == 1
    assert re.match(r"lost-write with .* kept as \.cachequake/failures/steady-lost-write", capsys.readouterr().out)
    (file,) = tmp_path.glob(".cachequake/failures/*.quake.yaml")
    assert run_command([*look, *small]) == 1
    assert capsys.readouterr().out.startswith("still fails: lost-write")
    assert run_command(["shrink", "latest", "--keep", "lost-write", "--budget", "10s"]) == 0
    assert "lost-write needs" in capsys.readouterr().out
    (made,) = tmp_path.glob("runs/*/minimal.quake.yaml")
    before, after = load_scenario(file), load_scenario(made)
    assert after.clients.count <= before.clients.count
    assert len(after.nemesis) <= len(before.nemesis)
    assert after.duration_ms <= before.duration_ms
    assert run_command(["run", str(made)]) == 1


@pytest.mark.soak
def test_the_same_is_found_on_the_workers_of_a_dask_cluster(tmp_path, capsys, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.chdir(tmp_path)
    look = ["search", "steady", "--time", "4s", "--for", "lost-write", "--budget", "100s", "--seed", "1"]
    small = ["--set", "clients.rate=50", "--set", "workload={set: {keys: 5}}"]
    run = subprocess.run(
        [sys.executable, "-c", "from chaos.cli import main; main()", *look, *small, "--dask", "--jobs", "2"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1, run.stderr
    assert re.match(r"lost-write with ", run.stdout)
    reproduce = json.loads((tmp_path / "runs" / "latest" / "results.json").read_text())["reproduce"]
    assert reproduce == f"cachequake replay runs/{(tmp_path / 'runs' / 'latest').resolve().name}"

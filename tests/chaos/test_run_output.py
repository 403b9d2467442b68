"""What `run` prints: all of it, `--quiet`, `--json`; on a terminal, in a pipe, and without colours."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from sample_run import sample_run

import chaos.run
from chaos.cli import run_command
from chaos.progress import Progress
from chaos.run import Run


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the made-up run is that every `run` of the test comes to."""
    directory = tmp_path / "runs" / "made-up"
    directory.mkdir(parents=True)
    result = sample_run().result
    result.save(directory)

    def stand_in(*_: Any, on_progress: Any, **__: Any) -> Run:
        on_progress(Progress("start", 0, 12_000, note="run made-up, seed 7"))
        on_progress(Progress("load", 1_000, 12_000))
        return Run(directory, result)

    monkeypatch.setattr(chaos.run, "run_scenario", stand_in)
    monkeypatch.chdir(tmp_path)
    return directory


@pytest.mark.usefixtures("run_dir")
def test_progress_goes_to_standard_error_and_the_summary_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", "steady"]) == 1

    said = capsys.readouterr()
    assert said.out.startswith("✘ Broken: a claim is not kept")
    assert "Worst anomalies" in said.out
    assert said.err.splitlines() == [
        "run made-up, seed 7",
        "   0.0 s  starting the servers",
        "   1.0 s  clients and faults at work",
    ]


@pytest.mark.parametrize("command", [["run", "steady", "--quiet"], ["run", "steady", "-q"], ["demo", "-q"]])
@pytest.mark.usefixtures("run_dir")
def test_quiet_leaves_the_verdict_and_the_run_directory(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(command) == (0 if command[0] == "demo" else 1)

    said = capsys.readouterr()
    verdict, where = said.out.splitlines()
    assert verdict.startswith("✘ Broken: a claim is not kept")
    assert where == "runs/made-up"
    assert said.err == ""


def test_json_is_the_result_and_nothing_else(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", "steady", "--json"]) == 1

    said = capsys.readouterr()
    assert json.loads(said.out) == json.loads((run_dir / "results.json").read_bytes())
    assert said.err == ""


class Terminal(io.StringIO):
    """A terminal, as far as a program can tell."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "coloured", "moving"),
    [
        ({"TERM": "xterm"}, True, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False, True),
        ({"TERM": "dumb"}, False, False),
    ],
)
@pytest.mark.usefixtures("run_dir")
def test_colours_and_animation_are_for_terminals_that_want_them(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], coloured: bool, moving: bool
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    out, err = Terminal(), Terminal()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)

    assert run_command(["run", "steady"]) == 1

    assert ("\x1b[1;31m✘ Broken" in out.getvalue()) is coloured
    assert ("\x1b[?25l" in err.getvalue()) is moving  # an animation begins by hiding the cursor

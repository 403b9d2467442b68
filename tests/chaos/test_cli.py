"""The command without servers: files of any origin are checked, runs are exported, scenarios are listed."""

import json
import shutil
from pathlib import Path

import pytest

from chaos.cli import run_command
from chaos.plan import make_plan
from chaos.scenario import builtin_names, load_scenario
from chaos.store import HISTORY, create_run_dir
from checkers import load

GOLDEN = Path(__file__).parents[1] / "golden"
LOST = """\
{"process": 0, "type": "invoke", "f": "write", "key": "x", "value": 1}
{"process": 0, "type": "ok", "f": "write", "key": "x", "value": 1}
{"process": 0, "type": "invoke", "f": "read", "key": "x", "value": null}
{"process": 0, "type": "ok", "f": "read", "key": "x", "value": %s}
"""


@pytest.fixture
def file(tmp_path):
    def write(value, name="history.jsonl"):
        path = tmp_path / name
        path.write_text(LOST % value)
        return str(path)

    return write


@pytest.mark.parametrize(("value", "verdict", "code"), [("1", "valid", 0), ("null", "invalid", 1)])
def test_a_file_is_judged_by_its_verdict(file, capsys, value, verdict, code):
    assert run_command(["check", file(value), "--json"]) == code
    answer = json.loads(capsys.readouterr().out)
    assert (answer["verdict"], answer["operations"], answer["model"]) == (verdict, 2, "register")
    assert set(answer["seconds"]) == {"read", "check"}


def test_one_line_a_file_and_the_worst_verdict_counts(file, capsys):
    assert run_command(["check", file("1", "a.jsonl"), file("null", "b.jsonl"), "--json"]) == 1
    assert [json.loads(line)["verdict"] for line in capsys.readouterr().out.splitlines()] == ["valid", "invalid"]


def test_without_json_it_is_told_in_words(file, capsys):
    assert run_command(["check", file("null")]) == 1
    said = capsys.readouterr().out
    assert "history.jsonl: invalid (2 operations, register;" in said
    assert "key x is not linearizable" in said
    assert run_command(["check", file("null"), "--quiet"]) == 1
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "regster"], "register"),
        (["--initial", "{"], "not JSON"),
        (["--checker", "durabilty"], "no checker is called durabilty"),
        (["--budget", "60"], "write 60ms or 60s"),
    ],
)
def test_wrong_options_are_one_message_and_254(file, capsys, options, message):
    assert run_command(["check", file("1"), *options]) == 254
    assert message in capsys.readouterr().err


def test_a_broken_line_is_named(tmp_path, capsys):
    path = tmp_path / "history.jsonl"
    path.write_text(LOST % "1" + "{broken\n")
    assert run_command(["check", str(path)]) == 254
    assert f"{path}:5" in capsys.readouterr().err


def test_an_exported_run_is_read_as_what_it_was(tmp_path, capsys):
    run_dir = create_run_dir(tmp_path, make_plan(load_scenario("steady"), 7))
    recorded = shutil.copyfile(GOLDEN / "lost-write.jsonl", run_dir / HISTORY)
    assert run_command(["export", str(run_dir), "--to", "edn"]) == 0
    target = capsys.readouterr().out.strip()
    assert target.endswith("history.edn")
    assert run_command(["check", target, "--checker", "linearizability", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["operations"] == len(load(recorded).operations)


def test_every_scenario_is_listed(capsys):
    assert run_command(["list"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in builtin_names())

"""Real run directories against their documentation: every file is explained, and fits its JSON Schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from chaos.cli import run_command
from chaos.formats import FORMATS
from chaos.run import run_scenario
from chaos.scenario import load_scenario
from checkers.history import load

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "run-directory.md").read_text(encoding="utf-8")
SHORT = {
    "duration": "2s",
    "clients.count": 3,
    "clients.rate": 20,
    "workload": {"register": {}, "cachefill": {"keys": 20}},
    "nemesis": [{"fault": "kill", "target": "primary of k0", "at": "500ms", "for": "1s"}],
}


@pytest.fixture(scope="module", params=["local", "virtual"])
def run_dir(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    scenario = load_scenario("primary-kill", SHORT | {"deploy": request.param})
    return run_scenario(scenario, seed=7, out=tmp_path_factory.mktemp("runs")).run_dir


def explained() -> set[str]:
    """The files that the page names, as patterns."""
    rows = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
    names = {name.rstrip("/") for row in rows for name in re.findall(r"`([^`]+)`", row)}
    return {re.sub(r"^[nsp]N", r"[nsp]\\d+", re.escape(name)).replace("clients\\-N", r"clients\-\d+") for name in names}


def values_of(file: Path) -> Iterator[Any]:
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".yaml":
        yield yaml.safe_load(text)
    else:
        yield from map(json.loads, text.splitlines() if file.suffix == ".jsonl" else [text])


@pytest.mark.server
def test_every_file_of_a_run_directory_is_explained(run_dir: Path) -> None:
    patterns = explained()
    for path in run_dir.rglob("*"):
        assert any(re.fullmatch(pattern, path.name) for pattern in patterns), f"{path.name} is not explained"


@pytest.mark.server
def test_every_file_fits_its_schema_and_every_key_of_the_header_is_described(run_dir: Path) -> None:
    for name, form in FORMATS.items():
        schema = form.schema()
        jsonschema.Draft202012Validator.check_schema(schema)
        validator = jsonschema.Draft202012Validator(schema)
        for value in values_of(run_dir / form.file):
            validator.validate(value)
        described = schema.get("$defs", {}).get("Header", {}).get("properties", {})
        assert name != "history" or load(run_dir / form.file).header.keys() <= described.keys()


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("plan", {"seed": 7}),
        ("executed", {"operations": {"0": "many"}}),
        ("executed", {"faults": [{"number": 0}]}),
        ("history", {"type": "ok"}),
        ("history", {"format": "cachequake-history", "version": 2, "run": "a"}),
        ("history", {"format": "cachequake-history", "version": 1, "run": "a", "slots": [[0, "n1"]]}),
        ("results", {"verdict": "fine"}),
    ],
)
def test_what_is_wrong_does_not_fit(name: str, wrong: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, FORMATS[name].schema())


@pytest.mark.parametrize("name", FORMATS)
def test_the_command_prints_every_schema(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["schema", name]) == 0
    assert json.loads(capsys.readouterr().out) == FORMATS[name].schema()


def test_a_format_that_does_not_exist_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["schema", "histroy"]) == 254
    assert "did you mean 'history'?" in capsys.readouterr().err

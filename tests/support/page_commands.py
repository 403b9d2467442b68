"""Commands that pages show: `$ COMMAND` with what it prints below. They are run, or at least read.

What a page shows of the output has to be there; `...` stands for anything. Of a command that ends with bad input it is
what it says on standard error. A page that shows nothing of the output only says that the command works.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from chaos import pytest_plugin
from chaos.cli import cli
from chaos.scenario import builtin_names, incident_names
from chaos.suite import load_suite

ROOT = Path(__file__).parents[2]
SECONDS = 120
"""No command of a page takes so long."""
MARK = "=== the end of a command:"
TAKES_A_SCENARIO = ("run", "search")
ENVIRONMENT = {"COLUMNS": "110", "NO_COLOR": "1", "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}


class Command(NamedTuple):
    """One command, and the output that the page shows."""

    line: str
    shown: str


def commands_in(text: str) -> list[Command]:
    """The commands of a block; a line that ends with a backslash goes on. Output before the first one is left out."""
    _, *parts = re.split(r"^\$ ", text, flags=re.MULTILINE)
    commands = []
    for part in parts:
        matched = re.match(r"(?:.*\\\n)*.*", part)
        assert matched is not None
        commands.append(Command(matched[0], part[matched.end() :].strip("\n")))
    return commands


def run_commands(commands: list[Command], directory: Path, exit_code: int) -> None:
    """Run the commands of a block in one shell. The last one ends with `exit_code`, those before it with 0."""
    script = "".join(
        f"{command.line}\ncode=$?; printf '\\n{MARK} %s\\n' $code; printf '\\n{MARK} %s\\n' $code >&2\n"
        for command in commands
    )
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script],
        cwd=directory,
        env=os.environ | ENVIRONMENT | {"PATH": f"{_programs(directory)}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    outputs, errors = _by_command(done.stdout), _by_command(done.stderr)
    assert len(outputs) == len(commands), f"the shell ended early: {done.stdout}{done.stderr}"
    for command, (output, code), (error, _) in zip(commands, outputs, errors, strict=True):
        expected = exit_code if command is commands[-1] else 0
        assert code == expected, f"$ {command.line}\nended with {code}, not {expected}:\n{output}\n{error}"
        printed = output if output.strip() else error
        if command.shown:
            assert _matches(command.shown, printed), f"$ {command.line}\nprinted\n{printed}\nand not\n{command.shown}"


def _by_command(output: str) -> list[tuple[str, int]]:
    """What each command printed, with its exit code."""
    parts = re.split(rf"\n{MARK} (\d+)\n", output)
    return [(text, int(code)) for text, code in zip(parts[0::2], parts[1::2], strict=False)]


def _matches(shown: str, printed: str) -> bool:
    pattern = ".*?".join(re.escape(part) for part in _plain(shown).split("..."))
    return re.fullmatch(pattern, _plain(printed), re.DOTALL) is not None


def _plain(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())


def _programs(directory: Path) -> Path:
    """`cachequake`, `pytest` and `python` as a reader has them who installed this tree."""
    programs = directory / ".programs"
    installed = any(found.value == pytest_plugin.__name__ for found in entry_points(group="pytest11"))
    plugin = "" if installed else f"-p {pytest_plugin.__name__} "
    bodies = {
        "cachequake": '-c "from chaos.cli import main; main()" "$@"',
        "pytest": f'-m pytest -p no:hypothesispytest -p no:cacheprovider {plugin}"$@"',
        "python": '"$@"',
    }
    if not programs.exists():
        programs.mkdir()
        for name, body in bodies.items():
            (programs / name).write_text(f"#!/bin/sh\nexec {shlex.quote(sys.executable)} {body}\n", encoding="utf-8")
            (programs / name).chmod(0o755)
    return programs


def read_command(line: str) -> None:
    """Look whether a command could be run: it is one of ours, and its options and scenarios exist.

    Words in capitals (`RUN`, `SCENARIO`, `N` for a number) stand for anything. Raises AssertionError, which says
    what is wrong.
    """
    for words in _simple_commands(line):
        program, *arguments = words
        if program in READERS:
            READERS[program](arguments)


def _simple_commands(line: str) -> Iterable[list[str]]:
    """The commands of a line of shell, each as its words, without assignments and redirections."""
    lexer = shlex.shlex(line.replace("\\\n", " "), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for token in lexer:
        if set(token) <= set("&|;()<>"):
            yield from _without_assignments(words)
            words = ["ignored:"] if set(token) <= set("<>") else []
        else:
            words.append(token)
    yield from _without_assignments(words)


def _without_assignments(words: list[str]) -> Iterable[list[str]]:
    rest = words
    while rest and re.match(r"\w+=", rest[0]):
        rest = rest[1:]
    if rest:
        yield rest


def _read_cachequake(arguments: list[str]) -> None:
    if not arguments or arguments[0] not in cli.commands:
        assert arguments in (["--help"], ["--version"], ["-h"]), f"there is no command cachequake {arguments}"
        return
    command = cli.commands[arguments[0]]
    try:
        context = command.make_context(arguments[0], ["1" if word == "N" else word for word in arguments[1:]])
    except (click.exceptions.Exit, click.MissingParameter):  # --help, or the command is only mentioned
        return
    except click.ClickException as error:
        raise AssertionError(f"cachequake {shlex.join(arguments)}: {error.format_message()}") from error
    if command.name in TAKES_A_SCENARIO:
        _read_scenario(context.params["scenario"])
    if command.name == "compare" and not context.params["suite"].endswith(".yaml"):
        load_suite(context.params["suite"])


def _read_scenario(name: str) -> None:
    known = name in builtin_names() or name in incident_names()
    assert known or name.isupper() or name.endswith(".yaml"), f"there is no scenario {name}"


def _read_pytest(arguments: list[str]) -> None:
    parser = pytest.Parser(_ispytest=True)
    pytest_plugin.pytest_addoption(parser)
    known = {name for group in parser._groups for option in group.options for name in option.names()}
    for word in arguments:
        option = word.partition("=")[0]
        assert not option.startswith("--quake-") or option in known, f"pytest has no option {option}"


def _read_make(arguments: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in arguments:
        assert "=" in target or re.search(rf"^{target}:", makefile, re.MULTILINE), f"there is no make {target}"


def _read_python(arguments: list[str]) -> None:
    if arguments and arguments[0].endswith(".py"):
        assert (ROOT / arguments[0]).is_file(), f"there is no {arguments[0]}"


READERS = {
    "cachequake": _read_cachequake,
    "pytest": _read_pytest,
    "make": _read_make,
    "python": _read_python,
    ".venv/bin/cachequake": _read_cachequake,
    ".venv/bin/python": _read_python,
}

"""The blocks of code on a page, each as an example that is tried; see CONTRIBUTING.md for what may stand in a page.

A block whose first line is `# NAME.ext`, or that the comment `<!-- file: NAME -->` goes before, is a file that the
page's commands find. Everything of one page happens in one
directory of its own, in order.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
import tomllib
from collections.abc import Callable, Iterable
from configparser import ConfigParser
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import yaml
from page_commands import commands_in, read_command, run_commands
from sybil import Document, Example, Region
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

from chaos.scenario import validate
from chaos.schema import scenario_schema
from chaos.suite import load_suite
from chaos.yaml_source import parse_yaml

FENCES = RawFencedCodeBlockLexer(re.compile(r"(?P<language>[^\n]*)\n"))
MARKER = re.compile(r"<!-- (?P<what>not run|exit|file|not a scenario): (?P<words>[^>]+) -->\s*\Z")
FILE = re.compile(r"# ([\w./-]+\.\w+)\n")


class Block(NamedTuple):
    """A block of code as it stands in the page."""

    language: str
    text: str
    marked: str | None
    """What the comment before it says of it: `not run`, `not a scenario`, `exit` or `file`."""
    words: str
    """The reason, the exit code, or the name of the file."""

    @property
    def file(self) -> str | None:
        """The name of the file that it is."""
        if self.marked == "file":
            return self.words
        named = FILE.match(self.text)
        return named[1] if named else None


def starts_servers(block: Block) -> bool:
    """Whether trying it may start some."""
    return block.language == "console" and block.marked != "not run"


def blocks_of(document: Document) -> Iterable[Region]:
    """A parser for Sybil: every fenced block but those of Sphinx."""
    for region in FENCES(document):
        language = region.lexemes["language"].strip()
        if language.startswith("{"):
            continue
        marker = MARKER.search(document.text[: region.start])
        marked, words = (marker["what"], marker["words"]) if marker else (None, "")
        yield Region(region.start, region.end, Block(language, region.lexemes["source"], marked, words), _try)


def _try(example: Example) -> None:
    block: Block = example.parsed
    if block.language not in LANGUAGES:
        raise AssertionError(f"a block of {block.language or 'no language'}: use one of {', '.join(LANGUAGES)}")
    if block.file is not None and block.marked != "not run":
        file = Path.cwd() / block.file
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.text, encoding="utf-8")
    LANGUAGES[block.language](block, example.namespace)


def _console(block: Block, namespace: dict[str, Any]) -> None:
    commands = commands_in(block.text)
    for command in commands:
        read_command(command.line)
    if commands and block.marked != "not run":
        run_commands(commands, Path.cwd(), int(block.words) if block.marked == "exit" else 0)


def _python(block: Block, namespace: dict[str, Any]) -> None:
    code = compile(block.text, block.file or "a block of the page", "exec")
    if block.file is None and block.marked != "not run":
        exec(code, namespace)


def _yaml(block: Block, namespace: dict[str, Any]) -> None:
    """A scenario, several (separated by `---`), a part of one, or a suite."""
    for text in re.split(r"^---$", block.text, flags=re.MULTILINE):
        content = yaml.safe_load(text)
        if block.marked == "not run":
            jsonschema.validate({"name": "part", **content}, scenario_schema())
        elif block.marked is None:
            _scenario(content, text)


def _scenario(content: Any, text: str) -> None:
    if "systems" in content:
        with tempfile.NamedTemporaryFile("w", suffix=".suite.yaml", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            load_suite(file.name)
        return
    needed = {"name": "part", "duration": "60s"}
    missing = "" if "name" in content else "".join(f"{key}: {needed[key]}\n" for key in needed.keys() - content.keys())
    validate(parse_yaml(missing + text, "page.quake.yaml"))


def _json(block: Block, namespace: dict[str, Any]) -> None:
    """One value, or one a line."""
    try:
        json.loads(block.text)
    except json.JSONDecodeError:
        for line in block.text.splitlines():
            json.loads(line)


def _toml(block: Block, namespace: dict[str, Any]) -> None:
    tomllib.loads(block.text)


def _ini(block: Block, namespace: dict[str, Any]) -> None:
    ConfigParser().read_string(block.text)


def _text(block: Block, namespace: dict[str, Any]) -> None:
    """A drawing, or what a program says: nothing to try."""


LANGUAGES: dict[str, Callable[[Block, dict[str, Any]], None]] = {
    "console": _console,
    "python": _python,
    "yaml": _yaml,
    "json": _json,
    "toml": _toml,
    "ini": _ini,
    "clojure": _text,
    "text": _text,
}


def enter(namespace: dict[str, Any]) -> None:
    """A page begins: in an empty directory of its own."""
    stack = namespace["_page"] = contextlib.ExitStack()
    before = Path.cwd()
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="page-", ignore_cleanup_errors=True))
    os.chdir(directory)
    stack.callback(os.chdir, before)


def leave(namespace: dict[str, Any]) -> None:
    """A page ends: nothing of it stays."""
    namespace["_page"].close()

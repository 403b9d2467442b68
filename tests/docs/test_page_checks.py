"""What tries the pages of the documentation notices when they are wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from page_blocks import blocks_of, enter, leave
from page_commands import commands_in, read_command
from sybil import Sybil

ROOT = Path(__file__).parents[2]
MADE = {"_build", "generated"}
"""Where a build of the documentation leaves pages."""
WRITTEN = [page for page in sorted((ROOT / "docs").rglob("*.md")) if not MADE & set(page.relative_to(ROOT).parts)]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *WRITTEN]
SPAN = r"`((?:cachequake|make|pytest) [^`<>|\\[]+)`"


def tried(tmp_path: Path, text: str) -> None:
    """Try a page of this text."""
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    document = Sybil([blocks_of], path=str(tmp_path)).parse(page)
    enter(document.namespace)
    try:
        for example in document.examples():
            example.evaluate()
    finally:
        leave(document.namespace)


def block(language: str, text: str, marker: str = "") -> str:
    return f"Words.\n\n{marker}\n```{language}\n{text}\n```\n"


def test_commands_and_files_of_a_page_go_together(tmp_path: Path) -> None:
    scenario = block("yaml", "# own.quake.yaml\nname: own\nduration: 3s")
    shown = "$ cat own.quake.yaml | \\\n  head -n 2\n# own.quake.yaml\nname: ...\n$ test -e own.quake.yaml"
    tried(tmp_path, scenario + block("console", shown) + block("console", "$ false", "<!-- exit: 1 -->"))


@pytest.mark.parametrize(
    "wrong",
    [
        block("console", "$ echo one\ntwo"),
        block("console", "$ echo one two\none ... two"),
        block("console", "$ false"),
        block("console", "$ true", "<!-- exit: 1 -->"),
        block("console", "$ cachequake rum steady"),
        block("console", "$ cachequake run steady --sede 7", "<!-- not run: too long -->"),
        block("console", "$ cachequake run stedy", "<!-- not run: too long -->"),
        block("console", "$ A=b cachequake run steady | cachequake chekc -", "<!-- not run: too long -->"),
        block("console", "$ pytest --quake-sede 7", "<!-- not run: too long -->"),
        block("console", "$ make tset", "<!-- not run: too long -->"),
        block("console", "$ python benchmarks/nothing.py", "<!-- not run: too long -->"),
        block("yaml", "name: a\nclaims: {lost_rites: 0}"),
        block("yaml", "clients: {route: bare}\n---\nclients: {route: bear}"),
        block("yaml", "clients: {route: bear}", "<!-- not run: its files are the reader's -->"),
        block("yaml", "a: [", "<!-- not a scenario: it is a workflow -->"),
        block("python", "assert False"),
        block("python", "assert assert", "<!-- not run: too long -->"),
        block("json", "{,}"),
        block("toml", "a = "),
        block("", "words"),
    ],
)
def test_what_is_wrong_on_a_page_fails(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(Exception, match=r".*"):
        tried(tmp_path, wrong)


def test_output_before_the_first_command_is_no_command() -> None:
    assert commands_in("some output\n  $ not at the margin") == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_the_text_of_a_page_could_be_run(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for command in re.findall(SPAN, text):
        read_command(" ".join(command.split()))

"""Pieces of Markdown that the generated pages are put together from."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; cells are Markdown already, and may hold a `|`."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines) + "\n"


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


def code(value: object) -> str:
    """A value as code; nothing for an empty text."""
    return f"`{value}`" if str(value) else ""


def codes(values: Iterable[object]) -> str:
    """Values as code, with commas between."""
    return ", ".join(map(code, values))


def block(language: str, text: str) -> str:
    """A block of code."""
    return f"```{language}\n{text.rstrip()}\n```\n"


def words_of(thing: object) -> str:
    """What a docstring says, without the line that names the parts of its source."""
    return _fenced(inspect.getdoc(thing) or "")


def first_line(thing: object) -> str:
    """The first paragraph of a docstring, as one line."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def _fenced(text: str) -> str:
    """Examples of docstrings (`>>>`) as blocks of code."""
    parts = []
    for paragraph in text.split("\n\n"):
        plain = paragraph.strip().startswith(">>>")
        parts.append(block("pycon", paragraph.strip()) if plain else paragraph)
    return "\n\n".join(parts)

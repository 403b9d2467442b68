"""HTML and SVG that are escaped unless they are markup already.

A report shows keys, values, error texts and file contents of a system that was broken on purpose, so nothing may
reach the page unescaped by forgetting a call: plain strings are escaped by `tag`, and only `tag` makes `Html`.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any

from chaos.report.words import printable

_VOID = frozenset({"meta", "link", "br"})


class Html(str):
    """Text that is markup already and is not escaped again."""

    __slots__ = ()


def escaped(value: object) -> Html:
    """`value` as markup: `Html` as it is, everything else as text, with control characters replaced."""
    if isinstance(value, Html):
        return value
    return Html(html.escape(printable(value)))


def join(parts: Iterable[object]) -> Html:
    """Several pieces, one after the other."""
    return Html("".join(map(escaped, parts)))


def tag(name: str, /, *children: object, **attributes: Any) -> Html:
    """An element. A trailing underscore of an attribute is dropped (`class_`), others become hyphens.

    An attribute that is None or False is left out, True stands alone; floats are written with one decimal.
    """
    written = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        shown = f"{value:.1f}" if isinstance(value, float) else value
        written.append(f" {key}" if value is True else f' {key}="{escaped(shown)}"')
    opening = f"<{name}{''.join(written)}>"
    return Html(opening if name in _VOID else f"{opening}{join(children)}</{name}>")

"""Puts charts into a page: a place for each beside its table, and one block of data from which a script draws them.

A page brings `vega.js` (Vega-Lite, made when the package is built) and `charts.js` (ours). In a source tree that was
never built there is no `vega.js`; then the page has its tables, and says how to get the charts.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

from chaos.report.charts.style import Spec
from chaos.report.markup import Html, join, tag

VEGA, OURS = "vega.js", "charts.js"
MISSING = (
    "The charts are not here, only their tables: the script that draws them is made when cachequake is installed, and "
    "this is a source tree where that never happened. Install it (pip install -e .) and check the run again."
)


class Charts:
    """Collects the charts of one page."""

    def __init__(self) -> None:
        self._specs: dict[str, Spec] = {}
        self._used: set[str] = set()
        self._shared: dict[str, Any] = {}
        self._charts: dict[str, dict[str, Any]] = {}

    def define(self, specs: Mapping[str, Spec]) -> None:
        """Specifications that charts may use, by name; those that none uses are not in the page."""
        self._specs |= specs

    def share(self, name: str, data: Mapping[str, Any]) -> None:
        """Data for several charts, which name it instead of bringing their own."""
        self._shared[name] = data

    def place(
        self,
        id_: str,
        label: str,
        specs: Sequence[str],
        data: Mapping[str, Any] | str,
        *,
        axis: str | None = None,
        params: Mapping[str, Any] | None = None,
        whole: Mapping[str, Sequence[float]] | None = None,
        height: int | None = None,
    ) -> Html:
        """Where a chart is drawn, named `label` for those who do not see it; empty where nothing can draw it.

        Of several `specs` the first is drawn until another is chosen. `data` are rows by name, or what `share` named.
        Charts of one `axis` show the same stretch; `whole` is, by specification, what there is to show at most.
        `height` is that of the plot in pixels, where the specification does not know it.
        """
        if not scripts():
            return Html()
        self._used.update(specs)
        chart = {
            "specs": list(specs),
            "data": data,
            "axis": axis,
            "params": params or {},
            "whole": whole or {},
            "height": height,
        }
        self._charts[id_] = {name: value for name, value in chart.items() if value}
        return tag("div", id=id_, class_="plot", role="img", aria_label=label, data_axis=axis)

    def block(self) -> Html:
        """The data of all charts. It is in a script element, but no script, and no value in it can end the element."""
        specs = {name: self._specs[name] for name in sorted(self._used)}
        told = msgspec.json.encode({"specs": specs, "shared": self._shared, "charts": self._charts}).decode()
        return tag("script", Html(told.replace("<", "\\u003c")), type="application/json", id="chart-data")

    def __len__(self) -> int:
        """Number of charts."""
        return len(self._charts)


def figure(heading: str, *content: object, keys: Mapping[str, str] | None = None, class_: str | None = None) -> Html:
    """Content under a heading; `keys` says what colours mean: words by the name of a colour."""
    legend = [tag("span", tag("i", class_=f"key {colour}"), f" {words}") for colour, words in (keys or {}).items()]
    caption = tag("figcaption", tag("b", heading), *(" " if legend else ()), *legend)
    return tag("figure", caption, *content, class_=class_)


def zoom(axis: str, what: str, *, more: object = "") -> Html:
    """Where the script puts buttons that choose the stretch of an axis which its charts show; `more` is behind them."""
    return tag(
        "div", more, class_="zoom", role="group", aria_label=f"{what}: the stretch that is shown", data_axis=axis
    )


@cache
def script(name: str) -> Html | None:
    """The code of `VEGA` or `OURS`; None where it was never made."""
    file = files("chaos.report.charts").joinpath(name)
    return Html(file.read_text(encoding="utf-8")) if file.is_file() else None


@cache
def digest(code: str) -> str:
    """What a content security policy allows this script or style sheet by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"


def scripts() -> list[Html]:
    """The code that draws, as a page may hold it; empty where it was never made."""
    code = [script(VEGA), script(OURS)]
    return [part for part in code if part is not None] if code[0] is not None else []


def missing() -> Html:
    """What a page says instead of charts where there is no script to draw them."""
    return Html() if scripts() else tag("p", MISSING, class_="meaning")


def inline(charts: Charts) -> Html:
    """Data and scripts at the end of a page that needs nothing else."""
    return join([charts.block(), *(tag("script", code) for code in scripts())]) if len(charts) else Html()

"""A Sphinx extension: writes the pages that are made from code into `docs/generated` before the pages are read.

They are never committed, so they cannot be out of date. A page is written only when it changed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from drawn_anomalies import anomalies_page
from reference_tables import pages
from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _write(app: Sphinx) -> None:
    target = Path(app.srcdir) / "generated"
    target.mkdir(exist_ok=True)
    for name, text in {**pages(), "anomalies": anomalies_page()}.items():
        page = target / f"{name}.md"
        if not page.is_file() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")

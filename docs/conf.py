"""How Sphinx builds the documentation: `make docs`. Nothing is fetched, and a warning is an error."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "extensions")]

project = "cachequake"
author = "the cachequake authors"
copyright = "the cachequake authors, Apache-2.0"  # noqa: A001  (Sphinx calls it that)
release = version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

extensions = ["myst_parser", "sphinx_click", "reference"]
exclude_patterns = ["_build", "example-plugin"]
source_suffix = {".md": "markdown"}

myst_enable_extensions = ["deflist", "fieldlist"]
myst_heading_anchors = 4
myst_links_external_new_tab = False

html_theme = "furo"
html_title = "cachequake"
html_copy_source = False
html_show_sphinx = False

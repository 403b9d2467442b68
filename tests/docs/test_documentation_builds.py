"""The documentation builds without a warning, and its pages fetch nothing from anywhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FETCHED = re.compile(r"""<(?:script|img|iframe)[^>]*\bsrc=["']?https?:|<link[^>]*rel=["']?stylesheet[^>]*https?:""")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("documentation")
    how = ["-W", "--keep-going", "-n", "-q", "-d", str(target / "doctrees")]
    command = [sys.executable, "-m", "sphinx", *how, str(ROOT / "docs"), str(target / "html")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return target / "html"


def test_every_page_is_built_and_can_be_reached(built: Path) -> None:
    sources = {path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")}
    written = {page for page in sources if not {"_build", "example-plugin"} & set(page.parts)}
    assert written <= {path.relative_to(built).with_suffix("") for path in built.rglob("*.html")}


def test_nothing_is_fetched_from_elsewhere(built: Path) -> None:
    for page in built.rglob("*.html"):
        assert not FETCHED.findall(page.read_text(encoding="utf-8")), page

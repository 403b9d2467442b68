"""What a wheel carries that is made when it is built: the script of charts, and libraries to preload into servers."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from chaos.deploy import preload
from chaos.deploy.preload import Library
from chaos.deploy.virtual.shim_library import SHIM
from chaos.errors import ServerError

ROOT = Path(__file__).resolve().parents[2]
NAMED = "from chaos.deploy.virtual.shim_library import SHIM; print(SHIM.path())"


@pytest.mark.skipif(preload.compiler() is None, reason="no C compiler to build a wheel with")
def test_from_a_wheel_no_compiler_is_needed(tmp_path):
    pytest.importorskip("hatchling")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, "--wheel-dir", tmp_path, ROOT], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    environment = os.environ | {
        "PYTHONPATH": str(tmp_path / "site"),
        "CC": "/no/compiler",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    run = subprocess.run(
        [sys.executable, "-c", NAMED], env=environment, cwd=tmp_path, check=True, capture_output=True, text=True
    )
    found = Path(run.stdout.strip())
    assert found.parent == tmp_path / "site" / "chaos" / "deploy" / "ready"
    assert found.name == SHIM.file_name(os.uname().machine)
    script = (tmp_path / "site" / "chaos" / "report" / "charts" / "vega.js").read_text(encoding="utf-8")
    assert "window.vegaEmbed" in script
    assert "Redistribution and use in source and binary forms" in script
    assert "</script" not in script.lower()
    assert "<!--" not in script


def test_a_library_that_came_ready_but_does_not_load_is_made_here(tmp_path, monkeypatch):
    if preload.compiler() is None:
        pytest.skip("no C compiler")
    source = tmp_path / "one.c"
    source.write_text("int one(void) { return 1; }\n")
    library = Library("one", "a test", [source])
    ready = tmp_path / "ready" / library.file_name(os.uname().machine)
    ready.parent.mkdir()
    ready.write_bytes(b"\x7fELF, but of another machine")
    monkeypatch.setattr(preload, "READY", ready.parent)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert library.path().parent == tmp_path / "cache" / "cachequake"
    library.compile(preload.compiler(), ready)
    assert library.path() == ready


def test_without_a_compiler_it_is_said_what_to_install(tmp_path, monkeypatch):
    source = tmp_path / "two.c"
    source.write_text("int two;\n")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(ServerError, match=r"a test needs a C compiler once.*install gcc"):
        Library("two", "a test", [source]).path()

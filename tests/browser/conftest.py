"""What the tests of pages share: one browser a file, and two runs."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import chromium, pictures, program
from playwright.sync_api import Browser
from recorded_runs import Recorded, record_gallery, recorded_once


@pytest.fixture(scope="module")  # not longer: while it is there, nobody else in this process can run an event loop
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    program()  # without a browser the runs are for nobody
    own = tmp_path_factory.getbasetemp()
    return recorded_once(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own)


@pytest.fixture(scope="session")
def pictured(recorded: Recorded) -> Path:
    """The run to take pictures of: for the README one among several, and without names that want to be scripts."""
    return record_gallery(recorded.out) if pictures() else recorded.failed

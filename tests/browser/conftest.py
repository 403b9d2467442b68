"""What the tests of pages share: one browser a file, and two runs."""

from collections.abc import Iterator

import pytest
from chromium import chromium
from playwright.sync_api import Browser
from recorded_runs import Recorded, record


@pytest.fixture(scope="module")  # not longer: while it is there, nobody else in this process can run an event loop
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("browser") / "runs")

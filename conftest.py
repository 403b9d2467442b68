"""The pages of the documentation are tests: every block of code on them is tried (`tests/support/page_blocks.py`)."""

import pytest
from page_blocks import blocks_of, enter, leave, starts_servers
from sybil import Sybil
from sybil.integration.pytest import SybilItem

PAGES = Sybil(
    [blocks_of],
    patterns=["README.md", "CONTRIBUTING.md", "docs/*.md", "docs/*/*.md"],
    excludes=["docs/_build/*", "docs/generated/*"],
    setup=enter,
    teardown=leave,
)

collect_ignore = ["docs/_build", "docs/generated", "docs/example-plugin"]
pytest_collect_file = PAGES.pytest()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Commands of pages start real servers."""
    if isinstance(item, SybilItem) and starts_servers(item.example.parsed):
        item.add_marker("server")

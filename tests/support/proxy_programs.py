"""The programs of proxies, for tests that run them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from chaos.errors import ServerError


def require(find: Callable[[], Path]) -> None:
    """Skip the test when the program is not here; where CI=true, fail it."""
    try:
        find()
    except ServerError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"continuous integration needs the proxy: {error}")
        pytest.skip(str(error))

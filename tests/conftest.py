"""What all tests have in common."""

import signal
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from engine_turns import engine_for
from hypothesis import HealthCheck, settings

settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # time proves nothing
settings.load_profile("tests")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts us in the background makes us deaf to Ctrl-C, and with us the commands that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def share_of_the_engine(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests with containers run side by side in several processes, but for those that need the engine alone."""
    marks = list(request.node.iter_markers("docker"))
    with engine_for(alone=any(mark.kwargs.get("alone") for mark in marks)) if marks else nullcontext():
        yield

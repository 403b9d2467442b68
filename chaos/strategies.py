"""Schedules of faults for hypothesis, to be used in a test suite of your own; hypothesis makes failing ones smaller.

    from hypothesis import HealthCheck, given, settings
    from chaos.strategies import schedules

    @given(faults=schedules(max_faults=2))
    @settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_nothing_is_lost(cachequake, faults):
        result = cachequake.run("steady", seed=1, deploy="virtual", duration="6s", nemesis=faults)
        assert result.lost_writes == 0

Needs the package `hypothesis`, which comes with the extra `test`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from chaos.options import spell
from chaos.units import show_duration
from nemeses import FAULTS, validate_options
from nemeses.mixture import mix_of

Fault = dict[str, Any]
"""A fault as a scenario file writes it."""
ANYWHERE = ("kill", "terminate", "restart", "pause", "partition")
"""Kinds that every topology and deployment can have."""


@st.composite
def faults(draw: st.DrawFn, kind: str, within_ms: int) -> Fault:
    """One fault of a kind, somewhere in a load of `within_ms`; smaller is sooner and shorter."""
    mix = mix_of(kind)
    shortest, longest = mix.for_ms
    at_ms = draw(st.integers(3, max(3, (within_ms - mix.margin_ms) // 100))) * 100
    for_ms = draw(st.integers(1, max(1, min(longest, within_ms - at_ms) // 100))) * 100
    chosen = {name: draw(st.sampled_from(list(dict.fromkeys(values)))) for name, values in mix.options.items()}
    options = {name: value for name, value in validate_options(kind, chosen).items() if name in chosen}
    return {
        "fault": kind,
        "target": draw(st.sampled_from(list(dict.fromkeys(mix.targets)))),
        "at": show_duration(at_ms),
        "for": show_duration(max(for_ms, min(shortest, 200))),
        **spell(options),
    }


def schedules(
    max_faults: int = 3, *, kinds: Sequence[str] = ANYWHERE, within_ms: int = 6_000
) -> st.SearchStrategy[list[Fault]]:
    """Lists of at most `max_faults` faults, as the key `nemesis` of a scenario takes them; they may overlap.

    `kinds` are those to choose from, and `within_ms` is how long the load lasts. Raises ValueError for a kind that
    does not exist.
    """
    for kind in kinds:
        if kind not in FAULTS:
            raise ValueError(f"unknown fault {kind!r}; there are {', '.join(FAULTS)}")
    return st.lists(st.sampled_from(list(kinds)).flatmap(lambda kind: faults(kind, within_ms)), max_size=max_faults)
